"""The gate's rules for a version on its own, and against the champion."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mlflow.entities.model_registry import ModelVersion

from contract import ModelContract
from contract.model_contract import EVERYONE
from scoring.evaluation import (
    Bools,
    Estimate,
    Floats,
    Interval,
    Labels,
    Metric,
    PairedEstimate,
    compare_scores,
    evaluate,
    metrics_of,
    standard_error_interval,
)
from training.errors import ModelImportError
from training.gate.comparison import ChampionComparison
from training.gate.verdicts import Verdict, improvement, verdict_on
from training.settings import TrainingSettings
from training.use_case import UseCase

GATE = "gate"
"""Tag of a version with the gate's verdict on the version alone."""

PASSED = "passed"
"""Value of the tag for a version that may be served."""

FORCED = "forced: "
"""Start of the tag's value for a version forced through the gate; the reason follows."""


@dataclass(frozen=True)
class GateMetrics:
    """The gate's metrics of a version alone, at the test cut-off.

    population, metric: of the headline.
    baseline: name of the baseline.
    headline: the metric of the baseline and of the model, over `rows` rows of the population.
    calibration: the metric of calibration, over all rows; `calibration_metric` says which.
    confidence: of both intervals.
    """

    population: str
    metric: Metric
    baseline: str
    headline: PairedEstimate
    rows: int
    calibration_metric: Metric
    calibration: Estimate
    confidence: float

    @property
    def gain(self) -> Estimate:
        """By how much the model is better than the baseline."""
        return improvement(self.metric, self.headline.difference)

    @property
    def estimates(self) -> dict[str, Estimate]:
        """Name of the run's metric → estimate."""
        corrected = "_corrected" if self.calibration_metric.corrected else ""
        return {
            f"{self.population}_{self.metric.name}_gain": self.gain,
            f"{EVERYONE}_{self.calibration_metric.name}{corrected}": self.calibration,
        }

    def __str__(self) -> str:
        return (
            f"for the gate, {100 * self.confidence:g} % intervals: {self.metric.title} of {self.rows:,} "
            f"{self.population} rows, {self.baseline} alone → model, {self.headline}; corrected "
            f"{self.calibration_metric.title} of all {self.calibration}"
        )


def measure(
    case: UseCase,
    labels: Labels,
    populations: Mapping[str, Bools],
    baseline: Floats,
    scores: Floats,
    settings: TrainingSettings,
) -> GateMetrics:
    """Measure a model's scores against a baseline's of the same rows, (n,) or (n, c).

    Args:
        labels: (n,), as the task's metrics take them.
        populations: name → mask (n,), with `all`.
    """
    task = metrics_of(case.task.kind)
    population, name = case.judged_by
    metric, calibration, chosen = task.metric(name), task.calibration, populations[population]
    arguments = settings.bootstrap_resamples, settings.seed, None

    def interval_of(which: Metric) -> Interval:
        return standard_error_interval(settings.gate_confidence, which.corrected)

    rows = labels[chosen], baseline[chosen], scores[chosen]
    errors = evaluate(labels, scores, {"error": calibration}, *arguments, interval_of(calibration))
    return GateMetrics(
        population=population,
        metric=metric,
        baseline=case.baseline.name,
        headline=compare_scores(metric, *rows, *arguments, interval_of(metric)),
        rows=int(chosen.sum()),
        calibration_metric=calibration,
        calibration=errors["error"],
        confidence=settings.gate_confidence,
    )


@dataclass(frozen=True)
class Evidence:
    """What the gate needs to judge a version alone."""

    measured: GateMetrics
    has_signature: bool
    contract: ModelContract


