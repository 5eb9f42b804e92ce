"""A small contract, a real small model of it, and an online store in memory.

`tests/integration/service/features/test_online_features_contract.py` holds `FakeOnlineFeatures` and the adapter to
Feast against the same suite, so a unit test that uses the fake says something about the product.
"""

import asyncio
import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import skops.io
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from contract import (
    BinaryTask,
    DecisionThreshold,
    EntityKey,
    FeatureInput,
    FeatureSchema,
    FeatureSpec,
    Headline,
    Key,
    ModelContract,
    MulticlassTask,
    RawFeatures,
    RegressionTask,
    RequestInput,
    SourceView,
    Task,
    TrainingDistribution,
    outputs_of,
)
from contract.feature_schema import Dtype
from contract.inputs import QUANTILES
from contract.tasks import TaskKind
from scoring.models.imported_model import ImportedModel, load_model
from scoring.models.model_frame import CodedColumns
from training.churn.candidates import logistic
from training.compilation.onnx_model import compile_to_onnx

DAY = 86_400.0
NOW = 1_750_000_000.0
"""The tests' time of request, unix seconds; fixed, because no test depends on the clock."""
NOW_US = int(NOW) * 1_000_000

PROFILE, ACTIVITY, RECENCY = "profile", "activity", "recency"
SPEND, ORDERS = "profile__spend", "profile__order_count"
ORDERS_30D, MEMBER = "activity__order_count_30d", "activity__is_member"
DAYS_SINCE = "recency__days_since_last_order"
ACTIVITY_TTL = 2 * DAY


def small_schema(project: str = "tiny", transformations: Mapping[str, str] | None = None) -> FeatureSchema:
    """Two stored views, one with a TTL, and one on-demand view over the first, in the registry's order."""

    def spec(name: str, dtype: Dtype, source: str | None = None) -> FeatureSpec:
        view = name.split("__")[0]
        return FeatureSpec(name=name, dtype=dtype, view=view, sources=(source or view,))

    return FeatureSchema(
        project=project,
        feature_service="tiny_v1",
        entity_keys=(EntityKey(join_key="customer_id", dtype="string"),),
        views=(SourceView(name=PROFILE, ttl_seconds=None), SourceView(name=ACTIVITY, ttl_seconds=ACTIVITY_TTL)),
        features=(
            spec(ORDERS, "int64"),
            spec(SPEND, "float64"),
            spec(ORDERS_30D, "int64"),
            spec(MEMBER, "bool"),
            spec(DAYS_SINCE, "float64", source=PROFILE),
        ),
        request_inputs=(RequestInput(name="as_of", dtype="int64", filled_by="request_time_unix_us"),),
        transformations=dict(transformations or {RECENCY: "ab" * 32}),
    )


DEFAULTS = {DAYS_SINCE: 90.0, ORDERS_30D: 1.0, SPEND: 50.0, MEMBER: 0.0, ORDERS: 3.0}
"""Input → what stands in; in the model's order, which is not the registry's."""


def small_contract(
    schema: FeatureSchema | None = None,
    threshold: float = 0.5,
    policies: Mapping[str, Mapping[str, str]] | None = None,
) -> ModelContract:
    """A contract over `small_schema`; `policies` is input → `on_stale`, `on_missing`."""
    schema = schema or small_schema()
    specs = {f.name: f for f in schema.features}
    return ModelContract(
        model_name="small_churn",
        model_version="7",
        run_id="f" * 32,
        feature_schema=schema,
        inputs=tuple(
            FeatureInput.model_validate(
                {
                    **specs[name].model_dump(),
                    "default": default,
                    "default_from": "feature_repo",
                    "distribution": TrainingDistribution(quantiles=(1.0,) * len(QUANTILES), null_rate=0.0),
                    **(policies or {}).get(name, {}),
                }
            )
            for name, default in DEFAULTS.items()
        ),
        entity="customer",
        task=BinaryTask(
            classes=("retained", "churned"), threshold=DecisionThreshold(value=threshold, rule="given by the test")
        ),
        outputs=outputs_of("binary", "churn"),
        headline=Headline(population="all", metric="roc_auc"),
        training_window={"first_cutoff": "2025-01-01T00:00:00+00:00"},
        data_fingerprint="cd" * 32,
        metrics={"all_roc_auc": 0.8},
        library_versions={"numpy": np.__version__},
    )


