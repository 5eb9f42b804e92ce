"""Readiness by the age of the newest snapshot: a policy of `/readyz`."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

logger = logging.getLogger(__name__)


class SnapshotAge:
    """Not ready while the newest snapshot is older than a limit. An unknown age counts as ready.

    Args:
        limit_hours: None for no limit; then nothing is read.
        deadline_seconds: of reading the age, after which it is unknown.
        clock: seconds since 1970.
    """

    def __init__(
        self, limit_hours: float | None, deadline_seconds: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._limit_hours = limit_hours
        self._deadline_seconds = deadline_seconds
        self._clock = clock
        self._was_young = True

    async def is_young(self, newest_snapshot: Callable[[], Awaitable[float | None]]) -> bool:
        """Ask when it was; True also where that cannot be known."""
        if self._limit_hours is None:
            return True
        try:
            async with asyncio.timeout(self._deadline_seconds):
                at = await newest_snapshot()
        except Exception as error:  # any error of a Redis client; reading rows may work all the same
            logger.warning("the time of the newest snapshot cannot be read: %s", type(error).__name__)
            return True
        hours = None if at is None else (self._clock() - at) / 3600
        young = hours is None or hours <= self._limit_hours
        if young != self._was_young:
            self._was_young = young
            if young:
                logger.info("ready again: the newest snapshot is young enough, or its time is not known")
            else:
                logger.error("not ready: the newest snapshot is %.1f h old, more than %g h", hours, self._limit_hours)
        return young
