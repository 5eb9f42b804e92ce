"""Commands in processes that need not import Feast first: they are forked from one that has.

Starting Python and importing Feast takes four of the five seconds of a `feast apply`, and tests apply a hundred times.
The processes are as fresh as those of the command line: no definition was ever imported where they are forked from.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.loop import SOURCE

_FORKING = multiprocessing.get_context("forkserver")
_FORKING.set_forkserver_preload(["feast.cli.cli", "jobs.materialization.materialize"])


class Forked:
    """A command that runs; in the words of `subprocess.Popen`.

    Args:
        command: called in the process; its result is the exit code.
        arguments: `sys.argv`.
        folder: its working folder, and the first place that it imports from.
    """

    def __init__(
        self, command: Callable[[], int | None], arguments: Sequence[str], folder: Path, environment: Mapping[str, str]
    ) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._files = [Path(self._folder.name, name) for name in ("stdout", "stderr")]
        work = (command, list(arguments), folder, dict(environment), self._files)
        self._process = _FORKING.Process(target=_run, args=work)
        self._process.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.join()
        self._folder.cleanup()

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float) -> tuple[str, ...]:
        """What it printed up to its end.

        Raises:
            subprocess.TimeoutExpired: it took longer, and was killed.
        """
        self._process.join(timeout)
        if self.returncode is None:
            self.kill()
            raise subprocess.TimeoutExpired(self._process.name, timeout)
        return tuple(file.read_text(errors="replace") for file in self._files)


def feast_apply(repo: Path, environment: Mapping[str, str], seconds: float = 120) -> "subprocess.CompletedProcess[str]":
    """What `feast apply` does in a folder.

    Raises:
        subprocess.TimeoutExpired: it took longer.
    """
    with Forked(_feast, ["feast", "apply"], repo, environment) as applying:
        said = applying.communicate(seconds)
        return subprocess.CompletedProcess("feast apply", applying.returncode or 0, *said)


def run(command: Sequence[str], *, cwd: Path, env: Mapping[str, str], **_: Any) -> "subprocess.CompletedProcess[str]":
    """In the place of `subprocess.run`, where all that is run is `feast apply`."""
    assert "apply" == command[-1], command
    return feast_apply(cwd, env)


def jobs(arguments: Sequence[str], environment: Mapping[str, str]) -> Forked:
    """`python -m jobs`, in the checkout."""
    return Forked(_jobs, ["jobs", *arguments], SOURCE, environment)


def _feast() -> None:
    from feast.cli.cli import cli

    cli()


def _jobs() -> int:
    from jobs.__main__ import main

    return main()


def _run(
    command: Callable[[], int | None],
    arguments: list[str],
    folder: Path,
    environment: dict[str, str],
    files: Sequence[Path],
) -> None:
    for standard, file in enumerate(files, 1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), standard)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv, sys.path[:] = arguments, ["", *(path for path in sys.path if path != str(SOURCE))]
    sys.exit(command())
