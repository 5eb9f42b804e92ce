"""Opens the online store and chooses the reader behind the port `OnlineFeatures`."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artefacts.addresses import Artefacts
from artefacts.process.redaction import redacted
from artefacts.redis_address import RedisAddress
from contract import ContractError, ContractMismatchError, ModelContract, differences
from contract.feature_union import FeatureUnion
from contract.registry_schema import FeatureRegistry, read_feature_schema
from scoring.servable import why_not_served
from service.errors import StartupError
from service.features.compiled.connection import RedisConnection, refuse_unreadable_tls_files
from service.features.compiled.plan import UnsupportedFeatureServiceError, compile_plan
from service.features.compiled.reader import RedisFeatures
from service.features.feast_sdk import FeastOnlineFeatures
from service.features.port import OnlineFeatures

if TYPE_CHECKING:
    from feast import FeatureStore
    from feast.protos.feast.core.Registry_pb2 import Registry

    from service.features.feature_registry import RegistryReader

logger = logging.getLogger(__name__)

# Feast hands these to redis-py, whose default of ten retries with back-off blocks for seconds.
_CONNECT_SECONDS = 0.2
_REDIS_OPTIONS = {"retry": "null", "socket_connect_timeout": f"{_CONNECT_SECONDS:g}", "socket_timeout": "1"}

_OWN_CLASSES = {"PostgreSQLOnlineStoreConfig": "service.features.postgres_store.BoundedPostgreSQLOnlineStore"}
"""Feast's class of an online store's configuration → our class of that store."""


@dataclass(frozen=True)
class OpenedFeast:
    """An open online store, with checks of its registry and of its age.

    features: reads the `union` of the models' features.
    broken_promises: compares the registry with the contracts. It takes milliseconds, or seconds while the registry is
        being written, so call it in a thread.
    newest_snapshot: its time in seconds since 1970; None if no materialization has recorded it. May raise anything.
    """

    features: OnlineFeatures
    union: FeatureUnion
    broken_promises: Callable[[], list[str]]
    newest_snapshot: Callable[[], Awaitable[float | None]]


@dataclass(frozen=True)
class OpenedStore:
    """Feast's store over a registry that keeps the contracts.

    store: over the registry as it was when the store was opened.
    reopened: opens it again, over the same registry.
    registry: reads the registry again.
    redis: `REDIS_URL`, where the online store is Redis.
    connection_string: the same in Feast's form.
    """

    store: "FeatureStore"
    reopened: "Callable[[], FeatureStore]"
    registry: "RegistryReader"
    redis: RedisAddress | None
    connection_string: str


def open_feast(
    repo: Path, artefacts: Artefacts, *contracts: ModelContract, compiled: bool = True, stall_seconds: float = 1.0
) -> OpenedFeast:
    """Open Feast, compare its registry with the contracts, and choose a reader.

    A worker must call it after the fork, because clients and the registry's thread do not survive one.

    Args:
        repo: folder of `feature_store.yaml`.
        contracts: of the models to serve, at least one.
        compiled: read Redis by a compiled plan where possible, else through Feast's SDK.
        stall_seconds: silence while an answer is due, after which the server counts as hanging.

    Raises:
        StartupError: no Redis address, no registry, or a contract that this service cannot serve.
        ContractMismatchError: the registry no longer offers what a contract promises.
    """
    opened = open_store(repo, artefacts, *contracts, stall_seconds=stall_seconds)
    union = FeatureUnion.of(*contracts)
    promises = _watched(opened.registry, opened.store.project, contracts)

    if compiled:
        try:
            if opened.redis is None:
                raise UnsupportedFeatureServiceError("the online store is not Redis")
            plan = compile_plan(opened.store, union, opened.connection_string)
        except UnsupportedFeatureServiceError as reason:
            if len(union.feature_services) > 1:
                raise  # a second model must not slow the first one down
            logger.warning("reading through feast's SDK, several times slower: %s", reason)
        else:
            connection = RedisConnection(opened.redis, _CONNECT_SECONDS, stall_seconds)
            compiled_reader = RedisFeatures(plan, connection)
            return OpenedFeast(compiled_reader, union, promises, compiled_reader.newest_snapshot)
    if len(union.feature_services) > 1:
        raise StartupError("models of several feature services are read together by the compiled reader alone")
    through_sdk = FeastOnlineFeatures(opened.store, union, opened.reopened)
    return OpenedFeast(through_sdk, union, promises, through_sdk.newest_snapshot)


def open_store(repo: Path, artefacts: Artefacts, *contracts: ModelContract, stall_seconds: float = 1.0) -> OpenedStore:
    """Open Feast and compare its registry with the contracts. Args and raises as `open_feast`."""
    if reasons := [reason for contract in contracts for reason in why_not_served(contract.feature_schema)]:
        raise StartupError("contract: " + "; ".join(dict.fromkeys(reasons)))
    address = None if artefacts.redis_url is None else RedisAddress.of(artefacts.redis_url)
    options = dict(_REDIS_OPTIONS)
    if address is not None and address.kind == "redis_cluster":
        # redis-py looks for a new master after its own timeout, never after ours.
        options["socket_timeout"] = f"{stall_seconds / 2:g}"
    addresses = artefacts.feast_environment(options)
    from google.protobuf.message import DecodeError

    from scoring.feast.store import FeastConfigError, open_online_store, read_config
    from service.features.feature_registry import RegistryReader
    from service.features.registry_filter import held_registry, only_promised

    try:
        config = read_config(repo, addresses, reads_offline=False)
    except OSError as error:
        raise StartupError(f"{error.filename} cannot be read: {error.strerror}") from None
    except FeastConfigError as error:
        raise StartupError(str(error).replace("\n", " ")) from None
    if config.online_store is None:
        raise StartupError("feature_store.yaml names no online store")
    is_redis = type(config.online_store).__name__ == "RedisOnlineStoreConfig"
    if is_redis and address is None:
        raise StartupError("REDIS_URL is not set and no embedded Redis is recorded; run `make redis` or set it")
    if is_redis and address is not None:
        refuse_unreadable_tls_files(address)  # Feast's client would open them, too

    for contract in contracts:
        if (project := contract.feature_schema.project) != config.project:
            raise StartupError(
                f"the model reads features of Feast's project {project!r}, but the feature repository is that of "
                f"{config.project!r}; set USE_CASE to the folder of the model's use case"
            )

    def opened(registry: "Registry") -> "tuple[Callable[[], FeatureStore], FeatureStore, list[str]]":
        held = held_registry(only_promised(registry, config.project, contracts), config.registry)
        reopened = partial(open_online_store, repo, addresses, held, _served(config.online_store))
        store = reopened()
        return reopened, store, broken_promises(store.registry, store.project, *contracts)

    reader = RegistryReader(config)
    try:
        reopened, store, found = reader.judged(opened, is_well=lambda judged: not judged[2])
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
    return OpenedStore(store, reopened, reader, address if is_redis else None, addresses["REDIS_CONNECTION_STRING"])


def _served(online_store: Any) -> Mapping[str, Any] | None:
    """The online store's configuration with our class for it, where Feast's cannot be lived with; else None."""
    own = _OWN_CLASSES.get(type(online_store).__name__)
    return None if own is None else {**online_store.model_dump(), "type": own}


def _watched(reader: "RegistryReader", project: str, contracts: Sequence[ModelContract]) -> Callable[[], list[str]]:
    """A function that compares the current registry with the contracts; the open store stays as it is."""
    from service.features.registry_filter import only_promised, registry_of

    def broken(registry: "Registry") -> list[str]:
        try:
            return broken_promises(
                registry_of(only_promised(registry, project, contracts), project), project, *contracts
            )
        except ContractMismatchError as error:
            return error.differences

    return lambda: reader.judged(broken, is_well=lambda found: not found)


def broken_promises(registry: FeatureRegistry, project: str, *contracts: ModelContract) -> list[str]:
    """Differences between a registry and the contracts, one sentence each."""
    found = [broken for contract in contracts for broken in _broken_promises(registry, project, contract)]
    return list(dict.fromkeys(found))


def _broken_promises(registry: FeatureRegistry, project: str, contract: ModelContract) -> list[str]:
    from scoring.feast.store import FeastObjectNotFoundException

    try:
        live = read_feature_schema(registry, project, contract.feature_service)
    except FeastObjectNotFoundException:
        return [f"feature service {contract.feature_service!r} is not in the feature registry"]
    except ContractError as error:
        return [str(error)]
    return differences(contract.feature_schema, live)
