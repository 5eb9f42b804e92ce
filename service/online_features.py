"""Where the predictor gets raw features from: the narrow port, and its adapter to Feast's SDK."""

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import redis
from numpy.typing import NDArray
from redis.exceptions import RedisClusterException

from contract import ContractError, ContractMismatchError, ModelContract, RawFeatures, differences
from contract.artefacts import Artefacts
from contract.feature_schema import FeatureRegistry, read_feature_schema
from contract.feature_union import FeatureUnion
from contract.redaction import redacted
from contract.redis_address import RedisAddress
from service.errors import OnlineStoreUnavailableError, StartupError
from service.read_plan import UnsupportedFeatureServiceError, compile_plan
from service.redis_connection import RedisConnection, refuse_unreadable_tls_files
from service.redis_features import RedisFeatures

if TYPE_CHECKING:
    from feast import FeatureStore
    from feast.protos.feast.core.Registry_pb2 import Registry

logger = logging.getLogger(__name__)

# Feast hands these to redis-py, whose default of ten retries with back-off blocks for seconds.
_CONNECT_SECONDS = 0.2
_REDIS_OPTIONS = {"retry": "null", "socket_connect_timeout": f"{_CONNECT_SECONDS:g}", "socket_timeout": "1"}


_CHUNK = 100
"""Ids looked up in one call of the SDK, which then decodes for about 15 ms without a pause."""


class OnlineFeatures(Protocol):
    """What the predictor needs of an online store."""

    async def read(self, customer_ids: Sequence[str], as_of_unix_us: int | NDArray[np.int64]) -> RawFeatures:
        """Read the contract's features of n customers, one row each, in the order asked.

        Args:
            customer_ids: n ≥ 1 non-empty strings.
            as_of_unix_us: the request's time, for request-time inputs; int64 (n,) where rows of several requests
                are read together.

        Raises:
            OnlineStoreUnavailableError: the store could not be read.
        """
        ...

    async def close(self) -> None:
        """Give back connections; nothing is read afterwards."""
        ...


