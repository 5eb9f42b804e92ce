"""Reads features through Feast's SDK, where no compiled plan can be made. It is several times slower."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from contract import Key, RawFeatures, key_values
from contract.feature_schema import FeatureSpec, array_widths
from contract.feature_union import FeatureUnion
from contract.values.request_values import asked_of, times_of
from service.errors import OnlineStoreUnavailableError
from service.features.compiled.decoding import UnreadableValueError
from service.features.feast_calls import FeastCalls
from service.features.unreadable_rows import Findings

if TYPE_CHECKING:
    from feast import FeatureStore

_CHUNK = 100
"""Ids looked up in one call of the SDK, which then decodes for about 15 ms without a pause."""

_SEARCH_SECONDS = 0.1
"""How long a read may search for the entities whose stored bytes make the SDK fail for the whole batch."""

_KINDS = {
    "bool": "bool_val",
    "int32": "int32_val",
    "int64": "int64_val",
    "float32": "float_val",
    "float64": "double_val",
    "string": "string_val",
    "bytes": "bytes_val",
    "unixtimestamp": "unix_timestamp_val",
    "array(float32)": "float_list_val",
    "array(float64)": "double_list_val",
}
"""Declared type → how Feast stores a value of it; other types are taken as they are."""

_GIVEN: Mapping[str, Callable[[Any], Any]] = {
    "float32": float,
    "float64": float,
    "unixtimestamp": lambda at: datetime.fromtimestamp(at, UTC) if isinstance(at, int | float) else at,
}
"""Type of a request input → its value in Python, from which Feast infers the type of a whole column."""


class FeastOnlineFeatures:
    """Reads through Feast's SDK, whatever online store it is configured with.

    It evens out what the SDK does:

    - The order of features differs between processes.
    - An entity without a row is `PRESENT` with the event time 1970-01-01.
    - No TTL is enforced.
    - With full names every output of a Python on-demand view is missing. So they are asked for where there is no such
      view; else features are read by their bare names, which must differ (`scoring.servable`).
    - One entity's invalid bytes make the whole batch fail, so the batch is halved until those entities are found.
    """

    def __init__(self, store: "FeatureStore", union: FeatureUnion, reopened: "Callable[[], FeatureStore]") -> None:
        from scoring.feast.values import raw_number, row_unix_seconds  # imports feast

        self._unix_seconds = row_unix_seconds
        self._store = store
        self._calls = FeastCalls(store, reopened)
        # Resolved once: looking it up takes milliseconds.
        (service,) = union.feature_services
        self._service = store.get_feature_service(service)
        self._join_keys = [key.join_key for key in union.entity_keys]
        self._times = times_of(union.request_inputs)
        self._given = {r.name: _GIVEN.get(r.dtype) for r in asked_of(union.request_inputs)}
        self._views = {view.name: position for position, view in enumerate(union.views)}
        stored = {p.name_to_use(): p.name for p in self._service.feature_view_projections if p.name in self._views}
        self._full_names = len(stored) == len(self._service.feature_view_projections)
        # Name in the response → the columns that are made of it, and how a value becomes a number.
        self._columns: dict[str, list[tuple[int, Callable[[Any], float]]]] = {}
        self._width = len(union.features)
        widths = array_widths(union.offered)
        for column, given in enumerate(union.features):
            read = raw_number(given, widths.get(given.reference))
            self._columns.setdefault(self._response_name(given), []).append((column, read))
        # One stored feature of each view tells the event time of that view's row.
        self._tells_time = {
            self._response_name(next(f for f in union.offered if stored.get(f.view) == view)): position
            for view, position in self._views.items()
        }

    def _response_name(self, feature: FeatureSpec) -> str:
        return feature.reference if self._full_names else feature.field_name

    async def read(
        self,
        keys: Sequence[Key],
        as_of_unix_us: int | NDArray[np.int64],
        given: Mapping[str, Sequence[Any]] | None = None,
    ) -> RawFeatures:
        """See `OnlineFeatures.read`."""
        n = len(keys)
        as_of = np.broadcast_to(np.asarray(as_of_unix_us, dtype=np.int64), (n,)).tolist()
        raw = RawFeatures(np.full((n, self._width), np.nan), np.full((n, len(self._views)), np.nan))
        found, give_up = Findings(n), time.monotonic() + _SEARCH_SECONDS
        for start in range(0, n, _CHUNK):
            rows = range(start, min(start + _CHUNK, n))
            await self._fill(raw, keys, as_of, given or {}, rows, found, give_up)
            await asyncio.sleep(0)  # decoding holds the event loop; others get their turn between chunks
        found.log("what is stored", raise_if_all=True)
        if not found.unread.any():
            return raw
        return replace(raw, unread=np.repeat(found.unread[:, None], self._width, axis=1))

    async def _fill(
        self,
        raw: RawFeatures,
        keys: Sequence[Key],
        as_of: list[int],
        given: Mapping[str, Sequence[Any]],
        rows: range,
        found: Findings,
        give_up: float,
    ) -> None:
        """Read some of the rows. Where the SDK fails, halve them until the failing entities are found."""
        some = slice(rows.start, rows.stop)
        try:
            values, event_times = await self._read(
                keys[some], as_of[some], {name: column[some] for name, column in given.items()}
            )
        except OnlineStoreUnavailableError:
            raise
        except Exception as error:
            if len(rows) == 1:
                if isinstance(error, UnreadableValueError):
                    found.unreadable(rows, str(error))
                elif await self._is_sound(keys[rows.start]):
                    found.failed(rows.start, error)
                else:
                    found.unreadable(rows, type(error).__name__)
            elif time.monotonic() > give_up:
                found.unreadable(rows, "too many to look for each")
            else:
                half = len(rows) // 2
                for part in (rows[:half], rows[half:]):
                    await self._fill(raw, keys, as_of, given, part, found, give_up)
            return
        raw.values[some] = values
        if raw.event_times is not None:
            raw.event_times[some] = event_times

    async def _read(
        self, keys: Sequence[Key], as_of_unix_us: list[int], given: Mapping[str, Sequence[Any]]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        n = len(keys)
        rows = self._rows_of(keys)
        rows.update({name: as_of_unix_us for name in self._times})
        for name, typed in self._given.items():
            rows[name] = [v if v is None or typed is None else typed(v) for v in given.get(name, [None] * n)]
        proto = await self._calls.values(self._service, rows, full_names=self._full_names)
        values = np.full((n, self._width), np.nan)
        event_times = np.full((n, len(self._views)), np.nan)
        for name, result in zip(proto.metadata.feature_names.val, proto.results, strict=True):
            for column, read in self._columns.get(name, ()):
                try:
                    values[:, column] = [read(value) for value in result.values]
                except (TypeError, ValueError, ArithmeticError) as error:
                    raise UnreadableValueError(type(error).__name__) from None
            if (view := self._tells_time.get(name)) is not None:
                event_times[:, view] = [self._unix_seconds(at) for at in result.event_timestamps]
        return values, event_times

    def _rows_of(self, keys: Sequence[Key]) -> dict[str, Any]:
        """The entity rows, column by column. Feast takes of them what each view is read by."""
        columns = zip(*map(key_values, keys), strict=True)
        return {name: list(column) for name, column in zip(self._join_keys, columns, strict=True)}

    async def _is_sound(self, key: Key) -> bool:
        """True if all stored values of an entity are readable and of its declared type, also on-demand inputs."""
        declared = self._declared()
        try:
            proto = await self._calls.values(list(declared), self._rows_of([key]), full_names=True)
        except OnlineStoreUnavailableError:
            raise
        except Exception:
            return False
        kinds = {reference.replace(":", "__"): kind for reference, kind in declared.items()}
        for name, result in zip(proto.metadata.feature_names.val, proto.results, strict=True):
            kind = kinds.get(name)
            for value in result.values:
                found = value.WhichOneof("val")
                if kind is None or found in (None, "null_val"):
                    continue
                if found != kind or not (kind not in ("float_val", "double_val") or np.isfinite(getattr(value, found))):
                    return False
        return True

    async def newest_snapshot(self) -> float | None:
        """See `FeastCalls.newest_snapshot`."""
        return await self._calls.newest_snapshot()

    def _declared(self) -> dict[str, str | None]:
        """`view:feature` of every stored feature that is read → the field of `ValueProto` that holds its type."""
        projections = {p.name: p for p in self._service.feature_view_projections}
        stored = {name: list(p.features) for name, p in projections.items() if name in self._views}
        for name in projections.keys() - self._views.keys():
            view = self._store.registry.get_on_demand_feature_view(name, self._store.project)
            for source in view.source_feature_view_projections.values():
                stored.setdefault(source.name, []).extend(source.features)
        return {
            f"{view}:{field.name}": _KINDS.get(str(field.dtype).lower())
            for view, fields in stored.items()
            for field in fields
        }

    async def close(self) -> None:
        """See `FeastCalls.close`."""
        await self._calls.close()
