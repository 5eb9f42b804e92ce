"""Locks in Redis: one materialization at a time, and one writer of online rows at a time.

Each is redis-py's lock with a time after which Redis forgets it, so that a process that was killed keeps nobody out
for longer.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import redis
from redis.lock import Lock

from jobs.errors import JobError
from jobs.materialization.redis_writer import Fence

FAILURES = (redis.RedisError, redis.exceptions.RedisClusterException)
"""Whatever redis-py raises; the latter is no RedisError."""


_WAITING = 0.02
_TRUSTED = 0.9
"""Of a lock's time; the rest is for clocks of a cluster's servers that differ."""


class LockedError(JobError):
    """Another run holds the lock."""

    exit_code = 3


@contextmanager
def online_writer(client: Any, project: str, seconds: float) -> Iterator[Fence]:
    """Hold the right to read offline rows and write them online; the materialization and the stream take turns.

    Without it, one could write a value that it had read before the other wrote a later value of the same event time.
    A process that stands still may lose the right without knowing; what is written with the fence is refused then.

    Args:
        seconds: after which the right is gone, and for which it is waited for, twice.

    Raises:
        JobError: it was not to be had, or was gone before the end.
    """
    key = f"{project}:online_writer"
    lock = Lock(client, key, timeout=seconds, sleep=_WAITING, blocking_timeout=2 * seconds)
    until_ms = _acquired(client, lock, key, seconds)
    try:
        if until_ms is None:
            yield Fence(key.encode(), token=lock.local.token)
        else:
            yield Fence(key.encode(), until_ms=until_ms)
    except BaseException:
        with suppress(*FAILURES):  # what went wrong first is what is told
            lock.release()
        raise
    try:
        lock.release()
    except redis.exceptions.LockError:
        raise JobError(
            f"writing one part took longer than JOBS_LOCK_SECONDS={seconds:g}; "
            "raise it, or lower JOBS_MATERIALIZE_CHUNK_ROWS, and run again"
        ) from None


def _acquired(client: Any, lock: Lock, key: str, seconds: float) -> int | None:
    """Take the lock; where it is one of a cluster, until when it can be trusted by the servers' clocks.

    Raises:
        JobError: it was not to be had.
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
                return int(now * 1000 + micros // 1000 + seconds * 1000 * _TRUSTED)
            time.sleep(_WAITING)
    raise JobError(f"another job has been writing online rows for {2 * seconds:g} s; run again")


class RunLock:
    """Held for a whole run and renewed by a thread of its own; a context manager.

    Args:
        name: what is locked, as the error says it.
        seconds: without renewal, the lock is free after these. A rival is waited for just as long: a killed run's
            lock is gone by then, a living run's is not.

    Raises:
        LockedError: on entering: a rival lives.
    """

    def __init__(self, client: Any, key: str, name: str, seconds: float) -> None:
        self._lock = Lock(client, key, timeout=seconds, sleep=0.1, thread_local=False)
        self._name, self._seconds = name, seconds
        self._ended = threading.Event()
        self._lost = False
        self._renewing = threading.Thread(target=self._renew, name=f"renews {key}", daemon=True)

    def __enter__(self) -> "RunLock":
        if not self._lock.acquire(blocking=False):
            print(f"  another {self._name} runs, or was killed; waiting {self._seconds:g} s for its lock", flush=True)
            if not self._lock.acquire(blocking_timeout=self._seconds + 1):
                raise LockedError(f"another {self._name} is running")
        self._renewing.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._renewing.join()
        with suppress(*FAILURES):  # lost, or Redis is gone: it ends by itself
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
                continue  # the run itself finds out soon, and says so
