"""Folders of Parquet files that appear, and are replaced, in one step."""

import ctypes
import errno
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path

_EXCHANGE = 2  # RENAME_EXCHANGE of renameat2(2)
_AT_FDCWD = -100


@contextmanager
def replaced(partition: Path) -> Iterator[Path]:
    """A new folder to write into, which takes the place of `partition` if the block ends without an error.

    Readers find the old files or the new ones, whole. A folder that a crashed writer left is removed.
    """
    partition.parent.mkdir(parents=True, exist_ok=True)
    # The machine is in the name: whether a writer on another one is alive cannot be known here.
    prefix = f".{partition.name}.{os.uname().nodename}-"
    for abandoned in partition.parent.glob(f"{escape(prefix)}*.partial"):
        if not _is_alive(int(abandoned.name.removeprefix(prefix).removesuffix(".partial"))):
            shutil.rmtree(abandoned, ignore_errors=True)
    partial = partition.with_name(f"{prefix}{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        _swap(partial, partition)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _swap(partial: Path, partition: Path) -> None:
    if not partition.exists():
        partial.rename(partition)
    elif not _exchange(partial, partition):
        # Where the system cannot exchange two folders there is a moment without either; a crash in it leaves both.
        old = partition.with_name(f".{partition.name}.old")
        partition.rename(old)
        partial.rename(partition)
        shutil.rmtree(old)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where the system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS):  # a file system, or a kernel, without it
        return False
    raise OSError(code, os.strerror(code), str(other))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
