"""How long this machine kept from running what was ready to run."""

import asyncio
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from pathlib import Path

_BEAT_SECONDS = 0.005


class Heartbeat:
    """Beats in the event loop of whoever asks a server, and notes how late each beat comes.

    On Linux it notes, too, what the kernel says of other processes: how long their main threads have waited for a CPU
    since they began (second number of `/proc/<pid>/schedstat`). Elsewhere their waiting goes unseen.

    Args:
        processes: the ids of those processes, asked for anew at each beat.
    """

    def __init__(self, processes: Callable[[], Sequence[int]] = tuple) -> None:
        self._processes = processes
        self._late: list[tuple[float, float]] = []
        self._times: list[float] = []
        self._waited: list[dict[int, float]] = []

    async def beat(self) -> None:
        """For ever."""
        while True:
            self._waited.append({process: waited_for_cpu(process) for process in self._processes()})
            self._times.append(time.monotonic())
            due = time.monotonic() + _BEAT_SECONDS
            await asyncio.sleep(_BEAT_SECONDS)
            self._late.append((due, time.monotonic()))

    def lost(self, since: float, until: float) -> float:
        """The most that any one of them has lost between two points in time, seconds."""
        first = bisect_left(self._late, since, key=lambda beat: beat[1])
        last = bisect_right(self._late, until, key=lambda beat: beat[0])
        late = sum(max(0.0, min(end, until) - max(begin, since)) for begin, end in self._late[first:last])
        before = self._waited[max(0, bisect_right(self._times, since) - 1)]
        after = self._waited[min(len(self._waited) - 1, bisect_left(self._times, until))]
        waited = (after[process] - before[process] for process in after.keys() & before.keys())
        return min(until - since, max([late, *waited]))


def waited_for_cpu(process: int) -> float:
    """Seconds that its main thread was ready to run and did not; 0 where the kernel does not tell."""
    try:
        return int(Path(f"/proc/{process}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def children(process: int) -> list[int]:
    """The ids of a process's children, where /proc tells them."""
    try:
        return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []
