"""Locks in Redis: one materialization at a time, and one writer of online rows at a time.

Each is redis-py's lock with a timeout, after which Redis drops the lock of a killed process.
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import redis
from redis.lock import Lock

from jobs.errors import JobError
from jobs.materialization.redis_store.redis_writer import Fence

_LOG = logging.getLogger(__name__)

FAILURES = (redis.RedisError, redis.exceptions.RedisClusterException)
"""Errors of redis-py; the second is not a RedisError."""


_RETRY_SECONDS = 0.02
_TRUSTED_SHARE = 0.9
"""Share of a lock's time that is used; the rest allows for clock differences between a cluster's servers."""


class LockedError(JobError):
    """Another run holds the lock."""

    exit_code = 3


@contextmanager
def online_writer(client: Any, project: str, seconds: float) -> Iterator[Fence]:
    """Lock reading offline rows and writing them online; the materialization and the stream take turns.

    Without the lock, one could overwrite the other's newer value of the same event time with one that it read before.
    A paused process may lose the lock unnoticed; Redis then refuses what it writes with the fence.

    Args:
        seconds: after which the lock ends; acquiring it waits twice as long.

    Raises:
        JobError: the lock was not acquired, or ended before the block did.
    """
    key = f"{project}:online_writer"
    lock = Lock(client, key, timeout=seconds, sleep=_RETRY_SECONDS, blocking_timeout=2 * seconds)
    until_ms = _acquire(client, lock, key, seconds)
    try:
        if until_ms is None:
            yield Fence(key.encode(), token=lock.local.token)
        else:
            yield Fence(key.encode(), until_ms=until_ms)
    except BaseException:
        with suppress(*FAILURES):  # report the first error
            lock.release()
        raise
    try:
        lock.release()
    except redis.exceptions.LockError:
        raise JobError(
            f"writing one chunk took longer than JOBS_LOCK_SECONDS={seconds:g}; "
            "raise it or lower JOBS_MATERIALIZE_CHUNK_ROWS, and run again"
        ) from None


def _acquire(client: Any, lock: Lock, key: str, seconds: float) -> int | None:
    """Acquire the lock. For a cluster, returns until when it holds by the servers' clocks (ms); else None.

    Raises:
        JobError: it was not acquired in time.
    """
    if not isinstance(client, redis.RedisCluster):
        if lock.acquire():
            return None
    else:
        nodes: Any = client
        waited_until = time.monotonic() + 2 * seconds
        while time.monotonic() < waited_until:
            now, micros = nodes.time(target_nodes=nodes.get_node_from_key(key))
            if lock.acquire(blocking=False):
                return int(now * 1000 + micros // 1000 + seconds * 1000 * _TRUSTED_SHARE)
            time.sleep(_RETRY_SECONDS)
    raise JobError(f"another job has been writing online rows for {2 * seconds:g} s; run again")


class RunLock:
    """Context manager: a lock for a whole run, renewed by a thread.

    Args:
        name: what is locked, for the error message.
        seconds: without renewal, the lock ends after these. Entering waits as long for another run's lock: by then a
            killed run's has ended, a living run's has not.

    Raises:
        LockedError: on entering: another run is alive.
    """

    def __init__(self, client: Any, key: str, name: str, seconds: float) -> None:
        self._lock = Lock(client, key, timeout=seconds, sleep=0.1, thread_local=False)
        self._name, self._seconds = name, seconds
        self._ended = threading.Event()
        self._lost = False
        self._renewing = threading.Thread(target=self._renew, name=f"renews {key}", daemon=True)

    def __enter__(self) -> "RunLock":
        if not self._lock.acquire(blocking=False):
            _LOG.info(f"  another {self._name} runs, or was killed; waiting {self._seconds:g} s for its lock")
            if not self._lock.acquire(blocking_timeout=self._seconds + 1):
                raise LockedError(f"another {self._name} is running")
        self._renewing.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._renewing.join()
        with suppress(*FAILURES):  # lost, or Redis is down: the lock ends by itself
            self._lock.release()

    def check(self) -> None:
        """Raise `LockedError` if the lock was lost, e.g. because this machine slept; asks Redis."""
        if self._lost or not self._lock.owned():
            raise LockedError(f"the lock of this {self._name} was lost; another may be running")

    def _renew(self) -> None:
        while not self._ended.wait(self._seconds / 3):
            try:
                self._lock.reacquire()
            except redis.exceptions.LockError:
                self._lost = True
                return
            except FAILURES:
                continue  # the run itself meets this error soon and reports it
