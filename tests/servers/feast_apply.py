"""`feast apply` in a process that need not import Feast first: it is forked from one that has.

Starting Python and importing Feast takes four of the five seconds of a `feast apply`, and tests apply a hundred times.
The process is as fresh as one of the command line's: no definition was ever imported where it is forked from.
"""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.loop import SOURCE

_FORKING = multiprocessing.get_context("forkserver")
_FORKING.set_forkserver_preload(["feast.cli.cli"])


def feast_apply(repo: Path, environment: Mapping[str, str], seconds: float = 120) -> "subprocess.CompletedProcess[str]":
    """What `feast apply` does in a folder.

    Raises:
        subprocess.TimeoutExpired: it took longer.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, name) for name in ("stdout", "stderr")]
        process = _FORKING.Process(target=_apply, args=(repo, dict(environment), files))
        process.start()
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired("feast apply", seconds)
        said = [file.read_text(errors="replace") for file in files]
        return subprocess.CompletedProcess("feast apply", process.exitcode, *said)


def run(command: Sequence[str], *, cwd: Path, env: Mapping[str, str], **_: Any) -> "subprocess.CompletedProcess[str]":
    """In the place of `subprocess.run`, where all that is run is `feast apply`."""
    assert "apply" == command[-1], command
    return feast_apply(cwd, env)


def _apply(repo: Path, environment: dict[str, str], files: Sequence[Path]) -> None:
    from feast.cli.cli import cli

    for standard, file in enumerate(files, 1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), standard)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(repo)
    sys.argv, sys.path[:] = ["feast", "apply"], ["", *(path for path in sys.path if path != str(SOURCE))]
    cli()
