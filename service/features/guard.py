"""An online store that answers in bounded time: a deadline, a circuit breaker, and the last known good values."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from contract import Key, RawFeatures
from contract.feature_union import FeatureUnion
from service.errors import DeadlineExceededError, OnlineStoreUnavailableError, ServiceError
from service.features.circuit_breaker import CircuitBreaker, State
from service.features.port import OnlineFeatures, rows_asked
from service.features.row_rules import RowRules
from service.telemetry.metrics import ServiceMetrics

logger = logging.getLogger(__name__)

_FAILURES_TO_OPEN = 5
_RETRY_SECONDS = 0.5


class GuardedFeatures:
    """Wraps an `OnlineFeatures` that may fail or hang in any way.

    Args:
        deadline_seconds: of a read.
        cache: earlier values, used when a read fails; None for none.
        union: what is read, for checking rows; None to accept every row.
    """

    def __init__(
        self,
        features: OnlineFeatures,
        deadline_seconds: float,
        metrics: ServiceMetrics,
        cache: "LastKnownGood | None" = None,
        union: FeatureUnion | None = None,
    ) -> None:
        self._features = features
        self._deadline_seconds = deadline_seconds
        self._metrics = metrics
        self._cache = cache
        self._rules = None if union is None else RowRules(union)
        self._breaker = CircuitBreaker(_FAILURES_TO_OPEN, _RETRY_SECONDS, time.monotonic, self._breaker_changed)

    async def read(
        self,
        keys: Sequence[Key],
        as_of_unix_us: int | NDArray[np.int64],
        given: Mapping[str, Sequence[Any]] | None = None,
    ) -> RawFeatures:
        """See `OnlineFeatures.read`.

        Raises:
            OnlineStoreUnavailableError, DeadlineExceededError: the read failed and the cache holds none of the
                entities. If it holds some, the others are `unread`.
        """
        try:
            raw = await self._ask(keys, as_of_unix_us, given)
        except (OnlineStoreUnavailableError, DeadlineExceededError):
            cached = None if self._cache is None else self._cache.get(rows_asked(keys, given))
            if cached is None:
                raise
            absent = 0 if cached.unread is None else int(cached.unread.all(axis=1).sum())
            self._metrics.cached_rows(len(keys) - absent)
            return cached
        if self._rules is not None:
            raw, unreadable = self._rules.apply(raw, as_of_unix_us)
            for reason, rows in unreadable.items():
                self._metrics.unreadable(reason, rows)
        if self._cache is not None:
            self._cache.put(rows_asked(keys, given), raw)
        return raw

    async def _ask(
        self, keys: Sequence[Key], as_of_unix_us: int | NDArray[np.int64], given: Mapping[str, Sequence[Any]] | None
    ) -> RawFeatures:
        if not self._breaker.allows():
            raise OnlineStoreUnavailableError("the online store is not available")
        try:
            async with asyncio.timeout(self._deadline_seconds):
                raw = await self._features.read(keys, as_of_unix_us, given)
        except TimeoutError:
            self._breaker.failed()
            self._metrics.store_failed("TimeoutError")
            raise DeadlineExceededError("the online store did not answer in time") from None
        except ServiceError as error:
            self._breaker.failed()
            self._metrics.store_failed(type(error.__cause__ or error).__name__)
            raise
        except BaseException:  # cancelled, or an error of our own
            self._breaker.abandoned()
            raise
        self._breaker.succeeded()
        return raw

    def _breaker_changed(self, state: State) -> None:
        self._metrics.breaker(state != "closed")
        logger.log(logging.INFO if state == "closed" else logging.WARNING, "circuit breaker: %s", state)

    async def close(self) -> None:
        """Close the guarded store."""
        await self._features.close()


class _KeptRow(NamedTuple):
    """One row of a `RawFeatures`, and when it was read, by the monotonic clock."""

    read_at: float
    values: NDArray[np.float64]
    event_times: NDArray[np.float64]
    unread: NDArray[np.bool_] | None


class LastKnownGood:
    """The latest values of at most `size` entities, each kept for `max_age_seconds`.

    On-demand features are kept as computed. Stored features still become stale by their event time. Entities without
    any row are not kept, because they may have got one since.
    """

    def __init__(self, size: int, max_age_seconds: float) -> None:
        self._size = size
        self._max_age_seconds = max_age_seconds
        self._rows: OrderedDict[Hashable, _KeptRow] = OrderedDict()

    def __len__(self) -> int:
        return len(self._rows)

    def put(self, keys: Sequence[Hashable], raw: RawFeatures) -> None:
        """Keep n rows that have just been read."""
        now = time.monotonic()
        event_times = raw.event_times
        if event_times is None:
            return  # every online store gives event times
        known = np.any(np.isfinite(event_times), axis=1).tolist()
        unread = raw.unread
        for row, key in enumerate(keys):
            self._rows.pop(key, None)
            if known[row]:
                # Copies: a view would keep the whole batch alive.
                kept_unread = None if unread is None else unread[row].copy()
                self._rows[key] = _KeptRow(now, raw.values[row].copy(), event_times[row].copy(), kept_unread)
        while len(self._rows) > self._size:
            self._rows.popitem(last=False)

    def get(self, keys: Sequence[Hashable]) -> RawFeatures | None:
        """Return n rows with their `cached_seconds`; missing or old ones are `unread`. None if all are."""
        now = time.monotonic()
        rows = [self._rows.get(key) for key in keys]
        there = [row if row is not None and now - row.read_at <= self._max_age_seconds else None for row in rows]
        one = next((row for row in there if row is not None), None)
        if one is None:
            return None
        all_read = np.zeros(one.values.shape, dtype=bool)
        nothing = _KeptRow(now, np.full_like(one.values, np.nan), np.full_like(one.event_times, np.nan), ~all_read)
        kept = [row or nothing for row in there]
        unread = np.stack([all_read if row.unread is None else row.unread for row in kept])
        return RawFeatures(
            values=np.stack([row.values for row in kept]),
            event_times=np.stack([row.event_times for row in kept]),
            cached_seconds=np.array([now - row.read_at for row in kept]),
            unread=unread if unread.any() else None,
        )
