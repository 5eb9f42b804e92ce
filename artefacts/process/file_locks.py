"""Exclusive locks between processes of one machine, held on a lock file (flock).

The system frees a lock when its process ends, however it ends. Lock files stay: to remove one would let two processes
hold a lock of the same name. On a file system that is mounted over the network, locks must work there.

Two places lock by themselves. `service/inference_log/files.py` locks the log's open file itself, which goes when it is
complete. `service/telemetry/metrics.py` tries the locks of other workers, and must not create a file that is gone.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def locked(file: Path, wait: bool = True) -> Iterator[None]:
    """Hold the lock for the block; makes the lock file, and its folder, if there is none.

    Args:
        wait: until another process frees the lock.

    Raises:
        BlockingIOError: another process holds the lock, and `wait` is False.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with take_lock(file, wait):
        yield


def take_lock(file: Path, wait: bool = True) -> IO[bytes]:
    """As `locked`; the lock is held until what is returned is closed, or the process ends."""
    lock = file.open("wb")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        lock.close()
        raise
    return lock
