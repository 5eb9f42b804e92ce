"""The metrics of all workers of one server, in the folder that they share."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from artefacts.process.file_locks import take_lock
from service.telemetry.metrics_files import merged

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Metric

PREFIX = "model_service_"
UNREADABLE = PREFIX + "metrics_files_unreadable"
UNREADABLE_HELP = "Files of workers' metrics that are damaged and left out"


def announce(folder: Path) -> IO[bytes]:
    """Lock a file while this process lives; the kernel frees the lock however the process ends."""
    return take_lock(folder / f"{os.getpid()}.alive", wait=False)


def registry_of_workers(folder: Path) -> "CollectorRegistry":
    """A registry that reads what all workers count; the gauges of dead workers are removed first."""
    from prometheus_client import CollectorRegistry

    forget_dead_workers(folder)
    registry = CollectorRegistry()
    registry.register(_EveryWorker(folder))
    return registry


class _EveryWorker:
    """Our metrics from the files of all workers. Dead workers count too, because a counter must not decrease.

    The metrics of Feast's own server are left out: importing Feast creates them, and they stay 0.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> "list[Metric]":
        """See prometheus_client."""
        from prometheus_client.core import GaugeMetricFamily

        collected, left_out = merged(self._folder)
        ours = [metric for metric in collected if metric.name.startswith(PREFIX) and metric.name != UNREADABLE]
        return [*ours, GaugeMetricFamily(UNREADABLE, UNREADABLE_HELP, left_out)]


def forget_dead_workers(folder: Path) -> None:
    """Remove the gauges of dead workers. BentoML replaces a killed worker without notice.

    The process id does not tell: it stays in use for seconds after the death, and is given to another process later.
    """
    from prometheus_client.multiprocess import mark_process_dead

    for file in folder.glob("*.alive"):
        if not (file.stem.isascii() and file.stem.isdecimal() and file.is_file()):
            continue
        with suppress(OSError), file.open("rb") as lock:  # another process was faster, or the worker is alive
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mark_process_dead(int(file.stem), str(folder))  # type: ignore[no-untyped-call]
            file.unlink()
