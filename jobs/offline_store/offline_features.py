"""Reads the contract's features from the offline store: the values that the online store had at a time.

Rows, on-demand functions and event times are the same as in serving, so `resolve` gives the same vectors.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from contract import (
    ContractError,
    ContractMismatchError,
    FeatureInput,
    FeatureSchema,
    ModelContract,
    RawFeatures,
    differences,
)
from contract.feature_schema import array_widths
from contract.registry_schema import read_feature_schema
from contract.values.request_values import times_of
from jobs.errors import JobError
from jobs.offline_store.key_tables import positions
from jobs.offline_store.latest_rows import ViewSource
from jobs.offline_store.stored_values import python_values, raw_values
from scoring.feast.on_demand import OnDemandView, compile_on_demand, is_renamed, obstacles

if TYPE_CHECKING:
    from feast import FeatureStore

_READABLE = frozenset(
    {
        *("bool", "int32", "int64", "float32", "float64", "string", "unixtimestamp"),
        *("array(float32)", "array(float64)"),
    }
)
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
    def aligned(cls, rows: pa.Table, keys: pa.Table, source: ViewSource, fields: Sequence[str]) -> Self:
        """Put rows of `latest_rows` in the order of `keys`, which have a column per join key; null if there is none."""
        found = positions(keys, rows, source.join_keys)
        return cls(
            event_times=rows[source.timestamp_field].combine_chunks().take(found),
            fields={field: rows[field].combine_chunks().take(found) for field in fields},
        )


@dataclass(frozen=True)
class FeaturePlan:
    """Turns stored columns into the contract's inputs, wherever the columns come from.

    join_keys: in the contract's order.
    whole_keys: stored views that are read by all of them; the others are read by some.
    views: stored view → its needed fields, in the contract's order.
    stored: input column → its stored field.
    on_demand: the views that compute the other inputs.
    request_inputs: those that are the time of scoring.
    widths: see `contract.feature_schema.array_widths`.
    """

    join_keys: tuple[str, ...]
    whole_keys: tuple[str, ...]
    views: Mapping[str, tuple[str, ...]]
    inputs: tuple[FeatureInput, ...]
    stored: Mapping[int, StoredField]
    on_demand: tuple[OnDemandView[StoredField], ...]
    request_inputs: tuple[str, ...]
    widths: Mapping[str, int]

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

        stored, computed = {}, dict[str, dict[int, FeatureInput]]()
        for column, feature in enumerate(contract.inputs):
            if feature.view in views:
                stored[column] = stored_field(feature.view, feature.field_name)
            else:
                computed.setdefault(feature.view, {})[column] = feature
        widths = array_widths(contract.feature_schema.features)
        return cls(
            join_keys=tuple(key.join_key for key in contract.feature_schema.entity_keys),
            whole_keys=tuple(view.name for view in contract.feature_schema.views if view.join_keys is None),
            inputs=contract.inputs,
            stored=stored,
            on_demand=tuple(
                compile_on_demand(
                    store.registry.get_on_demand_feature_view(name, store.project), inputs, stored_field, widths
                )
                for name, inputs in computed.items()
            ),
            request_inputs=times_of(contract.feature_schema.request_inputs),
            views={view: tuple(fields) for view, fields in views.items()},
            widths=widths,
        )

    def assemble(
        self,
        keys: pa.Table,
        rows: Mapping[str, StoredRows],
        as_of_unix_us: int | NDArray[np.int64],
        given: Mapping[str, Sequence[Any]] | None = None,
    ) -> RawFeatures:
        """Put stored columns in the contract's order and compute the others.

        Args:
            keys: n rows, a column per join key.
            rows: view → its rows, for every view.
            as_of_unix_us: time of scoring, for request-time inputs; int64 (n,) if it differs by row.
            given: request input → n values that the requests gave.
        """
        values = np.full((len(keys), len(self.inputs)), np.nan)
        for column, (view, field) in self.stored.items():
            of = self.inputs[column]
            values[:, column] = raw_values(rows[view].fields[field], of, self.widths.get(of.reference))
        if self.on_demand:
            beside: dict[str, list[Any]] = {name: keys[name].to_pylist() for name in self.join_keys}
            times = np.broadcast_to(np.asarray(as_of_unix_us, dtype=np.int64), len(keys)).tolist()
            beside.update((name, times) for name in self.request_inputs)
            beside.update((name, list(column)) for name, column in (given or {}).items())
            for computing in self.on_demand:
                columns = dict(beside)
                for (view, field), names in computing.inputs.items():
                    columns.update(dict.fromkeys(names, python_values(rows[view].fields[field])))
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
    stored = {view.name for view in contract.feature_schema.views}
    for projection in store.get_feature_service(contract.feature_service).feature_view_projections:
        if is_renamed(projection):
            raise JobError(f"view {projection.name!r} is renamed in the feature service")
        if projection.name not in stored:
            view = store.registry.get_on_demand_feature_view(projection.name, store.project)
            for obstacle in obstacles(view):
                raise JobError(obstacle)


def _unix_seconds(event_times: pa.Array) -> NDArray[np.float64]:
    """Seconds since 1970, rounded to the last bit like the online store's `Timestamp`; null becomes NaN."""
    unix_us = event_times.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
    seconds, micros = np.divmod(unix_us.fill_null(0).to_numpy(zero_copy_only=False), 1_000_000)
    times: NDArray[np.float64] = seconds + micros * 1000 / 1e9
    times[unix_us.is_null().to_numpy(zero_copy_only=False)] = np.nan
    return times
