"""Calls Feast's SDK for any online store, in time, and tells errors of the store from those of what it holds."""

import errno
import logging
import traceback
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from artefacts.newest_snapshot import FIELD, key_of, unix_seconds
from service.errors import OnlineStoreUnavailableError
from service.features.compiled.reply_stream import HOW_TO_ALLOW_PROOFS
from service.features.proved_redis import MixedUpRepliesError, ProofNotAllowedError, prove_replies
from service.own_threads import EndedItselfError, OwnThreads

if TYPE_CHECKING:
    from feast import FeatureStore

logger = logging.getLogger(__name__)

_THREADS = 8
"""Reads at once of a store that Feast reads synchronously only."""

_OF_WHAT_IS_STORED = (DecodeError, ValueError, TypeError, ArithmeticError)
"""What Feast raises on stored bytes that are no values, or not of their type. Drivers' errors are none of these."""

_RUNS_ON_DEMAND_CODE = "feast.on_demand_feature_view"


class FeastCalls:
    """One open store of Feast.

    Feast reads some stores asynchronously. Others are read in at most `_THREADS` threads, and after an error they are
    opened anew: Feast's classes keep a connection that is broken.

    Args:
        reopened: opens the same store again.
    """

    def __init__(self, store: "FeatureStore", reopened: "Callable[[], FeatureStore]") -> None:
        self._store = store
        self._reopened = reopened
        self._is_broken = False
        is_async = store.provider.async_supported.online.read
        self._threads = None if is_async else OwnThreads(_THREADS)
        self._redis: Any = None
        self._is_prepared = False

    async def values(self, features: Any, rows: Mapping[str, Any], *, full_names: bool = False) -> Any:
        """The response's message, with the values of a feature service or of a list of references.

        Raises:
            OnlineStoreUnavailableError: the store failed.
            Exception: what is stored cannot be read, or on-demand code failed.
        """
        try:
            if not self._is_prepared:
                await self._prepare_redis()
            try:
                return await self._look_up(features, rows, full_names)
            except MixedUpRepliesError:
                logger.warning("online store: replies to something else; they are read again on another connection")
                return await self._look_up(features, rows, full_names)
        except Exception as error:
            if isinstance(error, OSError) and error.errno == errno.EOVERFLOW:
                raise ValueError("an event time that no calendar holds") from None  # of this machine's C library
            if isinstance(error, _OF_WHAT_IS_STORED) or _is_of_on_demand_code(error):
                raise
            self._is_broken = True
            what = type(error).__name__
            if isinstance(error, ProofNotAllowedError):
                what = f"NoPermissionError ({HOW_TO_ALLOW_PROOFS})"
            logger.warning("online store unavailable: %s", what)
            raise OnlineStoreUnavailableError("the online store is not available") from error

    async def _look_up(self, features: Any, rows: Mapping[str, Any], full_names: bool) -> Any:
        asked = {"features": features, "entity_rows": rows, "full_feature_names": full_names}
        if self._threads is None:
            return (await self._store.get_online_features_async(**asked)).proto
        return await self._threads.run(self._looked_up, asked)

    def _looked_up(self, asked: dict[str, Any]) -> Any:
        if self._is_broken:
            self._store, self._is_broken = self._reopened(), False
        return self._store.get_online_features(**asked).proto

    async def _prepare_redis(self) -> None:
        """Before its first use, have Feast's client of Redis prove its replies."""
        from scoring.feast.store import redis_client

        client = await redis_client(self._store)
        if client is not None:
            prove_replies(client)
        self._redis, self._is_prepared = client, True

    async def newest_snapshot(self) -> float | None:
        """As `RedisFeatures.newest_snapshot`; errors are redis-py's. Other stores do not hold it: None."""
        if not self._is_prepared:
            await self._prepare_redis()
        if self._redis is None:
            return None
        (found,) = await self._redis.hmget(key_of(self._store.project), [FIELD])
        return unix_seconds(found)

    async def close(self) -> None:
        """Close Feast's connections. Feast's own `close` leaves those to Redis and to Sentinels open."""
        await self._store.close()
        if self._redis is not None:
            pool = getattr(self._redis, "connection_pool", None)
            for sentinel in getattr(getattr(pool, "sentinel_manager", None), "sentinels", ()):
                await sentinel.aclose()
            await self._redis.aclose()


def _is_of_on_demand_code(error: Exception) -> bool:
    """True if an on-demand view was running, whose code may raise anything, also the errors of a database."""
    if isinstance(error, EndedItselfError):
        return True
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_globals.get("__name__") == _RUNS_ON_DEMAND_CODE for frame, _ in frames)
