"""Reads the contract's features from the offline store: the values that the online store had at a time.

Rows, on-demand functions and event times are the same as in serving, so `resolve` gives the same vectors.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from contract import ContractError, ContractMismatchError, FeatureSchema, ModelContract, RawFeatures, differences
from contract.registry_schema import read_feature_schema
from jobs.errors import JobError
from jobs.offline_store.latest_rows import ViewSource
from scoring.feast.on_demand import OnDemandView, compile_on_demand, is_renamed, obstacles

if TYPE_CHECKING:
    from feast import FeatureStore

_READABLE = frozenset({"bool", "int32", "int64", "float32", "float64", "string"})
"""Types that give on-demand code the same Python values as online."""


class StoredField(NamedTuple):
    """A field of a stored view."""

    view: str
    field: str


@dataclass(frozen=True)
class StoredRows:
    """Rows of one view, aligned with n keys.

    event_times: timestamp (n,); null if the entity has no row.
    fields: field → column (n,).
    """

    event_times: pa.Array
    fields: Mapping[str, pa.Array]

    @classmethod
    def aligned(cls, rows: pa.Table, keys: pa.Array, source: ViewSource, fields: Sequence[str]) -> Self:
        """Put rows of `latest_rows` in the order of `keys`; null if an entity has none."""
        positions = pc.index_in(keys, value_set=rows[source.join_key].combine_chunks())
        return cls(
            event_times=rows[source.timestamp_field].combine_chunks().take(positions),
            fields={field: rows[field].combine_chunks().take(positions) for field in fields},
        )


@dataclass(frozen=True)
class FeaturePlan:
    """Turns stored columns into the contract's inputs, wherever the columns come from.

    views: stored view → its needed fields, in the contract's order.
    stored: input column → its stored field.
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
        """Check the contract against the registry and plan what to read.

        Raises:
            ContractMismatchError: the registry no longer fulfils the contract.
            JobError: the feature service needs something that this code cannot do as Feast's SDK does.
        """
        _check_contract(store, contract)
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
        self, keys: pa.Array, rows: Mapping[str, StoredRows], as_of_unix_us: int | NDArray[np.int64]
    ) -> RawFeatures:
        """Put stored columns in the contract's order and compute the others.

        Args:
            keys: string (n,).
            rows: view → its rows, for every view.
            as_of_unix_us: time of scoring, for request-time inputs; int64 (n,) if it differs by row.
        """
        values = np.full((len(keys), self.inputs), np.nan)
        for column, (view, field) in self.stored.items():
            values[:, column] = _to_floats(rows[view].fields[field])
        if self.on_demand:
            given: dict[str, list[object]] = {self.join_key: keys.to_pylist()}
            times = np.broadcast_to(np.asarray(as_of_unix_us, dtype=np.int64), len(keys)).tolist()
            given.update((name, times) for name in self.request_inputs)
            for computing in self.on_demand:
                columns = dict(given)
                for (view, field), names in computing.inputs.items():
                    columns.update(dict.fromkeys(names, rows[view].fields[field].to_pylist()))
                computing.compute(columns, values)
        event_times = [_unix_seconds(rows[view].event_times) for view in self.views]
        return RawFeatures(values=values, event_times=np.column_stack(event_times))


def live_schema(store: "FeatureStore", contract: ModelContract) -> FeatureSchema:
    """Read the current schema of the contract's feature service from the registry.

    Raises:
        ContractError: as `read_feature_schema`.
        JobError: the registry has no such feature service.
    """
    try:
        return read_feature_schema(store.registry, store.project, contract.feature_service)
    except ContractError:
        raise
    except Exception as error:  # feast has one class for each kind of missing object
        raise JobError(f"feature service {contract.feature_service!r} is not in the registry; {error}") from None


def _check_contract(store: "FeatureStore", contract: ModelContract) -> None:
    if found := differences(contract.feature_schema, live_schema(store, contract)):
        raise ContractMismatchError(found)
    keys = contract.feature_schema.entity_keys
    if len(keys) != 1 or keys[0].dtype != "string":
        raise JobError("the contract does not have exactly one join key of type string")
    stored = {view.name for view in contract.feature_schema.views}
    for projection in store.get_feature_service(contract.feature_service).feature_view_projections:
        if is_renamed(projection):
            raise JobError(f"view {projection.name!r} is renamed in the feature service")
        if projection.name not in stored:
            view = store.registry.get_on_demand_feature_view(projection.name, store.project)
            for obstacle in obstacles(view):
                raise JobError(obstacle)


def _to_floats(column: pa.Array) -> NDArray[np.float64]:
    """Convert numbers or bools to floats; null becomes NaN."""
    numbers: NDArray[np.float64] = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return numbers


def _unix_seconds(event_times: pa.Array) -> NDArray[np.float64]:
    """Seconds since 1970, rounded to the last bit like the online store's `Timestamp`; null becomes NaN."""
    unix_us = event_times.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
    seconds, micros = np.divmod(unix_us.fill_null(0).to_numpy(zero_copy_only=False), 1_000_000)
    times: NDArray[np.float64] = seconds + micros * 1000 / 1e9
    times[unix_us.is_null().to_numpy(zero_copy_only=False)] = np.nan
    return times