def training_rows(seed: int = 5, rows: int = 200) -> tuple[pd.DataFrame, NDArray[np.bool_]]:
    """Customers whose churn is driven by how long ago they last ordered, then by how often they order."""
    random = np.random.default_rng(seed)
    matrix = pd.DataFrame(
        {
            DAYS_SINCE: random.exponential(90, rows),
            ORDERS_30D: random.poisson(1.5, rows),
            SPEND: random.gamma(2, 40, rows),
            MEMBER: random.integers(0, 2, rows),
            ORDERS: 1 + random.poisson(4, rows),
        },
        dtype=np.float32,
    )
    logit = (matrix[DAYS_SINCE] - 60) / 25 - 0.4 * (matrix[ORDERS_30D] - 1.5)
    churned: NDArray[np.bool_] = np.less(random.random(rows), 1 / (1 + np.exp(-logit.to_numpy())))
    return matrix, churned


@functools.cache
def small_pipeline(kind: TaskKind = "binary") -> Pipeline:
    """A real pipeline over `DEFAULTS`' inputs for `contract_of(kind)`."""
    matrix, churned = training_rows()
    if kind == "binary":
        return logistic(seed=5).fit(matrix, churned)
    spend = (matrix[SPEND] * (1 + matrix[ORDERS_30D]) - matrix[DAYS_SINCE]).to_numpy()
    if kind == "regression":
        return make_pipeline(StandardScaler(), Ridge()).fit(matrix, spend)
    classes = np.digitize(spend, np.quantile(spend, [0.4, 0.7]))
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(matrix, classes)


def contract_of(kind: TaskKind) -> ModelContract:
    """`small_contract` with a task of this kind: `churn`, `segment` or `spend`, which is no less than 0."""
    tasks: dict[TaskKind, tuple[str, Task, str]] = {
        "binary": ("churn", small_contract().task, "roc_auc"),
        "multiclass": ("segment", MulticlassTask(classes=("low", "middle", "high")), "log_loss"),
        "regression": ("spend", RegressionTask(at_least=0.0, unit="EUR"), "mae"),
    }
    target, task, metric = tasks[kind]
    changed = {"task": task, "outputs": outputs_of(kind, target), "headline": Headline(population="all", metric=metric)}
    return small_contract().model_copy(update=changed)


@dataclass(frozen=True)
class Stored:
    """A model folder as the import leaves it, and what is stored beside it."""

    folder: Path
    labels: dict[str, str]
    metadata: dict[str, str]

    def load(self) -> ImportedModel:
        return load_model("small_churn:v7", self.folder, self.labels, self.metadata, role="champion")


