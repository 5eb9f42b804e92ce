"""Where the predictor gets raw features from: the narrow port, and its adapter to Feast's SDK."""

import asyncio
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import redis
from numpy.typing import NDArray

from contract import ContractError, ContractMismatchError, ModelContract, RawFeatures, differences
from contract.artefacts import Artefacts
from contract.feature_schema import FeatureSpec, read_feature_schema
from service.errors import OnlineStoreUnavailableError, StartupError

if TYPE_CHECKING:
    from feast import FeatureStore

logger = logging.getLogger(__name__)

# Feast hands these to redis-py, whose default of ten retries with back-off blocks for seconds.
_REDIS_OPTIONS = {"retry": "null", "socket_connect_timeout": "0.2", "socket_timeout": "1"}


_CHUNK = 100
"""Ids looked up in one call of the SDK, which then decodes for about 15 ms without a pause."""


class OnlineFeatures(Protocol):
    """What the predictor needs of an online store."""

    async def read(self, customer_ids: Sequence[str], as_of_unix_us: int) -> RawFeatures:
        """Read the contract's features of n customers, one row each, in the order asked.

        Args:
            customer_ids: n distinct, non-empty strings.
            as_of_unix_us: the request's time, for request-time inputs.

        Raises:
            OnlineStoreUnavailableError: the store could not be read.
        """
        ...


class FeastOnlineFeatures:
    """Reads through Feast's SDK, whatever online store it is configured with.

    What the SDK leaves open is settled here: the order of features differs from process to process, a
    customer without a row is `PRESENT` with the event time 1970-01-01, no TTL is enforced, and with
    `full_feature_names=True` every output of a Python on-demand view is silently left out, so features are
    asked for by their bare names.
    """

    def __init__(self, store: "FeatureStore", contract: ModelContract) -> None:
        self._store = store
        # Resolved once: looking it up takes milliseconds.
        self._service = store.get_feature_service(contract.feature_service)
        (key,) = contract.feature_schema.entity_keys
        self._join_key = key.join_key
        self._request_inputs = [r.name for r in contract.feature_schema.request_inputs]
        self._columns = {_bare(f): column for column, f in enumerate(contract.inputs)}
        # One stored feature of each view tells the event time of that view's row.
        self._views = {view.name: position for position, view in enumerate(contract.feature_schema.views)}
        self._tells_time = {
            next(_bare(f) for f in contract.feature_schema.features if f.view == view): position
            for view, position in self._views.items()
        }

    async def read(self, customer_ids: Sequence[str], as_of_unix_us: int) -> RawFeatures:
        """See `OnlineFeatures.read`."""
        parts = []
        for start in range(0, len(customer_ids), _CHUNK):
            parts.append(await self._read(customer_ids[start : start + _CHUNK], as_of_unix_us))
            await asyncio.sleep(0)  # decoding holds the event loop; others get their turn between chunks
        return RawFeatures(
            values=np.concatenate([values for values, _ in parts]),
            event_times=np.concatenate([times for _, times in parts]),
        )

    async def _read(
        self, customer_ids: Sequence[str], as_of_unix_us: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        n = len(customer_ids)
        rows: dict[str, Any] = {self._join_key: list(customer_ids)}
        rows.update({name: [as_of_unix_us] * n for name in self._request_inputs})
        try:
            response = await self._store.get_online_features_async(
                features=self._service, entity_rows=rows, full_feature_names=False
            )
        except (redis.RedisError, OSError) as error:
            logger.warning("online store unavailable: %s", type(error).__name__)
            raise OnlineStoreUnavailableError("the online store is not available") from error
        values = np.full((n, len(self._columns)), np.nan)
        event_times = np.full((n, len(self._views)), np.nan)
        proto = response.proto
        for name, result in zip(proto.metadata.feature_names.val, proto.results, strict=True):
            if (column := self._columns.get(name)) is not None:
                values[:, column] = [_number(value) for value in result.values]
            if (view := self._tells_time.get(name)) is not None:
                event_times[:, view] = [_unix_seconds(at) for at in result.event_timestamps]
        return values, event_times


def _bare(feature: FeatureSpec) -> str:
    return feature.name.removeprefix(f"{feature.view}__")


def _number(value: Any) -> float:
    kind = value.WhichOneof("val")
    return float("nan") if kind is None else float(getattr(value, kind))


def _unix_seconds(at: Any) -> float:
    if at.seconds == 0 and at.nanos == 0:
        return float("nan")  # Feast's way of saying that there is no row
    return float(at.seconds + at.nanos / 1e9)


def _check_registry_file(registry: str) -> None:
    """Feast would make an empty registry where there is none; addresses of other kinds are left to it."""
    if "://" not in registry and not Path(registry).is_file():
        raise StartupError(f"no feature registry at {registry}; set FEAST_REGISTRY or run `make apply`")


def open_feast(repo: Path, artefacts: Artefacts, contract: ModelContract) -> FeastOnlineFeatures:
    """Open Feast and hold the contract against its registry.

    A worker must call it after it has forked: the store's client and registry thread do not survive a fork.

    Args:
        repo: folder of `feature_store.yaml`.

    Raises:
        StartupError: no Redis address, no registry, or the contract is not what this service can serve.
        ContractMismatchError: the registry no longer offers what the contract promises.
    """
    if artefacts.redis_url is None:
        raise StartupError("REDIS_URL is not set and no embedded Redis is recorded; run `make redis` or set it")
    keys = contract.feature_schema.entity_keys
    if len(keys) != 1 or keys[0].dtype != "string":
        raise StartupError("contract: this service looks up by exactly one join key of type string")
    bare = [_bare(f) for f in contract.feature_schema.features]
    if len(set(bare)) != len(bare):
        twice = sorted({name for name in bare if bare.count(name) > 1})
        raise StartupError(f"contract: two feature views share the feature names {twice}, which feast cannot serve")
    _check_registry_file(artefacts.feast_registry)
    os.environ.update(artefacts.feast_environment(_REDIS_OPTIONS))
    from feast import FeatureStore
    from feast.errors import FeastObjectNotFoundException
    from google.protobuf.message import DecodeError

    # It warns that serve_features_while_materializing matters only with a SQL registry; the YAML serves both.
    logging.getLogger("feast.repo_config").setLevel(logging.ERROR)
    try:
        store = FeatureStore(repo_path=str(repo))
        live = read_feature_schema(store.registry, store.project, contract.feature_service)
    except FeastObjectNotFoundException:
        raise ContractMismatchError(
            [f"feature service {contract.feature_service!r} is not in registry {artefacts.feast_registry}"]
        ) from None
    except ContractError as error:
        raise ContractMismatchError([str(error)]) from None
    except DecodeError:
        raise StartupError(f"{artefacts.feast_registry} is not a feature registry; run `make apply`") from None
    found = differences(contract.feature_schema, live)
    if found:
        raise ContractMismatchError(found)
    return FeastOnlineFeatures(store, contract)
