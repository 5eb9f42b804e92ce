"""Measures a command: wall time, processor time, and memory of its whole process tree."""

import os
import resource
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from artefacts.addresses import PROJECT_ROOT
from benchmarks.online.servers import end

_BETWEEN_SAMPLES = 0.2
"""Seconds; a sample walks all processes of the machine, so more of them would disturb the measurement."""
_LAST_LINES = 5
MAXRSS_UNIT = 1 if os.uname().sysname == "Darwin" else 1024
"""Bytes."""


class StepError(Exception):
    """A command of the benchmark failed, or did something else than it should."""


@dataclass(frozen=True)
class Usage:
    """Cost of a command.

    peak_rss_mb: the largest sampled sum of the tree, or the peak of one process if larger. Millions of bytes; a page
        that two processes share counts twice.
    exit_code: None if the command was ended at its time limit.
    """

    seconds: float
    cpu_seconds: float
    peak_rss_mb: float
    exit_code: int | None
    output: tuple[str, ...]

    def figures(self) -> dict[str, float]:
        """The figures for the results file."""
        return {"seconds": self.seconds, "cpu_seconds": self.cpu_seconds, "peak_rss_mb": self.peak_rss_mb}

    def last_lines(self) -> str:
        """The last lines of its output."""
        return "\n".join([line for line in self.output if line.strip()][-_LAST_LINES:])


class WatchedCommand:
    """A running command.

    lines: its output so far, each line with the time (`time.monotonic`) when it came.
    """

    def __init__(self, started: "subprocess.Popen[str]") -> None:
        self.lines: list[tuple[float, str]] = []
        self._began = time.monotonic()
        self._started = started
        self._root = psutil.Process(started.pid)
        self._ended = threading.Event()
        self._seconds = 0.0
        self._cpu_seconds = 0.0
        self._peak_bytes = 0
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._read, self._watch)]
        for thread in self._threads:
            thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait for its end; False if it is still running."""
        return self._ended.wait(seconds)

    def end(self) -> None:
        """End the command and its child processes if they still run."""
        if not self._ended.is_set():
            end(self._root)
        for thread in self._threads:
            thread.join()
        if self._started.stdout:
            self._started.stdout.close()

    def usage(self) -> Usage:
        """Cost so far."""
        running = not self._ended.is_set()
        return Usage(
            seconds=time.monotonic() - self._began if running else self._seconds,
            cpu_seconds=self._cpu_seconds,
            peak_rss_mb=self._peak_bytes / 1e6,
            exit_code=None if running else self._started.returncode,
            output=tuple(line for _, line in self.lines),
        )

    def _read(self) -> None:
        for line in self._started.stdout or ():
            self.lines.append((time.monotonic(), line.rstrip("\n")))

    def _watch(self) -> None:
        while not self._reaped():
            self._sample()
            time.sleep(_BETWEEN_SAMPLES if time.monotonic() - self._began > 1 else _BETWEEN_SAMPLES / 10)
        self._seconds = time.monotonic() - self._began
        self._ended.set()

    def _sample(self) -> None:
        memory, cpu = 0, 0.0
        try:
            family = [self._root, *self._root.children(recursive=True)]
        except psutil.Error:
            return
        for process in family:
            try:
                memory += process.memory_info().rss
                times = process.cpu_times()
            except psutil.Error:  # ended meanwhile
                continue
            cpu += times.user + times.system
        self._peak_bytes = max(self._peak_bytes, memory)
        self._cpu_seconds = max(self._cpu_seconds, cpu)

    def _reaped(self) -> bool:
        """True once the command has ended; then adds the kernel's figures to the samples."""
        try:
            pid, status, kernel = os.wait4(self._started.pid, os.WNOHANG)
        except ChildProcessError:  # `end` has reaped it
            self._started.returncode = -1
            return True
        if pid == 0:
            return False
        self._started.returncode = os.waitstatus_to_exitcode(status)
        # Linux starts a child's peak at its parent's; only a larger value is the child's own.
        if kernel.ru_maxrss > resource.getrusage(resource.RUSAGE_SELF).ru_maxrss:
            self._peak_bytes = max(self._peak_bytes, kernel.ru_maxrss * MAXRSS_UNIT)
        self._cpu_seconds = max(self._cpu_seconds, kernel.ru_utime + kernel.ru_stime)
        return True


@contextmanager
def watch_command(
    command: Sequence[str], environment: Mapping[str, str], folder: Path = PROJECT_ROOT, core: int | None = None
) -> Iterator[WatchedCommand]:
    """Start a command, watch it, and end it with the block.

    Args:
        folder: its working folder.
        core: the only processor core that it may use.
    """

    def pin() -> None:
        if core is not None:
            os.sched_setaffinity(0, {core})

    started = subprocess.Popen(
        list(command),
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        preexec_fn=None if core is None else pin,
    )
    running = WatchedCommand(started)
    try:
        yield running
    finally:
        running.end()


def usage_of(
    command: Sequence[str],
    environment: Mapping[str, str],
    most_seconds: float,
    folder: Path = PROJECT_ROOT,
    core: int | None = None,
) -> Usage:
    """Run a command to its end, for at most `most_seconds`."""
    with watch_command(command, environment, folder, core) as running:
        running.wait(most_seconds)
        cost = running.usage()
    return cost if cost.exit_code is None else running.usage()  # after its last line was read
