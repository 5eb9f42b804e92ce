"""The compiled reader: a feature service turned, once, into one HMGET per customer and a decoder per column.

It reads what Feast wrote, byte for byte as Feast lays it out. What it cannot read in the same way as Feast's SDK is
refused when the plan is made (`UnsupportedFeatureServiceError`), and the SDK serves instead. It knows better in two
points: an explicit `null_val` is null to on-demand code, not 0, and that code sees only the inputs that it declares.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from contract import RawFeatures
from scoring.on_demand import OnDemandView
from service.read_plan import ReadInputs, ReadPlan, StoredColumn
from service.redis_pipe import pack
from service.stored_values import Stored, TimestampDecoder, UnreadableValueError, ValueDecoder

logger = logging.getLogger(__name__)

_CHUNK = 250
"""Customers decoded without a pause; about 2 ms."""

_NO_ROW_SECONDS = 0.0  # Feast's way of saying that there is no row: the event time is 1970-01-01


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
        # Every command but for its key, packed once.
        self._head = b"*%d\r\n$5\r\nHMGET\r\n$" % (2 + len(plan.fields))
        self._tail = b"\r\n" + pack(*plan.fields).split(b"\r\n", 1)[1]

    async def read(self, customer_ids: Sequence[str], as_of_unix_us: int | NDArray[np.int64]) -> RawFeatures:
        """See `OnlineFeatures.read`."""
        as_of = np.broadcast_to(np.asarray(as_of_unix_us, dtype=np.int64), (len(customer_ids),))
        if len(customer_ids) <= _CHUNK:
            return await self._read(customer_ids, as_of)
        chunks = [slice(start, start + _CHUNK) for start in range(0, len(customer_ids), _CHUNK)]
        # All are asked for at once: Redis looks up the next while this process decodes the last.
        reading = [asyncio.ensure_future(self._read(customer_ids[chunk], as_of[chunk])) for chunk in chunks]
        try:
            return RawFeatures.joined(await asyncio.gather(*reading))
        except BaseException:
            for read in reading:
                read.cancel()
            raise

    async def _read(self, customer_ids: Sequence[str], as_of: NDArray[np.int64]) -> RawFeatures:
        keys = map(self._plan.key, customer_ids)
        head, tail = self._head, self._tail
        commands = b"".join([b"%b%d\r\n%b%b" % (head, len(key), key, tail) for key in keys])
        replies = await self._connection.execute(commands, len(customer_ids))
        try:
            return self._decode(replies, customer_ids, as_of)
        except Exception:
            return self._decode_one_by_one(replies, customer_ids, as_of)

    def _decode_one_by_one(
        self, replies: Sequence[Any], customer_ids: Sequence[str], as_of: NDArray[np.int64]
    ) -> RawFeatures:
        """What is wrong with one of them must not be all others' failure: only that one is `unread`.

        Raises:
            Exception: of on-demand code that fails for all of them.
        """
        parts, failed = [], 0
        for row in range(len(replies)):
            one = slice(row, row + 1)
            try:
                parts.append(self._decode(replies[one], customer_ids[one], as_of[one]))
                continue
            except UnreadableValueError as unreadable:
                logger.warning("online store: what is stored of a customer cannot be read: %s", unreadable)
            except Exception:
                failed += 1
                if failed == len(replies):
                    raise
                logger.exception("on-demand features of a customer cannot be computed")
            nothing = np.full((1, self._plan.columns), np.nan), np.full((1, self._plan.views), np.nan)
            parts.append(RawFeatures(*nothing, unread=np.array([True])))
        return RawFeatures.joined(parts)

    def _decode(self, replies: Sequence[Any], customer_ids: Sequence[str], as_of: NDArray[np.int64]) -> RawFeatures:
        plan = self._plan
        if not all(isinstance(reply, list) and len(reply) == len(plan.fields) for reply in replies):
            raise UnreadableValueError("a reply of another form")
        fields: list[tuple[Stored, ...]] = list(zip(*replies, strict=True))
        n = len(replies)
        raw = RawFeatures(np.full((n, plan.columns), np.nan), np.full((n, plan.views), np.nan))
        given: dict[str, list[Any]] = {plan.join_key: list(customer_ids)}
        given.update((name, as_of.tolist()) for name in plan.request_inputs)
        self._fill(raw, plan.first, fields, given)
        if plan.further is not None:
            try:
                self._fill(raw, plan.further, fields, given)
            except Exception as error:
                logger.warning("what the challenger alone reads cannot be read: %s", type(error).__name__)
                raw = replace(raw, further_unread=np.ones(n, dtype=bool))
        return raw

    def _fill(
        self, raw: RawFeatures, inputs: ReadInputs, fields: list[tuple[Stored, ...]], given: dict[str, list[Any]]
    ) -> None:
        """Decode what is stored and compute what is made of it, into the columns of `raw`."""
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
