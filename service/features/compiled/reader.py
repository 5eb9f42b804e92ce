"""The compiled reader: one HMGET per entity and set of join keys, and one decoder per column, by a plan made once.

It reads Feast's own layout byte by byte. Where it could not read as Feast's SDK does, making the plan fails
(`UnsupportedFeatureServiceError`) and the SDK serves instead. Two differences are on purpose: an explicit `null_val` is
null to on-demand code, not 0, and that code sees only the inputs that it declares.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import hiredis
import numpy as np
from numpy.typing import NDArray

from artefacts.newest_snapshot import FIELD, key_of, unix_seconds
from contract import Key, RawFeatures, key_values
from scoring.feast.on_demand import OnDemandView
from service.features.compiled.decoding import OTHER_FORM, Stored, UnreadableValueError
from service.features.compiled.pipe import pack
from service.features.compiled.plan import ReadHash, ReadInputs, ReadPlan, StoredColumn
from service.features.compiled.stored_inputs import Reading
from service.features.unreadable_rows import Findings, is_odd

_CHUNK, _CELLS = 250, 10_000
"""Most entities, and most stored values, that are decoded without a pause; about 2 ms."""


class Commands(Protocol):
    """What the reader needs of a connection."""

    async def execute(self, commands: bytes, replies: int) -> list[Any]:
        """See `RedisConnection.execute`."""
        ...

    async def close(self) -> None:
        """See `RedisConnection.close`."""
        ...


class _PackedHash:
    """Reads one hash for every row, by commands that are packed once but for the key."""

    def __init__(self, read: ReadHash) -> None:
        self.positions = read.positions
        self.nothing: Sequence[Stored] = [None] * len(read.fields)
        self._key, self._length = read.key, len(read.fields)
        self._head = b"*%d\r\n$5\r\nHMGET\r\n$" % (2 + len(read.fields))
        self._tail = b"\r\n" + pack(*read.fields).split(b"\r\n", 1)[1]

    def commands(self, keys: Sequence[Key]) -> list[bytes]:
        """A command per key."""
        head, tail = self._head, self._tail
        return [b"%b%d\r\n%b%b" % (head, len(key), key, tail) for key in map(self._key, keys)]

    def is_row(self, reply: Any) -> bool:
        """True if a reply has a value or null for every field."""
        return type(reply) is list and len(reply) == self._length

    def columns(self, replies: Sequence[Any]) -> list[tuple[Stored, ...]]:
        """A column of n stored values for each field. Raises `UnreadableValueError`."""
        if set(map(type, replies)) != {list} or set(map(len, replies)) != {self._length}:
            raise UnreadableValueError(OTHER_FORM)
        return list(zip(*replies, strict=True))


class RedisFeatures:
    """`OnlineFeatures` over one pipelined connection."""

    def __init__(self, plan: ReadPlan, connection: Commands) -> None:
        self._plan = plan
        self._connection = connection
        self._hashes = [_PackedHash(read) for read in plan.hashes]
        self._fields = sum(len(read.fields) for read in plan.hashes)
        self._chunk = max(1, min(_CHUNK, _CELLS // self._fields))

    async def read(
        self,
        keys: Sequence[Key],
        as_of_unix_us: int | NDArray[np.int64],
        given: Mapping[str, Sequence[Any]] | None = None,
    ) -> RawFeatures:
        """See `OnlineFeatures.read`."""
        as_of = np.broadcast_to(np.asarray(as_of_unix_us, dtype=np.int64), (len(keys),))
        columns = self._given(keys, as_of, given or {})
        if len(keys) <= self._chunk:
            return await self._read(keys, columns)
        chunks = [slice(start, start + self._chunk) for start in range(0, len(keys), self._chunk)]
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
        commands = b"".join([command for read in self._hashes for command in read.commands(keys)])
        replies = await self._connection.execute(commands, len(keys) * len(self._hashes))
        try:
            return self._decode(replies, given)
        except Exception:
            return await self._decode_the_readable(replies, given)

    def _decode(self, replies: Sequence[Any], given: dict[str, list[Any]]) -> RawFeatures:
        fields = self._columns(replies)
        raw = self._nothing_yet(len(fields[0]))
        for inputs in self._plan.groups:
            self._fill(raw, inputs, fields, given)
        return raw

    def _columns(self, replies: Sequence[Any]) -> list[tuple[Stored, ...]]:
        """A column of n stored values for each field, from the replies of all hashes.

        Raises:
            UnreadableValueError: a reply has another form.
        """
        if len(self._hashes) == 1:
            return self._hashes[0].columns(replies)
        columns: list[tuple[Stored, ...]] = [()] * self._fields
        n = len(replies) // len(self._hashes)
        for number, read in enumerate(self._hashes):
            for position, column in zip(
                read.positions, read.columns(replies[number * n : number * n + n]), strict=True
            ):
                columns[position] = column
        return columns

    def _nothing_yet(self, n: int) -> RawFeatures:
        return RawFeatures(np.full((n, self._plan.columns), np.nan), np.full((n, len(self._plan.times)), np.nan))

    def _given(
        self, keys: Sequence[Key], as_of: NDArray[np.int64], values: Mapping[str, Sequence[Any]]
    ) -> dict[str, list[Any]]:
        """What on-demand code takes beside stored values: the key, the request's time, and the request's values."""
        given = dict(zip(self._plan.join_keys, map(list, zip(*map(key_values, keys), strict=True)), strict=True))
        given.update((name, as_of.tolist()) for name in self._plan.request_inputs)
        given.update((name, list(column)) for name, column in values.items())
        return given

    async def _decode_the_readable(self, replies: Sequence[Any], given: dict[str, list[Any]]) -> RawFeatures:
        """Decode row by row where needed: faulty rows become `unread`, the others are decoded.

        Raises:
            Exception: of on-demand code that fails for every row.
        """
        n = len(replies) // len(self._hashes)
        found = Findings(n)
        of_hash = [(read, row) for read in self._hashes for row in range(n)]
        for reply, (read, row) in zip(replies, of_hash, strict=True):
            if isinstance(reply, hiredis.ReplyError):  # another type is stored under this key
                found.unreadable([row], str(reply).partition(" ")[0])
            elif not read.is_row(reply):
                # Redis gives one answer per field, whatever is stored. Another count may mean mixed-up rows.
                found.unreadable(range(n), OTHER_FORM)
        fields = self._columns(
            [read.nothing if found.unread[row] else reply for reply, (read, row) in zip(replies, of_hash, strict=True)]
        )
        raw = self._nothing_yet(n)
        unread = np.zeros(raw.values.shape, dtype=bool)
        for inputs in self._plan.groups:
            of_group = found if inputs is self._plan.groups[0] else Findings(n, found.unread)
            for position, decode in self._readings(inputs):
                of_group.look(fields[position], decode)
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

    def _readings(self, inputs: ReadInputs) -> Iterator[Reading]:
        """Every stored column of these inputs, with its decoder."""
        for stored in inputs.stored:
            yield from stored.readings()
        for view in inputs.views:
            yield self._plan.times[view], self._plan.timestamps.unix_seconds
        for on_demand in inputs.on_demand:
            for column in on_demand.inputs:
                yield column.position, partial(self._plan.values.python_values, dtype=column.dtype)

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
            for value in self._plan.values.python_values(fields[stored.position], stored.dtype)
        )

    def _fill(
        self, raw: RawFeatures, inputs: ReadInputs, fields: Sequence[tuple[Stored, ...]], given: dict[str, list[Any]]
    ) -> None:
        """Decode stored inputs and compute on-demand ones into the columns of `raw`."""
        for stored in inputs.stored:
            stored.fill(raw.values, fields)
        if inputs.views and raw.event_times is not None:
            views = slice(inputs.views.start, inputs.views.stop)
            flat = [value for position in self._plan.times[views] for value in fields[position]]
            seconds = self._plan.timestamps.unix_seconds(flat)
            raw.event_times[:, views] = seconds.reshape(len(inputs.views), len(raw.values)).T
        for on_demand in inputs.on_demand:
            on_demand.compute(given | self._stored_inputs(on_demand, fields), raw.values)

    def _stored_inputs(
        self, view: OnDemandView[StoredColumn], fields: Sequence[Sequence[Stored]]
    ) -> dict[str, list[Any]]:
        inputs = {}
        for stored, names in view.inputs.items():
            column = self._plan.values.python_values(fields[stored.position], stored.dtype)
            inputs.update(dict.fromkeys(names, column))
        return inputs

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()