def objections(evidence: Evidence, settings: TrainingSettings) -> list[str]:
    """Reasons why a version may not be served; empty if it may."""
    found = []
    if objection := _against_gain(evidence.measured, settings.min_auc_margin):
        found.append(objection)
    error, most = evidence.measured.calibration, settings.max_calibration_error
    if not error.high <= most:  # NaN does not pass
        said = f"over {most:g}" if error.low > most else f"cannot tell whether it is within {most:g}"
        found.append(f"{evidence.measured.calibration_metric.title} of all rows {error}: {said}")
    if not evidence.has_signature:
        found.append("the logged model has no signature")
    empty = [
        name
        for name in ("run_id", "model_version", "data_fingerprint", "training_window", "metrics", "library_versions")
        if not getattr(evidence.contract, name)
    ]
    if empty:
        found.append(f"the contract is incomplete: {', '.join(empty)}")
    return found


def verdict_on_gain(measured: GateMetrics, margin: float) -> Verdict:
    """Verdict on the gain over the baseline; `BETTER`: more than `margin` ≥ 0."""
    found = measured.gain
    return verdict_on(Estimate(found.value - margin, found.low - margin, found.high - margin), 0)


def _against_gain(measured: GateMetrics, margin: float) -> str:
    paired, found, baseline = measured.headline, measured.gain, measured.baseline
    verdict = verdict_on_gain(measured, margin)
    if verdict is Verdict.BETTER:
        return ""
    more = f"better than {baseline} alone by more than {margin:g}" if margin else f"better than {baseline} alone"
    said = f"not {more}" if verdict is Verdict.WORSE else f"cannot tell whether it is {more}"
    return (
        f"{measured.metric.title} of {measured.population} rows {paired.candidate:.3f}, of {baseline} alone "
        f"{paired.champion:.3f}, gain {found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}] on "
        f"{measured.rows:,} rows: {said}"
    )


def gate_advice(objections: Iterable[str], contract: ModelContract) -> str:
    """What to do about "cannot tell"; empty if no objection says so.

    Args:
        contract: of the version; a variable is named only where it widens the headline population.
    """
    if not any("cannot tell" in objection for objection in objections):
        return ""
    name = contract.headline.population
    population = contract.populations.get(name)
    wider = ""
    if population is not None and population.at_most is not None:
        wider = f", or a wider population {name!r}, as by a TRAINING_ACTIVE_DAYS above {population.at_most:g}"
    return f". Too few rows to tell: use more of them{wider} (docs/promotion.md says how many are needed)"


def objections_to_replacing(comparison: ChampionComparison, settings: TrainingSettings) -> list[str]:
    """Reasons why a candidate may not replace the champion; empty if it may. Rules: docs/promotion.md."""
    found = [str(judged) for judged in (comparison.headline, comparison.calibration) if not judged.passes]
    # Segments are small, so a segment counts against a candidate only if it is shown to be worse.
    found += [str(segment) for segment in comparison.segments if segment.verdict is Verdict.WORSE]
    if not comparison.changed_decisions <= settings.max_changed_decisions:
        found.append(
            f"{comparison.changed_decisions:.1%} of the decisions change, more than "
            f"{settings.max_changed_decisions:.1%}"
        )
    for rows, before in comparison.champion_microseconds.items():
        now = comparison.candidate_microseconds[rows]
        if not now <= settings.max_slowdown * before:
            found.append(
                f"the compiled model takes {now:,.0f} µs for {rows:,} rows, the champion's {before:,.0f}: "
                f"more than {settings.max_slowdown:g} times as long"
            )
    return found


def recorded_verdict(version: ModelVersion) -> str:
    """The recorded verdict on a version alone."""
    return str(version.tags.get(GATE, "the gate has no record of it"))


def refuse_unpassed(version: ModelVersion) -> None:
    """Refuse a version without a passed or forced verdict.

    Raises:
        ModelImportError: it neither passed nor was forced.
    """
    verdict = recorded_verdict(version)
    if verdict != PASSED and not verdict.startswith(FORCED):
        raise ModelImportError(f"model {version.name!r} version {version.version} did not pass the gate: {verdict}")
