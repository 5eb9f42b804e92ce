"""The contract's features from the offline store: what the online store would have said at a time.

The rows, the on-demand functions and the event times are those that serving reads, so `resolve` gives the same vectors.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from contract import ContractError, ContractMismatchError, FeatureSchema, ModelContract, RawFeatures, differences
from contract.feature_schema import read_feature_schema
from jobs.errors import JobError
from jobs.offline_store.latest_rows import ViewSource
from scoring.feast.on_demand import OnDemandView, compile_on_demand, is_renamed, obstacles

if TYPE_CHECKING:
    from feast import FeatureStore

_READABLE = frozenset({"bool", "int32", "int64", "float32", "float64", "string"})
"""Types that on-demand code is given as the same Python values here as online."""


class StoredField(NamedTuple):
    """A field of a stored view."""

    view: str
    field: str


@dataclass(frozen=True)
class StoredRows:
    """The rows of one view that belong to n customers, aligned with them.

    event_times: timestamp (n,), null where the customer has no row.
    fields: field → column (n,).
    """

    event_times: pa.Array
    fields: Mapping[str, pa.Array]

    @classmethod
    def aligned(cls, rows: pa.Table, customer_ids: pa.Array, source: ViewSource, fields: Sequence[str]) -> Self:
        """The rows that `latest_rows` gave, in the order of `customer_ids`; null where a customer has none."""
        positions = pc.index_in(customer_ids, value_set=rows[source.join_key].combine_chunks())
        return cls(
            event_times=rows[source.timestamp_field].combine_chunks().take(positions),
            fields={field: rows[field].combine_chunks().take(positions) for field in fields},
        )


@dataclass(frozen=True)
class FeaturePlan:
    """How stored columns become the contract's inputs; it knows neither Feast nor where the columns come from.

    views: stored views in the contract's order, each with the fields that are needed of it.
    stored: input column → the field that it is.
    on_demand: the views that compute the other inputs.
    """

    join_key: str
    views: Mapping[str, tuple[str, ...]]
    inputs: int
    stored: Mapping[int, StoredField]
    on_demand: tuple[OnDemandView[StoredField], ...]
    request_inputs: tuple[str, ...]

    @classmethod
    def of(cls, store: "FeatureStore", contract: ModelContract) -> Self:
        """Hold the contract against the registry and work out what to read.

        Raises:
            ContractMismatchError: the registry no longer offers what the contract promises.
            JobError: the feature service needs something that is not done here as Feast's SDK would do it.
        """
        _check(store, contract)
        views: dict[str, dict[str, None]] = {view.name: {} for view in contract.feature_schema.views}
        dtypes = {
            StoredField(name, field.name): str(field.dtype).lower()
            for name in views
            for field in store.registry.get_feature_view(name, store.project).features
        }

        def stored_field(view: str, field: str) -> StoredField:
            found = StoredField(view, field)
            if dtypes[found] not in _READABLE:
                raise JobError(f"feature {view}:{field} is {dtypes[found]}, which cannot be read here")
            views[view][field] = None
            return found

        stored, computed = {}, dict[str, dict[str, int]]()
        for column, feature in enumerate(contract.inputs):
            if feature.view in views:
                stored[column] = stored_field(feature.view, feature.field_name)
            else:
                computed.setdefault(feature.view, {})[feature.field_name] = column
        return cls(
            join_key=contract.feature_schema.entity_keys[0].join_key,
            inputs=len(contract.inputs),
            stored=stored,
            on_demand=tuple(
                compile_on_demand(store.registry.get_on_demand_feature_view(name, store.project), columns, stored_field)
                for name, columns in computed.items()
            ),
            request_inputs=tuple(r.name for r in contract.feature_schema.request_inputs),
            views={view: tuple(fields) for view, fields in views.items()},
        )

    def assemble(
        self, customer_ids: pa.Array, rows: Mapping[str, StoredRows], as_of_unix_us: int | NDArray[np.int64]
    ) -> RawFeatures:
        """Put stored columns in the contract's order and compute the others.

        Args:
            customer_ids: string (n,).
            rows: of every view.
            as_of_unix_us: the time of scoring, for request-time inputs; int64 (n,) where rows have times of their own.
        """
        values = np.full((len(customer_ids), self.inputs), np.nan)
        for column, (view, field) in self.stored.items():
            values[:, column] = _numbers(rows[view].fields[field])
        if self.on_demand:
            given: dict[str, list[object]] = {self.join_key: customer_ids.to_pylist()}
            times = np.broadcast_to(np.asarray(as_of_unix_us, dtype=np.int64), len(customer_ids)).tolist()
            given.update((name, times) for name in self.request_inputs)
            for computing in self.on_demand:
                columns = dict(given)
                for (view, field), names in computing.inputs.items():
                    columns.update(dict.fromkeys(names, rows[view].fields[field].to_pylist()))
                computing.compute(columns, values)
        event_times = [_unix_seconds(rows[view].event_times) for view in self.views]
        return RawFeatures(values=values, event_times=np.column_stack(event_times))


def live_schema(store: "FeatureStore", contract: ModelContract) -> FeatureSchema:
    """What the registry offers now for the contract's feature service.

    Raises:
        ContractError: as `read_feature_schema`.
        JobError: the registry has no such feature service.
    """
    try:
        return read_feature_schema(store.registry, store.project, contract.feature_service)
    except ContractError:
        raise
    except Exception as error:  # feast has one class per kind of object that is not there
        raise JobError(f"feature service {contract.feature_service!r} is not in the registry; {error}") from None


def _check(store: "FeatureStore", contract: ModelContract) -> None:
    if found := differences(contract.feature_schema, live_schema(store, contract)):
        raise ContractMismatchError(found)
    keys = contract.feature_schema.entity_keys
    if len(keys) != 1 or keys[0].dtype != "string":
        raise JobError("the contract's customers are not named by exactly one join key of type string")
    stored = {view.name for view in contract.feature_schema.views}
    for projection in store.get_feature_service(contract.feature_service).feature_view_projections:
        if is_renamed(projection):
            raise JobError(f"view {projection.name!r} is renamed in the feature service")
        if projection.name not in stored:
            view = store.registry.get_on_demand_feature_view(projection.name, store.project)
            for obstacle in obstacles(view):
                raise JobError(obstacle)


def _numbers(column: pa.Array) -> NDArray[np.float64]:
    """Floats of numbers or flags; NaN for null."""
    numbers: NDArray[np.float64] = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return numbers


def _unix_seconds(event_times: pa.Array) -> NDArray[np.float64]:
    """NaN for null. Rounded as the online store's `Timestamp` of seconds and nanoseconds is, to the last bit."""
    unix_us = event_times.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
    seconds, micros = np.divmod(unix_us.fill_null(0).to_numpy(zero_copy_only=False), 1_000_000)
    times: NDArray[np.float64] = seconds + micros * 1000 / 1e9
    times[unix_us.is_null().to_numpy(zero_copy_only=False)] = np.nan
    return times
