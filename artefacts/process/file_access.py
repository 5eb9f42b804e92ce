"""Why a file that somebody else put there cannot be read, and what its owner can do about it."""

import os
import stat
from pathlib import Path


def why_unreadable(file: Path, error: OSError) -> str:
    """What the system says; of a file that this process may not read also whose it is and how it could."""
    said = error.strerror or type(error).__name__
    if not isinstance(error, PermissionError):
        return said
    who = f"this process is user {os.geteuid()} of group {os.getegid()}"
    try:
        found = file.stat()
    except OSError:  # a folder on the way is closed
        return f"{said}; {who}: let it enter the folder"
    mode = stat.S_IMODE(found.st_mode)
    return (
        f"{said}; it has mode {mode:04o} and belongs to user {found.st_uid} of group {found.st_gid}, {who}: "
        f"let it read the file (`chmod a+r`, or `chgrp {os.getegid()}` and `chmod g+r`), or run as its owner"
    )
