"""Compares two versions on the same customers: quality, segments, changed decisions, speed. Functions of arrays."""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from scoring.evaluation import (
    FEWEST_OF_A_CLASS,
    PROBABILITY_METRICS,
    RANKING_METRICS,
    Bools,
    Floats,
    Metric,
    PairedEstimate,
    calibration_error,
    compare_scores,
    rank_correlation,
    standard_error_interval,
)
from training.errors import DatasetError
from training.gate.verdicts import JudgedMetric, negated, verdict_on
from training.settings import TrainingSettings

TIMED_ROWS = (1, 1_000)


@dataclass(frozen=True)
class ScoredVersion:
    """One version's scores of n customers, and its cost.

    probability: (n,).
    threshold: decision threshold; probability ≥ threshold means churned.
    compiled_bytes: size of the served file.
    microseconds: number of rows → time of one call.
    """

    probability: Floats
    threshold: float
    compiled_bytes: int
    microseconds: Mapping[int, float]


@dataclass(frozen=True)
class ChampionComparison:
    """Champion against candidate on n rows that neither was fitted on.

    confidence: of every interval of a paired difference.
    headline: ROC AUC of active customers.
    calibration: expected calibration error over all customers, corrected for chance.
    brier: over all customers; for information only.
    segments: ROC AUC by segment.
    changed_decisions: share of customers with different decisions, each by its own threshold.
    mean_change: mean |difference| of the probabilities.
    rank_correlation: Spearman's, of the probabilities.
    """

    rows: int
    active_rows: int
    confidence: float
    headline: JudgedMetric
    calibration: JudgedMetric
    brier: PairedEstimate
    segments: tuple[JudgedMetric, ...]
    changed_decisions: float
    mean_change: float
    rank_correlation: float
    champion_bytes: int
    candidate_bytes: int
    champion_microseconds: dict[int, float]
    candidate_microseconds: dict[int, float]

    @property
    def judged(self) -> tuple[JudgedMetric, ...]:
        """All metrics with a verdict."""
        return self.headline, self.calibration, *self.segments

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [
            f"{self.rows:,} rows that neither was fitted on, {self.active_rows:,} of active customers; "
            f"champion → candidate, {100 * self.confidence:g} % intervals",
            *(f"  {judged}" for judged in self.judged),
            f"  Brier score of all customers {self.brier}",
        ]
        lines.append(
            f"  decisions that change {self.changed_decisions:.1%}; mean change of a probability "
            f"{self.mean_change:.4f}; rank correlation {self.rank_correlation:.4f}"
        )
        for rows in TIMED_ROWS:
            before, now = self.champion_microseconds[rows], self.candidate_microseconds[rows]
            lines.append(f"  compiled model, {rows:,} rows: {before:,.0f} → {now:,.0f} µs")
        lines.append(f"  compiled model: {self.champion_bytes:,} → {self.candidate_bytes:,} bytes")
        return "\n".join(lines)


def compare(
    churned: Bools,
    active: Bools,
    champion: ScoredVersion,
    candidate: ScoredVersion,
    segments: Mapping[str, Bools],
    settings: TrainingSettings,
) -> ChampionComparison:
    """Compare a candidate with the champion.

    Args:
        churned, active: (n,), as in `training.data.dataset.LabelledRows`.
        segments: name → mask (n,).
    """
    before, now = champion.probability, candidate.probability

    def paired(metric: Metric, corrected: bool = False) -> PairedEstimate:
        interval = standard_error_interval(settings.gate_confidence, corrected)
        return compare_scores(metric, churned, before, now, settings.bootstrap_resamples, settings.seed, None, interval)

    def roc_auc(what: str, chosen: Bools, margin: float) -> JudgedMetric:
        return judge_roc_auc(what, churned[chosen], before[chosen], now[chosen], margin, settings)

    calibrated = paired(calibration_error, corrected=True)
    allowed = settings.max_calibration_loss
    return ChampionComparison(
        rows=len(churned),
        active_rows=int(active.sum()),
        confidence=settings.gate_confidence,
        headline=roc_auc("ROC AUC of active customers", active, settings.max_auc_loss),
        calibration=JudgedMetric(
            "calibration error of all customers",
            len(churned),
            calibrated,
            allowed,
            verdict_on(negated(calibrated.difference), allowed),
        ),
        brier=paired(PROBABILITY_METRICS["brier"]),
        segments=tuple(
            roc_auc(f"ROC AUC of customers with {name}", chosen, settings.max_segment_auc_loss)
            for name, chosen in segments.items()
        ),
        changed_decisions=float(((before >= champion.threshold) != (now >= candidate.threshold)).mean()),
        mean_change=float(np.abs(now - before).mean()),
        rank_correlation=rank_correlation(before, now),
        champion_bytes=champion.compiled_bytes,
        candidate_bytes=candidate.compiled_bytes,
        champion_microseconds=dict(champion.microseconds),
        candidate_microseconds=dict(candidate.microseconds),
    )


def judge_roc_auc(
    what: str, churned: Bools, champion: Floats, candidate: Floats, margin: float, settings: TrainingSettings
) -> JudgedMetric:
    """ROC AUC of two scores of the same customers, (n,), and the verdict on the candidate."""
    found = None
    if min(churned.sum(), (~churned).sum()) >= FEWEST_OF_A_CLASS:
        arguments = settings.bootstrap_resamples, settings.seed, None, standard_error_interval(settings.gate_confidence)
        found = compare_scores(RANKING_METRICS["roc_auc"], churned, champion, candidate, *arguments)
    return JudgedMetric(what, len(churned), found, margin, verdict_on(found.difference if found else None, margin))


def segments_of(matrix: pd.DataFrame, described: str) -> dict[str, Bools]:
    """Name → mask (n,) of each segment in `TrainingSettings.segments`.

    Args:
        described: separated by spaces: `feature` for its terciles, or `feature:2:4` for < 2, 2 to < 4, and ≥ 4.

    Raises:
        DatasetError: a feature is not an input of the model.
    """
    found: dict[str, Bools] = {}
    for description in described.split():
        feature, *named = description.split(":")
        if feature not in matrix:
            raise DatasetError(f"TRAINING_SEGMENTS: {feature!r} is not an input of the model")
        values = matrix[feature].to_numpy(dtype=np.float64)
        edges = [float(edge) for edge in named] or [float(q) for q in np.quantile(values, [1 / 3, 2 / 3])]
        for name, mask in _between(values, edges):
            if mask.any():
                found[f"{feature} {name}"] = mask
    return found


def _between(values: Floats, edges: list[float]) -> Iterator[tuple[str, Bools]]:
    yield f"< {edges[0]:g}", values < edges[0]
    for low, high in itertools.pairwise(edges):
        yield f"from {low:g} to < {high:g}", (values >= low) & (values < high)
    yield f"≥ {edges[-1]:g}", values >= edges[-1]


def time_calls(calls: Mapping[str, Callable[[int], object]], rounds: int) -> dict[str, dict[int, float]]:
    """Time the fastest of `rounds` calls: name → number of rows → microseconds.

    The calls alternate, so that other load affects all of them. The minimum, not the median: other load interrupts a
    long call more often than a short one.

    Args:
        calls: name → function that scores a given number of rows.
    """
    found: dict[str, dict[int, float]] = {name: {} for name in calls}
    for rows in TIMED_ROWS:
        taken: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(rounds):
            for name, call in calls.items():
                start = time.perf_counter()
                call(rows)
                taken[name].append(time.perf_counter() - start)
        for name, seconds in taken.items():
            found[name][rows] = min(seconds) * 1e6
    return found
