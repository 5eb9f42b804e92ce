"""The compiled reader: one HMGET per entity and one decoder per column, by a plan that is made once.

It reads Feast's own layout byte by byte. Where it could not read as Feast's SDK does, making the plan fails
(`UnsupportedFeatureServiceError`) and the SDK serves instead. Two differences are on purpose: an explicit `null_val` is
null to on-demand code, not 0, and that code sees only the inputs that it declares.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import hiredis
import numpy as np
from numpy.typing import NDArray

from artefacts.newest_snapshot import FIELD, key_of, unix_seconds
from contract import Key, RawFeatures
from scoring.feast.on_demand import OnDemandView
from service.features.compiled.decoding import OTHER_FORM, Stored, TimestampDecoder, UnreadableValueError, ValueDecoder
from service.features.compiled.pipe import pack
from service.features.compiled.plan import ReadInputs, ReadPlan, StoredColumn
from service.features.unreadable_rows import Findings, is_odd

_CHUNK = 250
"""Entities decoded without a pause; about 2 ms."""

_NO_ROW_SECONDS = 0.0  # Feast gives a missing row the event time 1970-01-01


class Commands(Protocol):
    """What the reader needs of a connection."""

    async def execute(self, commands: bytes, replies: int) -> list[Any]:
        """See `RedisConnection.execute`."""
        ...

    async def close(self) -> None:
        """See `RedisConnection.close`."""
        ...


class RedisFeatures:
    """`OnlineFeatures` over one pipelined connection."""

    def __init__(self, plan: ReadPlan, connection: Commands) -> None:
        self._plan = plan
        self._connection = connection
        self._values = ValueDecoder(plan.read_value, plan.read_number)
        self._timestamps = TimestampDecoder(plan.read_timestamp)
        # Every command without its key, packed once.
        self._head = b"*%d\r\n$5\r\nHMGET\r\n$" % (2 + len(plan.fields))
        self._tail = b"\r\n" + pack(*plan.fields).split(b"\r\n", 1)[1]

    async def read(
        self,
        keys: Sequence[Key],
        as_of_unix_us: int | NDArray[np.int64],
        given: Mapping[str, Sequence[Any]] | None = None,
    ) -> RawFeatures:
        """See `OnlineFeatures.read`."""
        as_of = np.broadcast_to(np.asarray(as_of_unix_us, dtype=np.int64), (len(keys),))
        columns = self._given(keys, as_of, given or {})
        if len(keys) <= _CHUNK:
            return await self._read(keys, columns)
        chunks = [slice(start, start + _CHUNK) for start in range(0, len(keys), _CHUNK)]
        # All at once: Redis looks up the next chunk while this process decodes the last.
        reading = [
            asyncio.ensure_future(self._read(keys[chunk], {name: column[chunk] for name, column in columns.items()}))
            for chunk in chunks
        ]
        try:
            return RawFeatures.joined(await asyncio.gather(*reading))
        except BaseException:
            for read in reading:
                read.cancel()
            raise

    async def newest_snapshot(self) -> float | None:
        """Unix seconds of the newest snapshot, as the last materialization recorded it; None if unknown.

        Raises:
            OnlineStoreUnavailableError: it could not be read.
        """
        key = key_of(self._plan.project).encode()
        (found,) = await self._connection.execute(pack(b"HMGET", key, FIELD.encode()), 1)
        return unix_seconds(found[0]) if isinstance(found, list) else None

    async def _read(self, keys: Sequence[Key], given: dict[str, list[Any]]) -> RawFeatures:
        redis_keys = map(self._plan.key, keys)
        head, tail = self._head, self._tail
        commands = b"".join([b"%b%d\r\n%b%b" % (head, len(key), key, tail) for key in redis_keys])
        replies = await self._connection.execute(commands, len(keys))
        try:
            return self._decode(replies, given)
        except Exception:
            return await self._decode_the_readable(replies, given)

    def _decode(self, replies: Sequence[Any], given: dict[str, list[Any]]) -> RawFeatures:
        if set(map(type, replies)) != {list} or set(map(len, replies)) != {len(self._plan.fields)}:
            raise UnreadableValueError(OTHER_FORM)
        fields: list[tuple[Stored, ...]] = list(zip(*replies, strict=True))
        raw = self._nothing_yet(len(replies))
        for inputs in self._plan.groups:
            self._fill(raw, inputs, fields, given)
        return raw

    def _is_row(self, reply: Any) -> bool:
        return type(reply) is list and len(reply) == len(self._plan.fields)

    def _nothing_yet(self, n: int) -> RawFeatures:
        return RawFeatures(np.full((n, self._plan.columns), np.nan), np.full((n, self._plan.views), np.nan))

    def _given(
        self, keys: Sequence[Key], as_of: NDArray[np.int64], values: Mapping[str, Sequence[Any]]
    ) -> dict[str, list[Any]]:
        """What on-demand code takes beside stored values: the key, the request's time, and the request's values."""
        given: dict[str, list[Any]] = {self._plan.join_key: list(keys)}
        given.update((name, as_of.tolist()) for name in self._plan.request_inputs)
        given.update((name, list(column)) for name, column in values.items())
        return given

    async def _decode_the_readable(self, replies: Sequence[Any], given: dict[str, list[Any]]) -> RawFeatures:
        """Decode row by row where needed: faulty rows become `unread`, the others are decoded.

        Raises:
            Exception: of on-demand code that fails for every row.
        """
        n, found = len(replies), Findings(len(replies))
        for row, reply in enumerate(replies):
            if isinstance(reply, hiredis.ReplyError):  # another type is stored under this key
                found.unreadable([row], str(reply).partition(" ")[0])
            elif not self._is_row(reply):
                # Redis gives one answer per field, whatever is stored. Another count may mean mixed-up rows.
                found.unreadable(range(n), OTHER_FORM)
        nothing = (None,) * len(self._plan.fields)
        rows = [nothing if found.unread[row] else reply for row, reply in enumerate(replies)]
        fields: list[tuple[Stored, ...]] = list(zip(*rows, strict=True))
        raw = self._nothing_yet(n)
        unread = np.zeros(raw.values.shape, dtype=bool)
        for inputs in self._plan.groups:
            of_group = found if inputs is self._plan.groups[0] else Findings(n, found.unread)
            for column, read in self._columns_of(inputs, fields):
                of_group.look(column, read)
            await self._fill_the_sound(raw, inputs, fields, given, of_group, np.flatnonzero(~of_group.unread))
            if of_group is found:
                found.log("what is stored", raise_if_all=True)
                unread[found.unread] = True
            else:
                of_group.log("what the challenger alone reads")
                unread[:, inputs.columns] |= of_group.unread[:, None]
        values, event_times = raw.values, raw.event_times
        values[unread] = np.nan
        if event_times is not None:
            event_times[found.unread] = np.nan
        return RawFeatures(values, event_times, unread=unread if unread.any() else None)

    def _columns_of(
        self, inputs: ReadInputs, fields: Sequence[tuple[Stored, ...]]
    ) -> Iterator[tuple[tuple[Stored, ...], Callable[[Sequence[Stored]], Any]]]:
        """Every stored column of these inputs, with its decoder."""
        for group in inputs.stored:
            for position in group.positions:
                yield fields[position], partial(self._values.numbers, dtype=group.dtype)
        for view in inputs.views:
            yield fields[view - self._plan.views], self._timestamps.unix_seconds
        for on_demand in inputs.on_demand:
            for stored in on_demand.inputs:
                yield fields[stored.position], partial(self._values.python_values, dtype=stored.dtype)

    async def _fill_the_sound(
        self,
        raw: RawFeatures,
        inputs: ReadInputs,
        fields: Sequence[tuple[Stored, ...]],
        given: dict[str, list[Any]],
        found: Findings,
        rows: NDArray[np.intp],
    ) -> None:
        """As `_fill` for some rows. Where on-demand code fails, halve them until the failing rows are found."""
        if not len(rows):
            return
        part = raw.take(rows)
        of_rows = [tuple(column[row] for row in rows) for column in fields]
        try:
            self._fill(part, inputs, of_rows, {name: [column[row] for row in rows] for name, column in given.items()})
        except Exception as error:
            if len(rows) > 1:
                for half in np.array_split(rows, 2):
                    await self._fill_the_sound(raw, inputs, fields, given, found, half)
                    await asyncio.sleep(0)  # others get their turn
            elif self._has_odd_inputs(inputs, of_rows):
                found.unreadable(rows.tolist(), type(error).__name__)
            else:
                found.failed(int(rows[0]), error)
            return
        raw.values[rows] = part.values
        if raw.event_times is not None and part.event_times is not None:
            raw.event_times[rows] = part.event_times

    def _has_odd_inputs(self, inputs: ReadInputs, fields: Sequence[tuple[Stored, ...]]) -> bool:
        """True if on-demand code got values of other types than it declares."""
        return any(
            is_odd(value, stored.dtype)
            for on_demand in inputs.on_demand
            for stored in on_demand.inputs
            for value in self._values.python_values(fields[stored.position], stored.dtype)
        )

    def _fill(
        self, raw: RawFeatures, inputs: ReadInputs, fields: Sequence[tuple[Stored, ...]], given: dict[str, list[Any]]
    ) -> None:
        """Decode stored inputs and compute on-demand ones into the columns of `raw`."""
        n = len(raw.values)
        for group in inputs.stored:
            # All columns of a type at once: numpy's constant cost is paid once, not once per column.
            flat = [value for position in group.positions for value in fields[position]]
            decoded = self._values.numbers(flat, group.dtype)
            raw.values[:, group.columns] = decoded.reshape(len(group.positions), n).T
        if raw.event_times is not None:
            for view in inputs.views:
                times = self._timestamps.unix_seconds(fields[view - self._plan.views])
                raw.event_times[:, view] = np.where(times == _NO_ROW_SECONDS, np.nan, times)
        for on_demand in inputs.on_demand:
            on_demand.compute(given | self._stored_inputs(on_demand, fields), raw.values)

    def _stored_inputs(
        self, view: OnDemandView[StoredColumn], fields: Sequence[Sequence[Stored]]
    ) -> dict[str, list[Any]]:
        inputs = {}
        for stored, names in view.inputs.items():
            column = self._values.python_values(fields[stored.position], stored.dtype)
            inputs.update(dict.fromkeys(names, column))
        return inputs

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()