class FeastOnlineFeatures:
    """Reads through Feast's SDK, whatever online store it is configured with.

    What the SDK leaves open is settled here: the order of features differs from process to process, a
    customer without a row is `PRESENT` with the event time 1970-01-01, no TTL is enforced, and with
    `full_feature_names=True` every output of a Python on-demand view is silently left out, so features are
    asked for by their bare names.
    """

    def __init__(self, store: "FeatureStore", union: FeatureUnion) -> None:
        from scoring import feast_values  # imports feast

        self._number, self._unix_seconds = feast_values.number, feast_values.row_unix_seconds
        self._store = store
        # Resolved once: looking it up takes milliseconds.
        (service,) = union.feature_services
        self._service = store.get_feature_service(service)
        (key,) = union.entity_keys
        self._join_key = key.join_key
        self._request_inputs = [r.name for r in union.request_inputs]
        self._columns = {f.field_name: column for column, f in enumerate(union.features)}
        # One stored feature of each view tells the event time of that view's row.
        self._views = {view.name: position for position, view in enumerate(union.views)}
        self._tells_time = {
            next(f.field_name for f in union.offered if f.view == view): position
            for view, position in self._views.items()
        }

    async def read(self, customer_ids: Sequence[str], as_of_unix_us: int | NDArray[np.int64]) -> RawFeatures:
        """See `OnlineFeatures.read`."""
        as_of = np.broadcast_to(np.asarray(as_of_unix_us, dtype=np.int64), (len(customer_ids),)).tolist()
        parts = []
        for start in range(0, len(customer_ids), _CHUNK):
            chunk = slice(start, start + _CHUNK)
            parts.append(await self._read(customer_ids[chunk], as_of[chunk]))
            await asyncio.sleep(0)  # decoding holds the event loop; others get their turn between chunks
        return RawFeatures(
            values=np.concatenate([values for values, _ in parts]),
            event_times=np.concatenate([times for _, times in parts]),
        )

    async def _read(
        self, customer_ids: Sequence[str], as_of_unix_us: list[int]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        n = len(customer_ids)
        rows: dict[str, Any] = {self._join_key: list(customer_ids)}
        rows.update({name: as_of_unix_us for name in self._request_inputs})
        try:
            response = await self._store.get_online_features_async(
                features=self._service, entity_rows=rows, full_feature_names=False
            )
        except (redis.RedisError, RedisClusterException, OSError) as error:  # the second is no case of the first
            logger.warning("online store unavailable: %s", type(error).__name__)
            raise OnlineStoreUnavailableError("the online store is not available") from error
        values = np.full((n, len(self._columns)), np.nan)
        event_times = np.full((n, len(self._views)), np.nan)
        proto = response.proto
        for name, result in zip(proto.metadata.feature_names.val, proto.results, strict=True):
            if (column := self._columns.get(name)) is not None:
                values[:, column] = [self._number(value) for value in result.values]
            if (view := self._tells_time.get(name)) is not None:
                event_times[:, view] = [self._unix_seconds(at) for at in result.event_timestamps]
        return values, event_times

    async def close(self) -> None:
        """Close Feast's connections; its own `close` leaves those to Redis and to Sentinels open."""
        await self._store.close()
        client = getattr(self._store._get_provider().online_store, "_client_async", None)
        if client is not None:
            pool = getattr(client, "connection_pool", None)
            for sentinel in getattr(getattr(pool, "sentinel_manager", None), "sentinels", ()):
                await sentinel.aclose()
            await client.aclose()


@dataclass(frozen=True)
class OpenedFeast:
    """A store that can be read, and a way to ask whether its registry still keeps the contracts.

    features: reads the `union` of what the models take.
    broken_promises: reads the registry, which takes milliseconds, or seconds while it is being written: call it in a
        thread of its own.
    """

    features: OnlineFeatures
    union: FeatureUnion
    broken_promises: Callable[[], list[str]]


def open_feast(
    repo: Path, artefacts: Artefacts, *contracts: ModelContract, compiled: bool = True, stall_seconds: float = 1.0
) -> OpenedFeast:
    """Open Feast, hold the contracts against its registry, and choose how to read.

    A worker must call it after it has forked: clients and the registry's thread do not survive a fork.

    Args:
        repo: folder of `feature_store.yaml`.
        contracts: of the models that are to be served, at least one.
        compiled: read Redis by a compiled plan where one can be made, else through Feast's SDK.
        stall_seconds: after which an answer that is owed means that the server hangs.

    Raises:
        StartupError: no Redis address, no registry, or a contract is not what this service can serve.
        ContractMismatchError: the registry no longer offers what a contract promises.
    """
    store = open_store(repo, artefacts, *contracts, stall_seconds=stall_seconds)
    union = FeatureUnion.of(*contracts)
    promises = _watched(store, contracts)

    if compiled and artefacts.redis_url is not None:
        try:
            plan = compile_plan(store, union)
        except UnsupportedFeatureServiceError as reason:
            if len(union.feature_services) > 1:
                raise  # never slow the first model down for the sake of a second
            logger.warning("reading through feast's SDK, several times slower: %s", reason)
        else:
            address = RedisAddress.of(artefacts.redis_url)
            connection = RedisConnection(address, _CONNECT_SECONDS, stall_seconds)
            return OpenedFeast(RedisFeatures(plan, connection), union, promises)
    if len(union.feature_services) > 1:
        raise StartupError("models of several feature services are read together by the compiled reader alone")
    return OpenedFeast(FeastOnlineFeatures(store, union), union, promises)


def open_store(
    repo: Path, artefacts: Artefacts, *contracts: ModelContract, stall_seconds: float = 1.0
) -> "FeatureStore":
    """Open Feast and hold the contracts against its registry. Args and raises as `open_feast`."""
    if artefacts.redis_url is None:
        raise StartupError("REDIS_URL is not set and no embedded Redis is recorded; run `make redis` or set it")
    union = FeatureUnion.of(*contracts)
    if len(union.entity_keys) != 1 or union.entity_keys[0].dtype != "string":
        raise StartupError("contract: this service looks up by exactly one join key of type string")
    bare = [f.field_name for f in union.offered]
    if len(set(bare)) != len(bare):
        twice = sorted({name for name in bare if bare.count(name) > 1})
        raise StartupError(f"contract: two feature views share the feature names {twice}, which feast cannot serve")
    options = dict(_REDIS_OPTIONS)
    address = RedisAddress.of(artefacts.redis_url)
    refuse_unreadable_tls_files(address)  # Feast's client would open them, too
    if address.kind == "redis_cluster":
        # redis-py looks for the master that took over from a hanging one after its own timeout, never after ours.
        options["socket_timeout"] = f"{stall_seconds / 2:g}"
    os.environ.update(artefacts.feast_environment(options))
    from feast import FeatureStore
    from google.protobuf.message import DecodeError

    from service.feast_config import online_config
    from service.feature_registry import RegistryReader
    from service.promised_code import give_registry, only_promised

    # It warns that serve_features_while_materializing matters only with a SQL registry; the YAML serves both.
    logging.getLogger("feast.repo_config").setLevel(logging.ERROR)
    store = FeatureStore(config=online_config(repo))

    def opened(registry: "Registry") -> list[str]:
        give_registry(store, only_promised(registry, store.project, contracts))
        return broken_promises(store.registry, store.project, *contracts)

    try:
        found = RegistryReader(store.config).judged(opened, is_well=lambda found: not found)
    except DecodeError:
        raise StartupError(
            f"{redacted(artefacts.feast_registry)} is not a feature registry; run `make apply`"
        ) from None
    except FileNotFoundError:
        raise StartupError(
            f"no feature registry at {redacted(artefacts.feast_registry)}; set FEAST_REGISTRY or run `make apply`"
        ) from None
    except OSError as error:
        raise StartupError(
            f"FEAST_REGISTRY: {redacted(artefacts.feast_registry)} cannot be read: {error.strerror}"
        ) from None
    if found:
        raise ContractMismatchError(found)
    return store


def _watched(store: "FeatureStore", contracts: Sequence[ModelContract]) -> Callable[[], list[str]]:
    """A look at the registry as it is by then, without a change to what the store has been given."""
    from service.feature_registry import RegistryReader
    from service.promised_code import only_promised, registry_of

    reader, project = RegistryReader(store.config), store.project

    def broken(registry: "Registry") -> list[str]:
        try:
            return broken_promises(
                registry_of(only_promised(registry, project, contracts), project), project, *contracts
            )
        except ContractMismatchError as error:
            return error.differences

    return lambda: reader.judged(broken, is_well=lambda found: not found)


def broken_promises(registry: FeatureRegistry, project: str, *contracts: ModelContract) -> list[str]:
    """In which points a registry no longer keeps the contracts; empty if in none."""
    found = [broken for contract in contracts for broken in _broken_promises(registry, project, contract)]
    return list(dict.fromkeys(found))


def _broken_promises(registry: FeatureRegistry, project: str, contract: ModelContract) -> list[str]:
    from feast.errors import FeastObjectNotFoundException

    try:
        live = read_feature_schema(registry, project, contract.feature_service)
    except FeastObjectNotFoundException:
        return [f"feature service {contract.feature_service!r} is not in the feature registry"]
    except ContractError as error:
        return [str(error)]
    return differences(contract.feature_schema, live)