def store_model(
    folder: Path, contract: ModelContract, pipeline: Pipeline | None = None, runtime: str = "onnx"
) -> Stored:
    """Write the files of an imported model to `folder`."""
    pipeline = pipeline or small_pipeline(contract.task.kind)
    dumped = skops.io.dumps(pipeline)
    files = {"contract.json": contract.to_json().encode(), "model.skops": dumped}
    served = dumped
    if runtime == "onnx":
        served = files["model.onnx"] = compile_to_onnx(
            pipeline, len(contract.inputs), contract.task, CodedColumns.of(contract.inputs)
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    metadata = {
        "contract_sha256": contract.sha256,
        "file_sha256": hashlib.sha256(served).hexdigest(),
        "pipeline_sha256": hashlib.sha256(dumped).hexdigest(),
    }
    return Stored(folder, {"runtime": runtime}, metadata)


@dataclass(frozen=True)
class StoredRow:
    """A customer's row of one stored view.

    event_time: unix seconds.
    values: column of the view → value, a list of an array; a column that is left out, or None, is null.
    """

    event_time: float
    values: Mapping[str, Any]


Rows = dict[str, StoredRow]
"""One customer's rows by view."""


def customer(
    *,
    spend: float | None = 120.0,
    orders: float | None = 4,
    orders_30d: float | None = 2,
    member: float | None = 1,
    days_since: float | None = 10.0,
    profile_age: float = 10 * DAY,
    activity_age: float = DAY / 2,
) -> Rows:
    """A known customer at `NOW`: every feature present and fresh unless the test says otherwise."""
    last = None if days_since is None else (NOW - days_since * DAY) * 1e6
    return {
        PROFILE: StoredRow(NOW - profile_age, {"order_count": orders, "spend": spend, "last_order_unix_us": last}),
        ACTIVITY: StoredRow(NOW - activity_age, {"order_count_30d": orders_30d, "is_member": member}),
    }


def _days_since_last_order(
    rows: Mapping[str, StoredRow], as_of_unix_us: int, _given: Mapping[str, Any]
) -> float | None:
    last = rows[PROFILE].values.get("last_order_unix_us") if PROFILE in rows else None
    return None if last is None else (as_of_unix_us - last) / 86_400_000_000


OnDemand = Callable[[Mapping[str, StoredRow], int, Mapping[str, Any]], float | None]
"""One customer's rows, the time of request and the request's values → the feature."""
ON_DEMAND: Mapping[str, OnDemand] = {DAYS_SINCE: _days_since_last_order}


@dataclass
class FakeOnlineFeatures:
    """`service.features.opening.OnlineFeatures` in memory.

    gate: reads wait until it is set; never set, the store never answers.
    failure: raised by every read.
    unreadable: customers whose stored row cannot be decoded.
    asked, as_of, given: what each read was asked for, in order.
    on_demand: feature → how it is computed.
    """

    contract: ModelContract
    rows: Mapping[Any, Rows]
    gate: asyncio.Event | None = None
    failure: Exception | None = None
    unreadable: frozenset[str] = frozenset()
    asked: list[list[Key]] = field(default_factory=list)
    as_of: list[int] = field(default_factory=list)
    given: list[Mapping[str, Sequence[Any]] | None] = field(default_factory=list)
    closed: bool = False
    on_demand: Mapping[str, OnDemand] = field(default_factory=lambda: ON_DEMAND)

    async def read(
        self,
        keys: Sequence[Key],
        as_of_unix_us: int | NDArray[np.int64],
        given: Mapping[str, Sequence[Any]] | None = None,
    ) -> RawFeatures:
        """See `OnlineFeatures.read`."""
        times = np.broadcast_to(np.asarray(as_of_unix_us, dtype=np.int64), (len(keys),)).tolist()
        self.asked.append(list(keys))
        self.as_of.append(times[0])
        self.given.append(given)
        if self.failure is not None:
            raise self.failure
        if self.gate is not None:
            await self.gate.wait()
        views = [view.name for view in self.contract.feature_schema.views]
        values = np.full((len(keys), len(self.contract.inputs)), np.nan)
        event_times = np.full((len(keys), len(views)), np.nan)
        for row, key in enumerate(keys):
            stored = self.rows.get(key, {})
            for position, view in enumerate(views):
                if view in stored:
                    event_times[row, position] = stored[view].event_time
            for column, feature in enumerate(self.contract.inputs):
                request = {name: column[row] for name, column in (given or {}).items()}
                value = self._value(feature, stored, times[row], request)
                values[row, column] = np.nan if value is None else value
        unread = np.array([key in self.unreadable for key in keys])
        values[unread], event_times[unread] = np.nan, np.nan
        unread_inputs = np.repeat(unread[:, None], values.shape[1], axis=1)
        return RawFeatures(values, event_times, unread=unread_inputs if unread.any() else None)

    async def close(self) -> None:
        """See `OnlineFeatures.close`."""
        self.closed = True

    def _value(
        self, feature: FeatureInput, stored: Mapping[str, StoredRow], as_of_unix_us: int, given: Mapping[str, Any]
    ) -> float | None:
        if feature.name in self.on_demand:
            return self.on_demand[feature.name](stored, as_of_unix_us, given)
        if feature.view not in stored:
            return None
        value = stored[feature.view].values.get(feature.field_name)
        if feature.codes is not None:
            return feature.codes.code(value)
        return value[feature.element] if feature.element is not None and value is not None else value
