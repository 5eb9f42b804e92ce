"""Starts one server at a time on its own processor core, and ends it with its child processes."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from artefacts.addresses import PROJECT_ROOT

_READY_SECONDS = 120.0
_STOP_SECONDS = 20.0


class ServerError(Exception):
    """A server did not start, or answers wrongly."""


@dataclass(frozen=True)
class Cores:
    """Core of the server, and core that the load generator and Redis share; None if there is one core or no pinning."""

    server: int | None
    load: int | None

    @classmethod
    def of_this_machine(cls) -> "Cores":
        """The first two cores that this process may use."""
        if not hasattr(os, "sched_getaffinity"):
            return cls(None, None)
        usable = sorted(os.sched_getaffinity(0))
        return cls(usable[0], usable[1]) if len(usable) > 1 else cls(None, None)


@dataclass(frozen=True)
class Server:
    """A running server."""

    process: psutil.Process
    port: int

    def processes(self) -> list[psutil.Process]:
        """The process and all its descendants."""
        return [self.process, *self.process.children(recursive=True)]

    def cpu_seconds(self) -> float:
        """Processor time of all its processes so far."""
        return sum(_cpu_seconds(process) for process in self.processes())

    def worker(self) -> psutil.Process:
        """The worker: the process with the most processor time, after some load."""
        return max(self.processes(), key=_cpu_seconds)


def _cpu_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


@contextmanager
def running(
    command: Sequence[str], port: int, probe: bytes, environment: Mapping[str, str], core: int | None, log: Path
) -> Iterator[Server]:
    """Start a server, wait until it answers `probe` with 200, and end it with the block.

    Raises:
        ServerError: it ended or did not answer in time; quotes its log.
    """

    def pin() -> None:
        if core is not None:
            os.sched_setaffinity(0, {core})

    with log.open("w", encoding="utf-8") as output:
        started = subprocess.Popen(
            list(command),
            cwd=PROJECT_ROOT,
            env=dict(environment),
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=pin,
        )
    server = Server(psutil.Process(started.pid), port)
    try:
        deadline = time.monotonic() + _READY_SECONDS
        while not _answers(port, probe):
            if started.poll() is not None:
                raise ServerError(f"{command[0]} ended:\n{_tail(log)}")
            if time.monotonic() > deadline:
                raise ServerError(f"{command[0]} did not answer within {_READY_SECONDS:g} s:\n{_tail(log)}")
            time.sleep(0.1)
        yield server
    finally:
        end(server.process)
        started.wait(timeout=_STOP_SECONDS)


def end(process: psutil.Process) -> None:
    """End a process and its descendants: terminated first, killed if they stay."""
    with suppress(psutil.Error):
        family = [process, *process.children(recursive=True)]
        process.terminate()
        _, alive = psutil.wait_procs(family, timeout=_STOP_SECONDS)
        for one in alive:
            with suppress(psutil.Error):
                one.kill()
        psutil.wait_procs(alive, timeout=_STOP_SECONDS)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])


def _answers(port: int, probe: bytes) -> bool:
    try:
        return ask(port, probe, timeout=10)[0] == 200
    except OSError:
        return False


def ask(port: int, request: bytes, timeout: float = 60) -> tuple[int, bytes]:
    """Send one complete request on a new connection; returns status and body.

    Raises:
        OSError: no answer, or an incomplete one.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        connection.sendall(request.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
        received = b""
        while part := connection.recv(1 << 16):
            received += part
    head, separator, body = received.partition(b"\r\n\r\n")
    if not separator:
        raise ConnectionError("the server hung up")
    return int(head[9:12]), body


def free_port() -> int:
    """A free port on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def own_bentoml_home(folder: Path) -> Iterator[Path]:
    """A BentoML home with the real one's models, because two servers on one home delete each other's metrics."""
    real = Path(os.environ.get("BENTOML_HOME") or Path.home() / "bentoml")
    home = folder / "bentoml"
    home.mkdir()
    (home / "models").symlink_to(real / "models")
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def pinned_redis(pid: int | None, core: int | None) -> Iterator[bool]:
    """Pin Redis to the load generator's core during the block; yields False if that is impossible."""
    try:
        before = os.sched_getaffinity(pid) if pid and core is not None else None
        if before is not None and pid and core is not None:
            os.sched_setaffinity(pid, {core})
    except OSError:
        before = None
    try:
        yield before is not None
    finally:
        if before is not None and pid:
            with suppress(OSError):
                os.sched_setaffinity(pid, before)
