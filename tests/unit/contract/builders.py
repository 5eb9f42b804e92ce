"""Small contracts and schemas: every test names only the part it is about."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract import (
    BinaryTask,
    DecisionThreshold,
    EntityKey,
    FeatureInput,
    FeatureSchema,
    FeatureSpec,
    Headline,
    ModelContract,
    RawFeatures,
    RequestInput,
    ResolvedFeatures,
    SourceView,
    TrainingDistribution,
    outputs_of,
)
from contract.feature_schema import Dtype, MissingPolicy, StalePolicy
from contract.inputs import QUANTILES


def feature(
    name: str,
    *,
    dtype: Dtype = "float64",
    sources: tuple[str, ...] | None = None,
    on_stale: StalePolicy = "use_default",
    on_missing: MissingPolicy = "use_default",
    default: float = -1.0,
) -> FeatureInput:
    view = name.split("__")[0]
    return FeatureInput(
        name=name,
        dtype=dtype,
        view=view,
        sources=sources or (view,),
        on_stale=on_stale,
        on_missing=on_missing,
        default=default,
        default_from="feature_repo",
        distribution=TrainingDistribution(quantiles=tuple(float(i) for i in range(len(QUANTILES))), null_rate=0.0),
    )


def schema() -> FeatureSchema:
    """Two stored views, an on-demand view over both, and the request's time."""
    return FeatureSchema(
        project="churn",
        feature_service="churn_v1",
        entity_keys=(EntityKey(join_key="customer_id", dtype="string"),),
        views=(SourceView(name="lifetime", ttl_seconds=None), SourceView(name="windowed", ttl_seconds=172_800.0)),
        features=(
            FeatureSpec(name="lifetime__spend", dtype="float64", view="lifetime", sources=("lifetime",)),
            FeatureSpec(name="windowed__orders", dtype="int64", view="windowed", sources=("windowed",)),
            FeatureSpec(name="recency__days", dtype="float64", view="recency", sources=("lifetime", "windowed")),
        ),
        request_inputs=(RequestInput(name="as_of", dtype="int64", filled_by="request_time_unix_us"),),
        transformations={"recency": "ab" * 32},
    )


def contract(**changes: Any) -> ModelContract:
    """A contract over `schema()`, with the given members in place of its own."""
    members: dict[str, Any] = {
        "model_name": "customer_churn",
        "model_version": "3",
        "run_id": "f" * 32,
        "feature_schema": schema(),
        "inputs": (
            feature("windowed__orders", dtype="int64"),
            feature("lifetime__spend"),
            feature("recency__days", sources=("lifetime", "windowed")),
        ),
        "entity": "customer",
        "task": BinaryTask(classes=("stays", "churns"), threshold=DecisionThreshold(value=0.5, rule="youden")),
        "outputs": outputs_of("binary", "churn"),
        "headline": Headline(population="all", metric="roc_auc"),
        "training_window": {"first": "2024-01-01T00:00:00+00:00"},
        "data_fingerprint": "cd" * 32,
        "metrics": {"brier": 0.1, "roc_auc": 0.8},
        "library_versions": {"numpy": "2.4.6"},
    }
    return ModelContract(**members | changes)


def taken(raw: RawFeatures, rows: Sequence[int]) -> RawFeatures:
    """Some of the rows, in another order."""
    index = np.array(rows, dtype=np.intp)
    return RawFeatures(raw.values[index], None if raw.event_times is None else raw.event_times[index])


def columns_of(done: ResolvedFeatures) -> list[NDArray[np.generic]]:
    """Everything that was resolved, to be compared."""
    return [done.matrix, done.states, done.defaulted, done.ages, done.known, done.refused]
