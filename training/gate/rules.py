"""The gate between a registered version and an alias: first on its own, then against the champion."""

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
from training.gate.comparison import Comparison
from training.gate.verdicts import Verdict, verdict_on
from training.settings import TrainingSettings

GATE = "gate"
"""Tag of a version that holds what the gate on its own said of it."""

PASSED = "passed"
"""Its value for a version that may be served."""

FORCED = "forced: "
"""How it begins where somebody let the version through against the gate; the reason follows."""


@dataclass(frozen=True)
class Measured:
    """What the gate measures of a version on its own, on the untouched test cut-off.

    gain: ROC AUC of the baseline → of the model, of the `active_rows` customers active before the cut-off.
    calibration_error: over all customers, corrected for what chance adds to it.
    confidence: of both intervals.
    """

    gain: PairedEstimate
    active_rows: int
    calibration_error: Estimate
    confidence: float

    @property
    def estimates(self) -> dict[str, Estimate]:
        """By the names of the run's metrics."""
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
) -> Measured:
    """Hold a model's probabilities against a baseline's scores of the same customers; arrays (n,)."""
    arguments = settings.bootstrap_resamples, settings.seed, None
    plain, corrected = (standard_error_interval(settings.gate_confidence, corrected) for corrected in (False, True))
    errors = evaluate(churned, probability, {"error": calibration_error}, *arguments, corrected)
    return Measured(
        gain=compare_scores(
            RANKING_METRICS["roc_auc"], churned[active], baseline[active], probability[active], *arguments, plain
        ),
        active_rows=int(active.sum()),
        calibration_error=errors["error"],
        confidence=settings.gate_confidence,
    )


@dataclass(frozen=True)
class Evidence:
    """What the gate looks at when it judges a version on its own."""

    measured: Measured
    has_signature: bool
    contract: ModelContract


def objections(evidence: Evidence, settings: TrainingSettings) -> list[str]:
    """Why this version may not be served; empty if it may."""
    found = []
    if objection := _against_gain(evidence.measured, settings.min_auc_margin):
        found.append(objection)
    error, most = evidence.measured.calibration_error, settings.max_calibration_error
    if not error.high <= most:  # so written, NaN does not pass
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


def verdict_on_gain(measured: Measured, margin: float) -> Verdict:
    """Whether the model beats the baseline by more than a margin ≥ 0: only `BETTER` says so."""
    found = measured.gain.difference
    return verdict_on(Estimate(found.value - margin, found.low - margin, found.high - margin), 0)


def _against_gain(measured: Measured, margin: float) -> str:
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


def ways_out(objections: Iterable[str]) -> str:
    """What helps where the rows are too few to tell; empty if that is no objection."""
    if not any("cannot tell" in objection for objection in objections):
        return ""
    return (
        ". Too few rows to tell: more customers give more, as does a longer TRAINING_ACTIVE_DAYS of active ones "
        "(docs/promotion.md has how many it takes)"
    )


def objections_against(comparison: Comparison, settings: TrainingSettings) -> list[str]:
    """Why a candidate may not replace the champion; empty if it may. The rules are those of docs/promotion.md."""
    found = [str(judged) for judged in (comparison.headline, comparison.calibration) if not judged.passes]
    # Of several parts each is small: a part speaks against a candidate only where it is shown to be worse.
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


def own_verdict(version: ModelVersion) -> str:
    """What the gate on its own said of a version."""
    return str(version.tags.get(GATE, "it was never held to it"))


def refuse_unpassed(version: ModelVersion) -> None:
    """Hold a version to what the gate on its own said of it.

    Raises:
        ModelImportError: it neither passed nor was forced.
    """
    verdict = own_verdict(version)
    if verdict != PASSED and not verdict.startswith(FORCED):
        raise ModelImportError(f"model {version.name!r} version {version.version} did not pass the gate: {verdict}")
