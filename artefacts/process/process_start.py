"""Tells a process from a later one with the same id."""

from pathlib import Path

import psutil


def start_of(process: int) -> str:
    """When a process began, as no other process of this id did; empty if it is gone.

    Linux: ticks since boot, field 22 of proc_pid_stat(5). The time of day that it derives from them moves when the
    clock is set. Elsewhere: milliseconds since 1970, which the system noted at the start.

    Raises:
        OSError: the system does not say.
    """
    try:
        if not Path("/proc/self/stat").exists():
            return str(int(psutil.Process(process).create_time() * 1000))
        # A program's name, in brackets, may hold spaces and brackets.
        state, *numbers = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError, psutil.NoSuchProcess):
        return ""
    except psutil.Error as error:
        raise OSError(str(error)) from None
    return "" if state == b"Z" else numbers[18].decode()
