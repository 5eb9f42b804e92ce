"""Replaces a file or a folder in one step: readers find the old content or the new, always whole.

The new content is written beside the old under a hidden name that ends with `.partial`. The name holds machine and
process, so two writers do not disturb each other; the one that ends last wins. If a writer fails, its partial content
is removed and the old content stays. What a killed writer left is removed by the next writer of the same name.

Three places keep ways of their own. `service/inference_log/files.py` completes a file that another process began, under
a lock. `jobs/offline_store/builds.py` moves a whole build while it holds two locks, and sweeps what is not complete.
`jobs/inference_log/publish_to_feast.py` moves the one file that Feast has written under a name of its own.

New files have the permissions that the process's umask gives. A symbolic link is itself replaced, not its target.
"""

import ctypes
import errno
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path

_EXCHANGE = 2  # RENAME_EXCHANGE of renameat2(2)
_AT_FDCWD = -100
_ABANDONED_SECONDS = 86_400.0
"""A partial file counts as abandoned when nobody has written to it for this long, also on another machine."""


def write_atomically(file: Path, content: str | bytes) -> None:
    """Replace a file by text (as UTF-8) or bytes; makes its folder if there is none."""
    with replaced_file(file) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def replaced_file(file: Path, durable: bool = False) -> Iterator[Path]:
    """A path to create a file or a link at; it takes the place of `file` if the block ends without an error.

    Makes the folder of `file` if there is none.

    Args:
        durable: the new content is on the disk (fsync of file and, if the system can, folder) when the block has ended.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    prefix = _prefix(file)
    for left in file.parent.glob(f"{escape(prefix)}*.partial"):
        with suppress(OSError):  # another writer removed it, or may and we may not
            if not _is_alive(left, prefix) or time.time() - left.lstat().st_mtime > _ABANDONED_SECONDS:
                left.unlink()
    partial = file.with_name(f"{prefix}{_machine()}-{os.getpid()}.partial")
    partial.unlink(missing_ok=True)
    try:
        yield partial
        if durable:
            sync_file(partial)
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    if durable:
        sync_folder(file.parent)


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """A new folder to write into; it takes the place of `folder` if the block ends without an error."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    prefix = _prefix(folder)
    for left in folder.parent.glob(f"{escape(prefix)}*.partial"):
        if not _is_alive(left, prefix):
            shutil.rmtree(left, ignore_errors=True)
    partial = folder.with_name(f"{prefix}{_machine()}-{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        _swap(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _prefix(target: Path) -> str:
    return f".{target.name}."


def _machine() -> str:
    return os.uname().nodename


def _is_alive(partial: Path, prefix: str) -> bool:
    """True if the writer is alive, or on another machine, where that cannot be seen."""
    machine, _, pid = partial.name.removeprefix(prefix).removesuffix(".partial").rpartition("-")
    if machine != _machine() or not pid.isdecimal():
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk, if the file system can: some, as those mounted over a network, cannot."""
    try:
        sync_file(folder)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise


def sync_file(path: Path) -> None:
    """Put what was written on the disk (fsync)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _swap(partial: Path, folder: Path) -> None:
    if not folder.exists():
        partial.rename(folder)
    elif not _exchange(partial, folder):
        # Where the system cannot exchange two folders there is a moment without either; a crash in it leaves both.
        old = folder.with_name(f".{folder.name}.old")
        folder.rename(old)
        partial.rename(folder)
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
