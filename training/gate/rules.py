"""The gate's rules for a version on its own, and against the champion."""

from collections.abc import Iterable
from dataclasses import dataclass

from mlflow.entities.model_registry import ModelVersion

from contract import ModelContract
from scoring.evaluation import (
    RANKING_METRICS,
    Bools,
    Estimate,
    Floats,
    PairedEstimate,
    calibration_error,
    compare_scores,
    evaluate,
    standard_error_interval,
)
from training.errors import ModelImportError
from training.gate.comparison import ChampionComparison
from training.gate.verdicts import Verdict, verdict_on
from training.settings import TrainingSettings

GATE = "gate"
"""Tag of a version with the gate's verdict on the version alone."""

PASSED = "passed"
"""Value of the tag for a version that may be served."""

FORCED = "forced: "
"""Start of the tag's value for a version forced through the gate; the reason follows."""


@dataclass(frozen=True)
class GateMetrics:
    """The gate's metrics of a version alone, at the test cut-off.

    gain: ROC AUC of the baseline and of the model, over the `active_rows` active customers.
    calibration_error: over all customers, corrected for chance.
    confidence: of both intervals.
    """

    gain: PairedEstimate
    active_rows: int
    calibration_error: Estimate
    confidence: float

    @property
    def estimates(self) -> dict[str, Estimate]:
        """Name of the run's metric → estimate."""
        return {
            "active_roc_auc_gain": self.gain.difference,
            "all_calibration_error_corrected": self.calibration_error,
        }

    def __str__(self) -> str:
        return (
            f"for the gate, {100 * self.confidence:g} % intervals: ROC AUC of {self.active_rows:,} active customers, "
            f"recency alone → model, {self.gain}; corrected calibration error of all "
            f"{self.calibration_error}"
        )


def measure(
    churned: Bools, active: Bools, baseline: Floats, probability: Floats, settings: TrainingSettings
) -> GateMetrics:
    """Measure a model's probabilities against a baseline's scores of the same customers; arrays (n,)."""
    arguments = settings.bootstrap_resamples, settings.seed, None
    plain, corrected = (standard_error_interval(settings.gate_confidence, corrected) for corrected in (False, True))
    errors = evaluate(churned, probability, {"error": calibration_error}, *arguments, corrected)
    return GateMetrics(
        gain=compare_scores(
            RANKING_METRICS["roc_auc"], churned[active], baseline[active], probability[active], *arguments, plain
        ),
        active_rows=int(active.sum()),
        calibration_error=errors["error"],
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
    error, most = evidence.measured.calibration_error, settings.max_calibration_error
    if not error.high <= most:  # NaN does not pass
        said = f"over {most:g}" if error.low > most else f"cannot tell whether it is within {most:g}"
        found.append(f"calibration error of all customers {error}: {said}")
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
    found = measured.gain.difference
    return verdict_on(Estimate(found.value - margin, found.low - margin, found.high - margin), 0)


def _against_gain(measured: GateMetrics, margin: float) -> str:
    paired, found = measured.gain, measured.gain.difference
    verdict = verdict_on_gain(measured, margin)
    if verdict is Verdict.BETTER:
        return ""
    more = f"better than recency alone by more than {margin:g}" if margin else "better than recency alone"
    said = f"not {more}" if verdict is Verdict.WORSE else f"cannot tell whether it is {more}"
    return (
        f"ROC AUC of active customers {paired.candidate:.3f}, of recency alone {paired.champion:.3f}, difference "
        f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}] on {measured.active_rows:,} rows: {said}"
    )


def gate_advice(objections: Iterable[str]) -> str:
    """What to do about "cannot tell"; empty if no objection says so."""
    if not any("cannot tell" in objection for objection in objections):
        return ""
    return (
        ". Too few rows to tell: use more customers, or a longer TRAINING_ACTIVE_DAYS for more active customers "
        "(docs/promotion.md says how many are needed)"
    )


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
