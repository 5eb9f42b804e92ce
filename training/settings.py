"""Settings of training: environment variables with the prefix TRAINING_."""

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from artefacts.cutoffs import CutoffSettings
from artefacts.process.logs import LogSettings


class TrainingLogSettings(LogSettings):
    """How training logs."""

    model_config = SettingsConfigDict(env_prefix="TRAINING_")


class TrainingSettings(TrainingLogSettings, CutoffSettings):
    """How a model is trained and judged. Addresses of artefacts are in `artefacts.addresses`."""

    model_config = SettingsConfigDict(env_prefix="TRAINING_")

    model_name: str = "customer_churn"
    """Name of the registered model in MLflow, of the BentoML model and of the experiment."""

    feature_service: str = "churn_v1"
    """Feature service whose features, in its order, are the model's inputs."""

    recency_feature: str = "customer_recency__days_since_last_order"
    """The only feature of the baseline that a model must beat: days since the last order."""

    active_days: int = Field(default=180, ge=1)
    """Headline population: customers with an order in this many days before they are looked at. Unset, it is the
    champion's.
    """

    seed: int = 17
    """Seed of everything random: the same data and seed give the same model and metrics."""

    bootstrap_resamples: int = Field(default=200, ge=20)
    """Resamples behind each interval."""

    gate_confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Confidence of the two-sided intervals by which the gate decides. A model that is no better passes in (1 - this) /
    2 of the cases.
    """

    min_auc_margin: float = Field(default=0, ge=0)
    """Gate: the interval of the gain in headline ROC AUC over the recency-only baseline must begin above this."""

    max_calibration_error: float = Field(default=0.05, gt=0)
    """Gate: the interval of the calibration error over all customers of the test cut-off must end at or below this."""

    max_auc_loss: float = Field(default=0.01, ge=0)
    """Gate against the champion: the interval of the difference in headline ROC AUC must not begin below minus this."""

    max_calibration_loss: float = Field(default=0.02, ge=0)
    """Gate against the champion: the interval of the difference in calibration error must not end above this."""

    segments: str = "customer_recency__days_since_last_order customer_lifetime__order_count:2:4"
    """Segments that are compared one by one: a feature for its terciles, or a feature with the edges
    between the parts.
    """

    max_segment_auc_loss: float = Field(default=0.01, ge=0)
    """Gate against the champion: no interval of a segment's difference in ROC AUC may lie wholly below minus this."""

    max_changed_decisions: float = Field(default=0.1, ge=0, le=1)
    """Gate against the champion: largest share of customers for whom the two models decide differently."""

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
