"""Reads the small files that processes are given: keys, addresses, tags, registries, certificates.

Whoever can write such a file must not be able to hang or fill the process that reads it. A pipe without a writer would
hang it, a device or a huge file would fill its memory.
"""

import errno
import os
import stat
from pathlib import Path

SMALL = 1024 * 1024
"""More than any key, address or tag takes."""

_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class UnfitFileError(OSError):
    """Not a regular file, too large, or not UTF-8; reading it again does not help."""


def read_small_file(file: str | Path, at_most: int = SMALL) -> bytes:
    """Read a regular file; links to one are followed.

    Args:
        at_most: bytes.

    Raises:
        UnfitFileError: it is no regular file, or it is larger.
        OSError: there is none, or it cannot be read. `strerror` says why.
    """
    # A device may do something when it is opened, so it is looked at first; what is opened may be another file by then.
    try:
        found = Path(file).stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UnfitFileError(error.errno, error.strerror, str(file)) from None
        raise
    _refuse_others(found.st_mode, file)
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as opened:
        _refuse_others(os.fstat(descriptor).st_mode, file)
        # Not by the size that it says: files of /proc say 0.
        content = opened.read(at_most + 1)
    if len(content) > at_most:
        raise UnfitFileError(errno.EFBIG, f"larger than {at_most:,} bytes", str(file))
    return content


def read_small_text(file: str | Path, at_most: int = SMALL) -> str:
    """`read_small_file`, as UTF-8 whatever the locale says.

    Raises:
        UnfitFileError: as there, or it is not UTF-8.
        OSError: as there.
    """
    try:
        return read_small_file(file, at_most).decode()
    except UnicodeDecodeError:
        raise UnfitFileError(errno.EILSEQ, "not UTF-8", str(file)) from None


def _refuse_others(mode: int, file: str | Path) -> None:
    if not stat.S_ISREG(mode):
        kind = next((name for applies, name in _KINDS if applies(mode)), "no regular file")
        raise UnfitFileError(errno.EINVAL, f"{kind}, not a regular file", str(file))
