"""The gate between a registered version and the alias that is served."""

from dataclasses import dataclass

from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from contract import ModelContract
from training.errors import GateError
from training.evaluation import Estimate
from training.registry import CHAMPION
from training.settings import TrainingSettings

PASSED = "passed"
"""Value of the tag `gate` of a version that may be served."""


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


def promote(client: MlflowClient, version: ModelVersion, evidence: Evidence, settings: TrainingSettings) -> None:
    """Set the alias `champion` if the gate lets the version through.

    Raises:
        GateError: it does not; the version stays registered without the alias.
    """
    found = objections(evidence, settings)
    client.set_model_version_tag(version.name, version.version, "gate", "; ".join(found) or PASSED)
    if found:
        raise GateError(
            f"version {version.version} of {version.name!r} is registered but not {CHAMPION}, what is served stays: "
            + "; ".join(found)
            + ". TRAINING_MIN_AUC_MARGIN and TRAINING_MAX_CALIBRATION_ERROR set the bar; little data often misses it"
        )
    client.set_registered_model_alias(version.name, CHAMPION, version.version)
