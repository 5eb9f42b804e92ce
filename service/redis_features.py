"""The compiled reader: a feature service turned, once, into one HMGET per customer and a decoder per column.

It reads what Feast wrote, byte for byte as Feast lays it out. What it cannot read in the same way as Feast's SDK is
refused when the plan is made (`UnsupportedFeatureServiceError`), and the SDK serves instead. It knows better in two
points: an explicit `null_val` is null to on-demand code, not 0, and that code sees only the inputs that it declares.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from struct import pack as pack_struct
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from contract import RawFeatures
from contract.feature_union import FeatureUnion
from scoring.on_demand import OnDemandView, compile_on_demand, is_renamed, obstacles
from service.errors import StartupError
from service.redis_pipe import pack
from service.stored_values import Stored, TimestampDecoder, UnreadableValueError, ValueDecoder

if TYPE_CHECKING:
    from feast import FeatureStore

logger = logging.getLogger(__name__)

_CHUNK = 250
"""Customers decoded without a pause; about 2 ms."""

_NO_ROW_SECONDS = 0.0  # Feast's way of saying that there is no row: the event time is 1970-01-01


class UnsupportedFeatureServiceError(StartupError):
    """The compiled reader cannot read this feature service as the SDK would; the message says why."""


class Commands(Protocol):
    """What the reader needs of a connection."""

    async def execute(self, commands: bytes, replies: int) -> list[Any]:
        """See `RedisConnection.execute`."""
        ...

    async def close(self) -> None:
        """See `RedisConnection.close`."""
        ...


@dataclass(frozen=True)
class StoredColumn:
    """A hash field: its place in the reply and what it holds."""

    position: int
    dtype: str


@dataclass(frozen=True)
class _StoredGroup:
    """Stored inputs of one type: columns of the model, and where their fields stand in the reply."""

    dtype: str
    columns: tuple[int, ...]
    positions: tuple[int, ...]


@dataclass(frozen=True)
class ReadPlan:
    """Everything about a feature service that does not depend on who is asked for.

    key_prefix, key_suffix: what stands around the id in a key, but for the id's length.
    fields: the hash fields asked for; the last `len(views)` are event times.
    stored: every input that is stored, grouped by type.
    on_demand: the views that compute the other inputs.
    request_inputs: request inputs that the request's time fills.
    """

    join_key: str
    key_prefix: bytes
    key_suffix: bytes
    fields: tuple[bytes, ...]
    views: int
    columns: int
    stored: tuple[_StoredGroup, ...]
    on_demand: tuple[OnDemandView[StoredColumn], ...]
    request_inputs: tuple[str, ...]
    read_value: Callable[[bytes], Any]
    read_number: Callable[[bytes], float]
    read_timestamp: Callable[[bytes], float]

    def key(self, customer_id: str) -> bytes:
        """The Redis key of one customer."""
        raw = customer_id.encode()
        return b"%b%b%b%b" % (self.key_prefix, pack_struct("<I", len(raw)), raw, self.key_suffix)


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
        raw, inputs = self._decode_stored(replies)
        given: dict[str, list[Any]] = {self._plan.join_key: list(customer_ids)}
        given.update((name, as_of.tolist()) for name in self._plan.request_inputs)
        for view, columns in zip(self._plan.on_demand, inputs, strict=True):
            view.compute(given | columns, raw.values)
        return raw

    def _decode_stored(self, replies: Sequence[Any]) -> tuple[RawFeatures, list[dict[str, list[Any]]]]:
        """All that is stored, and the inputs of each on-demand view."""
        plan = self._plan
        if not all(isinstance(reply, list) and len(reply) == len(plan.fields) for reply in replies):
            raise UnreadableValueError("a reply of another form")
        fields: list[tuple[Stored, ...]] = list(zip(*replies, strict=True))
        values = np.full((len(replies), plan.columns), np.nan)
        for group in plan.stored:
            # All columns of a type at once: numpy's constant cost is paid once, not once per column.
            flat = [value for position in group.positions for value in fields[position]]
            decoded = self._values.numbers(flat, group.dtype)
            values[:, group.columns] = decoded.reshape(len(group.positions), -1).T
        event_times = np.empty((len(replies), plan.views))
        for view in range(plan.views):
            event_times[:, view] = self._timestamps.unix_seconds(fields[view - plan.views])
        event_times[event_times == _NO_ROW_SECONDS] = np.nan
        return RawFeatures(values=values, event_times=event_times), [self._inputs(v, fields) for v in plan.on_demand]

    def _inputs(self, view: OnDemandView[StoredColumn], fields: Sequence[Sequence[Stored]]) -> dict[str, list[Any]]:
        inputs = {}
        for stored, names in view.inputs.items():
            column = self._values.python_values(fields[stored.position], stored.dtype)
            inputs.update(dict.fromkeys(names, column))
        return inputs

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()


def compile_plan(store: "FeatureStore", union: FeatureUnion) -> ReadPlan:
    """Turn what the models read into a plan.

    Args:
        store: opened; its registry has been held against their contracts.

    Raises:
        UnsupportedFeatureServiceError: something that this reader does not read as the SDK does.
    """
    from feast.infra.key_encoding_utils import serialize_entity_key_prefix
    from feast.infra.online_stores.helpers import _mmh3, _redis_key
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value, ValueType

    from scoring.feast_values import read_number, read_timestamp, read_value

    _check_supported(store, union)
    fields: dict[bytes, int] = {}
    dtypes = {
        (view.name, field.name): str(field.dtype).lower()
        for view in (store.registry.get_feature_view(v.name, store.project) for v in union.views)
        for field in view.features
    }

    def stored_column(view: str, feature: str) -> StoredColumn:
        position = fields.setdefault(_mmh3(f"{view}:{feature}"), len(fields))
        return StoredColumn(position, dtypes[view, feature])

    stored: dict[str, list[tuple[int, int]]] = {}
    computed: dict[str, dict[str, int]] = {}
    stored_views = {view.name for view in union.views}
    for column, spec in enumerate(union.features):
        if spec.view in stored_views:
            found = stored_column(spec.view, spec.field_name)
            stored.setdefault(found.dtype, []).append((column, found.position))
        else:
            computed.setdefault(spec.view, {})[spec.field_name] = column

    on_demand = []
    for name, columns in computed.items():
        view = store.registry.get_on_demand_feature_view(name, store.project)
        on_demand.append(compile_on_demand(view, columns, stored_column))

    (key,) = union.entity_keys
    plan = ReadPlan(
        join_key=key.join_key,
        key_prefix=serialize_entity_key_prefix([key.join_key]) + pack_struct("<I", ValueType.STRING),
        key_suffix=store.project.encode(),
        fields=(*fields, *(f"_ts:{view.name}".encode() for view in union.views)),
        views=len(union.views),
        columns=len(union.features),
        stored=tuple(
            _StoredGroup(dtype, tuple(column for column, _ in pairs), tuple(position for _, position in pairs))
            for dtype, pairs in stored.items()
        ),
        on_demand=tuple(on_demand),
        request_inputs=tuple(r.name for r in union.request_inputs),
        read_value=read_value,
        read_number=read_number,
        read_timestamp=read_timestamp,
    )
    for sample in ("0", "Zoë Ωμέγα"):
        entity = EntityKey(join_keys=[key.join_key], entity_values=[Value(string_val=sample)])
        if plan.key(sample) != _redis_key(store.project, entity, entity_key_serialization_version=3):
            raise UnsupportedFeatureServiceError("this version of feast lays out its Redis keys differently")
    return plan


def _check_supported(store: "FeatureStore", union: FeatureUnion) -> None:
    config = store.config
    online: Any = config.online_store
    reasons = [
        (getattr(online, "type", "") != "redis", "the online store is not Redis"),
        (getattr(online, "redis_type", "") == "redis_cluster", "a Redis cluster"),
        (
            getattr(online, "connection_string", "") != os.environ.get("REDIS_CONNECTION_STRING"),
            "feature_store.yaml does not take its connection_string from REDIS_URL alone",
        ),
        (config.entity_key_serialization_version != 3, "entity keys are not serialised in version 3"),
        (config.registry.enable_online_feature_view_versioning, "feature views are versioned online"),
        ([k.dtype for k in union.entity_keys] != ["string"], "not exactly one join key of type string"),
    ]
    services = [store.get_feature_service(name) for name in union.feature_services]
    projections = [projection for service in services for projection in service.feature_view_projections]
    for projection in projections:
        reasons.append((is_renamed(projection), f"view {projection.name!r} is renamed in the feature service"))
    for name in sorted({projection.name for projection in projections} - {view.name for view in union.views}):
        view = store.registry.get_on_demand_feature_view(name, store.project)
        reasons += [(True, reason) for reason in obstacles(view)]
    for applies, reason in reasons:
        if applies:
            raise UnsupportedFeatureServiceError(reason)
