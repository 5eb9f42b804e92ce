"""Runs that end although their training does not: they are shown as killed, not as running for ever."""

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Final

from mlflow.entities import RunStatus
from mlflow.tracking import MlflowClient

from artefacts.process.process_start import start_of

_LOG = logging.getLogger(__name__)

PROCESS: Final = "training.process"
"""Tag of a run: whose it is, the process's id, and its start."""

STOPPED: Final = (KeyboardInterrupt, SystemExit)
"""What a process raises that somebody stops."""


def own_process() -> dict[str, str]:
    """Tag of a run of this process; none where the system has no /proc."""
    with suppress(OSError):
        return {PROCESS: f"{_place()} {os.getpid()} {start_of(os.getpid())}"}
    return {}


def end_runs_of_gone_processes(client: MlflowClient, experiment_id: str) -> None:
    """End, as killed, the experiment's runs whose process was on this host, was this user's, and is gone."""
    with suppress(OSError):
        place = _place()
        for run in client.search_runs([experiment_id], "attributes.status = 'RUNNING'"):
            whose, _, process = run.data.tags.get(PROCESS, "").partition(" ")
            number, _, start = process.partition(" ")
            if whose == place and number.isdecimal() and start_of(int(number)) != start:
                client.set_terminated(run.info.run_id, RunStatus.to_string(RunStatus.KILLED))
                _LOG.info(f"run {run.info.run_name} is ended as KILLED: its process is gone")


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Have SIGTERM and SIGHUP raise in the block, as Ctrl-C does. One that is ignored or handled stays so."""

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        raise SystemExit(128 + number)

    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _place() -> str:
    """User, host and the container's numbering of processes: elsewhere the same id is of another process."""
    return f"{os.getuid()}@{socket.gethostname()}/{Path('/proc/self/ns/pid').readlink()}"
