"""Reads features through Feast's SDK, where no compiled plan can be made. It is several times slower."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from contract import Key, RawFeatures
from contract.feature_union import FeatureUnion
from service.errors import OnlineStoreUnavailableError
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
}
"""Declared type → how Feast stores a value of it; other types are taken as they are."""


class FeastOnlineFeatures:
    """Reads through Feast's SDK, whatever online store it is configured with.

    It evens out what the SDK does:

    - The order of features differs between processes.
    - An entity without a row is `PRESENT` with the event time 1970-01-01.
    - No TTL is enforced.
    - With `full_feature_names=True` every output of a Python on-demand view is missing, so features are read by their
      bare names.
    - One entity's invalid bytes make the whole batch fail, so the batch is halved until those entities are found.
    """

    def __init__(self, store: "FeatureStore", union: FeatureUnion, reopened: "Callable[[], FeatureStore]") -> None:
        from scoring.feast import values as feast_values  # imports feast

        self._number, self._unix_seconds = feast_values.number, feast_values.row_unix_seconds
        self._store = store
        self._calls = FeastCalls(store, reopened)
        # Resolved once: looking it up takes milliseconds.
        (service,) = union.feature_services
        self._service = store.get_feature_service(service)
        (key,) = union.entity_keys
        self._join_key = key.join_key
        self._request_inputs = [r.name for r in union.request_inputs if r.filled_by != "request"]
        self._columns = {f.field_name: column for column, f in enumerate(union.features)}
        # One stored feature of each view tells the event time of that view's row.
        self._views = {view.name: position for position, view in enumerate(union.views)}
        self._tells_time = {
            next(f.field_name for f in union.offered if f.view == view): position
            for view, position in self._views.items()
        }

    async def read(
        self,
        keys: Sequence[Key],
        as_of_unix_us: int | NDArray[np.int64],
        given: Mapping[str, Sequence[Any]] | None = None,
    ) -> RawFeatures:
        """See `OnlineFeatures.read`."""
        n = len(keys)
        as_of = np.broadcast_to(np.asarray(as_of_unix_us, dtype=np.int64), (n,)).tolist()
        raw = RawFeatures(np.full((n, len(self._columns)), np.nan), np.full((n, len(self._views)), np.nan))
        found, give_up = Findings(n), time.monotonic() + _SEARCH_SECONDS
        for start in range(0, n, _CHUNK):
            rows = range(start, min(start + _CHUNK, n))
            await self._fill(raw, keys, as_of, given or {}, rows, found, give_up)
            await asyncio.sleep(0)  # decoding holds the event loop; others get their turn between chunks
        found.log("what is stored", raise_if_all=True)
        if not found.unread.any():
            return raw
        return replace(raw, unread=np.repeat(found.unread[:, None], len(self._columns), axis=1))

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
                if await self._is_sound(keys[rows.start]):
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
        rows: dict[str, Any] = {self._join_key: list(keys)}
        rows.update({name: as_of_unix_us for name in self._request_inputs})
        rows.update({name: list(column) for name, column in given.items()})
        proto = await self._calls.values(self._service, rows)
        values = np.full((n, len(self._columns)), np.nan)
        event_times = np.full((n, len(self._views)), np.nan)
        for name, result in zip(proto.metadata.feature_names.val, proto.results, strict=True):
            if (column := self._columns.get(name)) is not None:
                values[:, column] = [self._number(value) for value in result.values]
            if (view := self._tells_time.get(name)) is not None:
                event_times[:, view] = [self._unix_seconds(at) for at in result.event_timestamps]
        return values, event_times

    async def _is_sound(self, key: Key) -> bool:
        """True if all stored values of an entity are readable and of its declared type, also on-demand inputs."""
        declared = self._declared()
        try:
            rows = {self._join_key: [key]}
            proto = await self._calls.values(list(declared), rows, full_names=True)
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
