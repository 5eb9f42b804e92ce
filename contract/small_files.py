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


def read_small_file(file: str | Path, at_most: int = SMALL) -> bytes:
    """Read a regular file; links to one are followed.

    Args:
        at_most: bytes.

    Raises:
        OSError: there is none, it cannot be read, it is no regular file, or it is larger. `strerror` says which.
    """
    # A device may do something when it is opened, so it is looked at first; what is opened may be another file by then.
    _refuse_others(Path(file).stat().st_mode, file)
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as opened:
        _refuse_others(os.fstat(descriptor).st_mode, file)
        # Not by the size that it says: files of /proc say 0.
        content = opened.read(at_most + 1)
    if len(content) > at_most:
        raise OSError(errno.EFBIG, f"larger than {at_most:,} bytes", str(file))
    return content


def read_small_text(file: str | Path, at_most: int = SMALL) -> str:
    """`read_small_file`, as UTF-8 whatever the locale says.

    Raises:
        OSError: as there, or it is not UTF-8.
    """
    try:
        return read_small_file(file, at_most).decode()
    except UnicodeDecodeError:
        raise OSError(errno.EILSEQ, "not UTF-8", str(file)) from None


def _refuse_others(mode: int, file: str | Path) -> None:
    if not stat.S_ISREG(mode):
        kind = next((name for applies, name in _KINDS if applies(mode)), "no regular file")
        raise OSError(errno.EINVAL, f"{kind}, not a regular file", str(file))
