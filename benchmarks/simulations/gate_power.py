"""Simulates how often the gate passes a worse model, and how often it recognizes one that is as good."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from benchmarks.machine import provenance
from benchmarks.markdown import NOT_MEASURED, prose, table
from benchmarks.results import store
from scoring.evaluation import BINARY, FEWEST_OF_A_CLASS, Bools, Floats, Scored
from training.churn.use_case import USE_CASE
from training.gate.comparison import ChampionComparison, PairedScores, ScoredVersion, compare
from training.gate.rules import GateMetrics, measure, objections_to_replacing, verdict_on_gain
from training.gate.verdicts import JudgedMetric, Verdict
from training.settings import TrainingSettings

SIZES = (100, 500, 2_000, 6_000)
TRIALS = 300
ALL_RULES_TRIALS = 100
CHURNED = 0.6
ROC_AUC = 0.72
ALIKE = 0.95
"""Correlation of two models' errors: two candidates on the same features."""
BASELINE = 0.6
"""Correlation of the errors of a model and of recency alone."""
AGAINST_CHAMPION = (-0.03, -0.01, -0.005, 0.0, 0.01)
OVER_BASELINE = (0.0, 0.013, 0.03, 0.08)
_SEED = 31


@dataclass(frozen=True)
class ScoredCustomers:
    """Labels of n customers and two models' probabilities; arrays (n,).

    before, now: probabilities of the first and the second model.
    """

    churned: Bools
    before: Floats
    now: Floats

    @property
    def populations(self) -> dict[str, Bools]:
        """All customers are active."""
        return dict.fromkeys(("all", *USE_CASE.populations), np.ones(len(self.churned), dtype=bool))


def draw(size: int, before: float, now: float, correlation: float, random: np.random.Generator) -> ScoredCustomers:
    """Draw customers, scored by two calibrated models with known true ROC AUCs.

    A model's evidence is normal with variance 1 in each class; the distance of the means gives its ROC AUC. Its
    probability follows from the evidence by Bayes' rule.

    Args:
        before, now: the true ROC AUCs, in [0.5, 1).
        correlation: correlation of the two models' evidence within a class.
    """
    churned = random.random(size) < CHURNED
    first = random.standard_normal(size)
    second = correlation * first + np.sqrt(1 - correlation**2) * random.standard_normal(size)

    def probability(roc_auc: float, noise: Floats) -> Floats:
        apart = np.sqrt(2) * NormalDist().inv_cdf(roc_auc)
        evidence = apart * (churned - 0.5) + noise
        found: Floats = 1 / (1 + np.exp(-(np.log(CHURNED / (1 - CHURNED)) + apart * evidence)))
        return found

    return ScoredCustomers(churned, probability(before, first), probability(now, second))


def draw_pair(size: int, truth: float, correlation: float, random: np.random.Generator) -> ScoredCustomers:
    """As `draw`, with the second model's true ROC AUC at `ROC_AUC` and the first one's lower by `truth`."""
    while True:
        customers = draw(size, ROC_AUC - truth, ROC_AUC, correlation, random)
        if min(customers.churned.sum(), (~customers.churned).sum()) >= FEWEST_OF_A_CLASS:  # or training refuses
            return customers


def compared(customers: ScoredCustomers, settings: TrainingSettings, segments: int = 6) -> ChampionComparison:
    """Compare both models as `make promote` does; all customers are active, segments are random and of equal size."""
    size = len(customers.churned)
    part = np.arange(size) % segments
    champion, candidate = (ScoredVersion(Scored(p, 0.5), 1, {}) for p in (customers.before, customers.now))
    masks = {str(number): part == number for number in range(segments)}
    return compare(USE_CASE, customers.churned, customers.populations, champion, candidate, masks, settings)


