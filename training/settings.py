"""Settings of training: environment variables with the prefix TRAINING_."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from artefacts.cutoffs import CutoffSettings
from artefacts.process.logs import LogSettings

if TYPE_CHECKING:
    from training.use_case import UseCase


def _of_use_case(value: Callable[["UseCase"], Any], **bounds: Any) -> Any:
    """A field whose default the use case says."""

    def default() -> Any:
        from training.use_case_folder import current_use_case

        return value(current_use_case())

    return Field(default_factory=default, validate_default=True, **bounds)


def _of_splits(name: str, otherwise: Any, **bounds: Any) -> Any:
    """A field of `CutoffSettings` whose default the use case's splits say."""
    return _of_use_case(lambda case: case.splits.settings.get(name, otherwise), **bounds)


class TrainingLogSettings(LogSettings):
    """How training logs."""

    model_config = SettingsConfigDict(env_prefix="TRAINING_")


class TrainingSettings(TrainingLogSettings, CutoffSettings):
    """How a model is trained and judged. Addresses of artefacts are in `artefacts.addresses`."""

    model_config = SettingsConfigDict(env_prefix="TRAINING_")

    model_name: str = _of_use_case(lambda case: case.name)
    """Name of the registered model in MLflow, of the BentoML model and of the experiment."""

    feature_service: str = _of_use_case(lambda case: case.feature_service)
    """Feature service whose features, in its order, are the model's inputs."""

    label_days: int = _of_splits("label_days", 90, ge=0)
    """Days from a row's request time until its target is known; 0 in a table where it is. Unset, it is the champion's
    (docs/promotion.md#the-label-belongs-to-the-model).
    """

    training_cutoffs: int = _of_splits("training_cutoffs", 4, ge=1)
    """Number of cut-offs that the training rows come from."""

    cutoff_spacing_days: int = _of_splits("cutoff_spacing_days", 30, ge=1)
    """Days between training cut-offs."""

    request_hours: str = _of_splits("request_hours", "0-24")
    """Hours after midnight UTC at which entities are looked at, as requests come: `from-to`, or several such ranges
    with `:share` (docs/model.md).
    """

    recency_feature: str = _of_use_case(lambda case: case.baseline.feature or "")
    """The only input of the baseline that a model must beat. The name is churn's, whose baseline is recency."""

    active_days: float | None = Field(default=None, ge=0)
    """Upper bound of the headline population's feature, where it has one; for churn the days since the last order.
    Unset, it is the champion's, or else the use case's.
    """

    seed: int = 17
    """Seed of everything random: the same data and seed give the same model and metrics."""

    bootstrap_resamples: int = Field(default=200, ge=20)
    """Resamples behind each interval."""

    gate_confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Confidence of the two-sided intervals by which the gate decides. A model that is no better passes in (1 - this) /
    2 of the cases.
    """

    min_auc_margin: float = _of_use_case(lambda case: case.gate.min_margin, ge=0)
    """Gate: the interval of the gain in the headline metric over the baseline must begin above this. Of a binary model
    the headline metric is the ROC AUC, unless the use case names another.
    """

    max_calibration_error: float = _of_use_case(lambda case: case.gate.max_calibration_error, gt=0)
    """Gate: the interval of the calibration error over all rows of the test cut-off must end at or below this."""

    max_auc_loss: float = _of_use_case(lambda case: case.gate.max_loss, ge=0)
    """Gate against the champion: the interval of the gain in the headline metric must not begin below minus this."""

    max_calibration_loss: float = _of_use_case(lambda case: case.gate.max_calibration_loss, ge=0)
    """Gate against the champion: the interval of the difference in calibration error must not end above this."""

    segments: str = _of_use_case(lambda case: " ".join(case.segments))
    """Segments that are compared one by one: a feature for its terciles, or a feature with the edges
    between the parts.
    """

    max_segment_auc_loss: float = _of_use_case(lambda case: case.gate.max_segment_loss, ge=0)
    """Gate against the champion: no interval of a segment's gain in the headline metric may lie wholly below minus
    this.
    """

    max_changed_decisions: float = _of_use_case(lambda case: case.gate.max_changed_decisions, ge=0, le=1)
    """Gate against the champion: largest share of rows for which the two models decide differently."""

    max_slowdown: float = Field(default=5, gt=0)
    """Gate against the champion: how many times as long a call of the compiled model may take."""

    @field_validator("segments")
    @classmethod
    def _are_segments(cls, described: str) -> str:
        for description in described.split():
            try:
                edges = [float(edge) for edge in description.split(":")[1:]]
            except ValueError:
                raise ValueError(f"{description!r}: expected feature, or feature:number:number…") from None
            if sorted(set(edges)) != edges:
                raise ValueError(f"{description!r}: the edges must ascend")
        return described
