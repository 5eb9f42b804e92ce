"""The gate between a registered version and an alias: first on its own, then against the champion."""

from dataclasses import dataclass

from mlflow.entities.model_registry import ModelVersion

from contract import ModelContract
from scoring.evaluation import Estimate
from training.comparison import Comparison
from training.errors import ModelImportError
from training.settings import TrainingSettings

GATE = "gate"
"""Tag of a version that holds what the gate on its own said of it."""

PASSED = "passed"
"""Its value for a version that may be served."""

FORCED = "forced: "
"""How it begins where somebody let the version through against the gate; the reason follows."""


@dataclass(frozen=True)
class Evidence:
    """What the gate looks at; all of it measured on the untouched test cut-off.

    headline_auc, recency_auc: over customers active before the cut-off.
    calibration_error: expected calibration error over all customers.
    """

    headline_auc: Estimate
    recency_auc: Estimate
    calibration_error: float
    has_signature: bool
    contract: ModelContract


def objections(evidence: Evidence, settings: TrainingSettings) -> list[str]:
    """Why this version may not be served; empty if it may."""
    found = []
    margin = evidence.headline_auc.value - evidence.recency_auc.value
    if not margin >= settings.min_auc_margin:  # so written, NaN does not pass
        found.append(
            f"ROC AUC {evidence.headline_auc} beats recency alone ({evidence.recency_auc}) by {margin:.3f}, "
            f"less than {settings.min_auc_margin}"
        )
    if not evidence.calibration_error <= settings.max_calibration_error:
        found.append(
            f"expected calibration error is {evidence.calibration_error:.3f}, over {settings.max_calibration_error}"
        )
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


def objections_against(comparison: Comparison, settings: TrainingSettings) -> list[str]:
    """Why a candidate may not take the champion's place; empty if it may. The rules are those of docs/promotion.md."""
    found = []
    if not comparison.headline.difference.low >= -settings.max_auc_loss:  # so written, NaN does not pass
        found.append(
            f"ROC AUC of active customers {comparison.headline}: it may be worse by more than {settings.max_auc_loss}"
        )
    limit = comparison.champion_calibration_error + settings.max_calibration_loss
    if not comparison.candidate_calibration_error <= limit:
        found.append(
            f"calibration error {comparison.champion_calibration_error:.3f} → "
            f"{comparison.candidate_calibration_error:.3f}, worse by more than {settings.max_calibration_loss}"
        )
    for segment in comparison.segments:
        difference = segment.roc_auc.difference if segment.roc_auc else None
        if difference and difference.high < 0 and difference.value < -settings.max_segment_auc_loss:
            found.append(
                f"customers with {segment.name}: ROC AUC {segment.roc_auc}, surely worse and by more than "
                f"{settings.max_segment_auc_loss}"
            )
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
