"""Version 1 of the model contract: binary models that answer `churn_probability` and `churn` for a customer.

The last place that knows these names. Its documents stay readable for ever, and keep their digests.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from contract.feature_schema import EntityKey, Frozen
from contract.inputs import TrainingDistribution
from contract.tasks import DecisionThreshold
from contract.values.histogram import Histogram

_ACTIVE = "active"
_RECENCY = "customer_recency__days_since_last_order"
_ACTIVE_DAYS = 180.0
"""The headline population of contracts older than the member `populations`."""
_TENURE = "customer_recency__tenure_days"


Dtype = Literal["bool", "int32", "int64", "float32", "float64"]
StalePolicy = Literal["use_value", "use_default", "refuse"]
MissingPolicy = Literal["use_default", "refuse"]


class SourceView(Frozen):
    """A stored feature view, read by entity key.

    ttl_seconds: how long a row is valid after its event timestamp; None: until the next row.
    """

    name: str
    ttl_seconds: float | None


class FeatureSpec(Frozen):
    """One feature as the registry describes it.

    name: feature reference `view__feature`, unique in the service.
    sources: the stored views that the value is computed from: its own view, or those that its on-demand view reads.
    on_stale: policy for a source row older than its TTL.
    on_missing: policy for an absent row or a null value.
    default: the feature repository's default value; None if it has none.
    """

    name: str
    dtype: Dtype
    view: str
    sources: tuple[str, ...]
    on_stale: StalePolicy = "use_default"
    on_missing: MissingPolicy = "use_default"
    default: float | None = None


class RequestInput(Frozen):
    """A value that an on-demand view takes from the request, not from the store.

    filled_by: `request_time_unix_us` is the request's time, read once per request.
    """

    name: str
    dtype: Dtype
    filled_by: Literal["request_time_unix_us"]


class FeatureSchema(Frozen):
    """Everything a model depends on in one feature service."""

    project: str
    feature_service: str
    entity_keys: tuple[EntityKey, ...]
    views: tuple[SourceView, ...]
    features: tuple[FeatureSpec, ...]
    request_inputs: tuple[RequestInput, ...]
    transformations: dict[str, str]
    """On-demand view → sha256 of its function's source."""


class FeatureInput(FeatureSpec):
    """One model input: the feature, its default value and its training distribution."""

    default: float
    default_from: Literal["feature_repo", "training_median"]
    distribution: TrainingDistribution


class Label(Frozen):
    """What the positive class means: an outcome within `days` days after the request's time.

    name: name of the positive class.
    definition: in words; it contains `days`.
    """

    name: str
    days: Annotated[int, Field(ge=1)]
    definition: str


class Population(Frozen):
    """A group of customers with its own metrics: those with input `feature` ≤ `at_most`."""

    feature: str
    at_most: float


class ModelContract(Frozen):
    """A contract of version 1.

    inputs: in model order.
    class_names: the negative class, then the positive one.
    training_window: first and last cut-off, the end of the last label window, and the cut-off whose rows the histograms
        count (`COUNTED_AT`); ISO 8601 UTC. Older contracts lack the last: they counted inputs at the training cut-offs
        and scores at another.
    data_fingerprint: sha256 of the rows that the model was fitted on: training and validation cut-offs.
    metrics: name → value at the test cut-off, whose rows were used for nothing else.
    scores: histogram of the model's probabilities there; None in contracts older than this member.
    label: what the positive class means; None in contracts older than this member, and then not in the document.
    populations: prefix of a metric's name → the population it is computed on; not in the document if empty.
    trusted_types: types in the stored pipeline beyond the scoring room's `TRUSTED_TYPES`. A process loads the pipeline
        only if its settings trust each of them. Not in the document if empty.
    """

    schema_version: Literal[1] = 1
    model_name: str
    model_version: str
    run_id: str
    feature_schema: FeatureSchema
    inputs: tuple[FeatureInput, ...] = Field(min_length=1)
    class_names: tuple[str, str]
    threshold: DecisionThreshold
    training_window: dict[str, str]
    data_fingerprint: str
    metrics: dict[str, float]
    library_versions: dict[str, str]
    scores: Histogram | None = None
    label: Label | None = Field(default=None, exclude_if=lambda label: label is None)
    populations: dict[str, Population] = Field(default_factory=dict, exclude_if=lambda found: not found)
    trusted_types: tuple[str, ...] = Field(default=(), exclude_if=lambda types: not types)


LABEL_COLUMN = "churned"
"""Column of the labels in files that were made for models of version 1."""


def upgraded(document: Mapping[str, Any]) -> dict[str, Any]:
    """The members of version 2 for a valid document of version 1, as JSON values."""
    kept = {name: value for name, value in document.items() if name not in ("class_names", "threshold")}
    populations = document.get("populations") or {}
    inputs = {given["name"] for given in document["inputs"]}
    if not populations and _RECENCY in inputs:
        populations = {_ACTIVE: {"feature": _RECENCY, "at_most": _ACTIVE_DAYS}}
    return {
        **kept,
        "schema_version": 2,
        "entity": "customer",
        "task": {"kind": "binary", "classes": document["class_names"], "threshold": document["threshold"]},
        "outputs": [
            {"name": "churn_probability", "kind": "probability"},
            {"name": "churn", "kind": "decision"},
        ],
        "populations": populations,
        "headline": {"population": _ACTIVE if _ACTIVE in populations else "all", "metric": "roc_auc"},
        "age_feature": _TENURE if _TENURE in inputs else None,
    }