def headline_of(customers: ScoredCustomers, settings: TrainingSettings) -> JudgedMetric:
    """The headline alone, as `compared` judges it."""
    paired = PairedScores(USE_CASE, settings, customers.churned, customers.before, customers.now)
    chosen = customers.populations["all"]
    return paired.judged("ROC AUC", BINARY.metric("roc_auc"), chosen, settings.max_auc_loss)


def on_its_own(customers: ScoredCustomers, settings: TrainingSettings) -> GateMetrics:
    """Measure the second model against the first, as `make train` does against recency alone."""
    scores = customers.before, customers.now
    return measure(USE_CASE, customers.churned, customers.populations, *scores, settings)


def run(output: Path) -> None:
    """Simulate and write the results."""
    started = time.monotonic()
    settings = TrainingSettings()
    random = np.random.default_rng(_SEED)

    def headline(customers: ScoredCustomers) -> Verdict:
        return headline_of(customers, settings).verdict

    def gain(customers: ScoredCustomers) -> Verdict:
        return verdict_on_gain(on_its_own(customers, settings), settings.min_auc_margin)

    def every_rule(customers: ScoredCustomers) -> Verdict:
        passes = not objections_to_replacing(compared(customers, settings), settings)
        return Verdict.NOT_WORSE if passes else Verdict.CANNOT_TELL

    def shares(
        verdict_of: Callable[[ScoredCustomers], Verdict], truth: float, correlation: float, trials: int
    ) -> list[dict[str, float]]:
        found = []
        for size in SIZES:
            one = Counter(verdict_of(draw_pair(size, truth, correlation, random)) for _ in range(trials))
            found.append({str(verdict): one[verdict] / trials for verdict in Verdict})
        return found

    figures: dict[str, Any] = {
        "sizes": list(SIZES),
        "trials": TRIALS,
        "all_rules_trials": ALL_RULES_TRIALS,
        "confidence": settings.gate_confidence,
        "margin": settings.max_auc_loss,
        "against_champion": [{"truth": t, "found": shares(headline, t, ALIKE, TRIALS)} for t in AGAINST_CHAMPION],
        "every_rule": shares(every_rule, 0.0, ALIKE, ALL_RULES_TRIALS),
        "over_baseline": [{"truth": t, "found": shares(gain, t, BASELINE, TRIALS)} for t in OVER_BASELINE],
    }
    store(output, "gate", {**provenance(), "took_seconds": round(time.monotonic() - started), **figures})


def section(found: dict[str, Any] | None) -> str:
    """The tables of docs/promotion.md."""
    if found is None:
        return NOT_MEASURED
    columns = ("", *(f"{size:,} customers" for size in found["sizes"]))
    nominal = (1 - found["confidence"]) / 2
    text = prose(
        f"`make gate-power`, {found['measured_at'][:10]}, commit `{found['git_commit']}`: share of {found['trials']} "
        f"simulated comparisons that pass and, in brackets, in which the gate cannot tell. A model that is worse by "
        f"the margin or more may pass in {nominal:.1%}; so may a version that is no better than recency alone."
    )
    against = [(_truth(row["truth"], found["margin"]), *map(_share, row["found"])) for row in found["against_champion"]]
    against.append((f"equal, every rule at once ({found['all_rules_trials']})", *map(_share, found["every_rule"])))
    alone = [(f"ROC AUC {row['truth']:+g}", *map(_share, row["found"])) for row in found["over_baseline"]]
    first = ("candidate against the champion", *columns[1:])
    second = ("a version against recency alone", *columns[1:])
    return f"{text}\n{table(first, against, left=1)}\n{table(second, alone, left=1)}".rstrip("\n")


def _truth(truth: float, margin: float) -> str:
    return "equal" if truth == 0 else f"ROC AUC {truth:+g}" + (", the margin" if truth == -margin else "")


def _share(found: Mapping[str, float]) -> str:
    passed = found[Verdict.BETTER] + found[Verdict.NOT_WORSE]
    return f"{passed:.1%} ({found[Verdict.CANNOT_TELL]:.0%})"
