"""The folder in which the workers of one server keep their metrics.

BentoML gives every server of a machine the same one, and empties it whenever one of them starts. Two use cases that are
served at once would lose their counters and show those of the other.
"""

import fcntl
import os
import re
import shutil
from pathlib import Path

from artefacts.process.process_start import start_of

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_FOLDER = "metrics_of_servers"
_OF_SERVER = re.compile(r"(\d+)-(\d+)")


def use_own_folder() -> None:
    """Have this worker and its siblings keep their metrics beside what BentoML gives; remove what ended servers left.

    Call it in the worker before the first metric is made. Where nothing can be written, BentoML's folder is kept.
    """
    given = os.environ.get(VARIABLE)
    if given is None or Path(given).parent.name == _FOLDER:  # none, or taken by an earlier service object
        return
    servers = Path(given).parent / _FOLDER
    try:
        own = servers / _named(os.getppid())
        own.mkdir(parents=True, exist_ok=True)
        for folder in servers.iterdir():
            if folder != own and not _is_running(folder):
                shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        return
    os.environ[VARIABLE] = str(own)


def _named(server: int) -> str:
    """With its start, because process ids are used again: that of a container's first process is always 1."""
    return f"{server}-{start_of(server)}"


def _is_running(folder: Path) -> bool:
    """True if the server lives, or one of its workers, which may survive it or belong to another container."""
    named = _OF_SERVER.fullmatch(folder.name)
    if named is None or _named(int(named[1])) == folder.name:
        return True
    return any(map(_is_locked, folder.glob("*.alive")))


def _is_locked(file: Path) -> bool:
    try:
        with file.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False
