"""Sends prebuilt requests and times the answers at the least cost that Python allows.

It shares its core with Redis, so its own cost could slow the server: no HTTP client, no JSON.
"""

import asyncio
import gc
import os
import re
import threading
import time
from array import array
from collections import deque
from multiprocessing.connection import Connection
from typing import cast

import numpy as np
import uvloop

from benchmarks.load.load_plan import LoadPlan, LoadResult
from benchmarks.summaries import intended_times, percentile

_DRAIN_SECONDS = 30.0
_now = time.perf_counter


class _Exchange(asyncio.Protocol):
    """One connection with at most one request in flight."""

    def __init__(self, load: "_Load") -> None:
        self._load = load
        self._transport: asyncio.Transport
        self._buffer = b""
        self._length = 0
        self.since = 0.0
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def send(self, request: bytes, since: float) -> None:
        self.since = since
        self.busy = True
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer = self._buffer + data if self._buffer else data
        if not self._length:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = buffer[:end].lower()
            at = head.find(b"content-length:")
            if at < 0:
                # Chunked: no server here sends a body that ends like the last chunk.
                if not buffer.endswith(b"0\r\n\r\n"):
                    return
                self._length = len(buffer)
            else:
                stop = head.find(b"\r\n", at)
                self._length = end + 4 + int(head[at + 15 : stop if stop > 0 else end])
        if len(buffer) < self._length:
            return
        self._buffer = b""
        self._length = 0
        self.busy = False
        self._load.answered(self, buffer)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.busy:
            self.busy = False
            self._load.lost(exc)

    @property
    def open(self) -> bool:
        return not self._transport.is_closing()

    def close(self) -> None:
        self._transport.close()


class _Load:
    """The state of one plan that both kinds of load share."""

    def __init__(self, plan: LoadPlan) -> None:
        self.plan = plan
        self.latencies = array("d")
        self.errors = 0
        self.first_error = ""
        self.total = 0
        self.exchanges: list[_Exchange] = []
        self.finished = asyncio.Event()
        self._row = re.compile(plan.row)
        self._next = 0

    def request(self) -> bytes:
        self._next += 1
        return self.plan.requests[self._next % len(self.plan.requests)]

    def is_good(self, response: bytes) -> bool:
        self.total += 1
        if response[9:12] == b"200":
            body = response[response.index(b"\r\n\r\n") + 4 :]
            if len(self._row.findall(body)) == self.plan.matches:
                return True
        head, _, body = response.partition(b"\r\n\r\n")
        self.note_error(f"{head[9:12].decode('latin-1')} {body[:200].decode('latin-1')}")
        return False

    def note_error(self, what: str) -> None:
        self.errors += 1
        self.first_error = self.first_error or what

    def answered(self, exchange: _Exchange, response: bytes) -> None:
        raise NotImplementedError

    def lost(self, reason: Exception | None) -> None:
        self.note_error(f"connection lost: {reason!r}")

    async def connect(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(self.plan.connections):
            _, exchange = await loop.create_connection(lambda: _Exchange(self), "127.0.0.1", self.plan.port)
            self.exchanges.append(exchange)

    async def drain(self) -> None:
        """Wait for requests in flight, so that the next measurement finds an idle server."""
        give_up = _now() + _DRAIN_SECONDS
        while any(exchange.busy for exchange in self.exchanges) and _now() < give_up:
            await asyncio.sleep(0.005)
        for exchange in self.exchanges:
            exchange.busy = False
            exchange.close()


class _ClosedLoop(_Load):
    """Every connection sends its next request after the answer to the last."""

    def __init__(self, plan: LoadPlan) -> None:
        super().__init__(plan)
        started = _now()
        self._measure_from = started + plan.warm_up_seconds
        self._give_up_at = self._measure_from + plan.most_seconds
        self._stopped = False
        self._first = 0.0
        self._last = 0.0

    async def run(self) -> float:
        await self.connect()
        for exchange in self.exchanges:
            exchange.send(self.request(), _now())
        try:
            async with asyncio.timeout(self.plan.warm_up_seconds + self.plan.most_seconds + 1):
                await self.finished.wait()
        except TimeoutError:
            self._stopped = True
        await self.drain()
        counted = len(self.latencies)
        return counted / (self._last - self._first) if counted and self._last > self._first else 0.0

    def answered(self, exchange: _Exchange, response: bytes) -> None:
        now = _now()
        good = self.is_good(response)
        if self._stopped:
            return
        if not self._first:
            # Measured from answer to answer, so requests cut by start or end do not distort.
            if now >= self._measure_from:
                self._first = now
        elif good:
            self.latencies.append(now - exchange.since)
            self._last = now
            self._stopped = self._is_enough(now)
        if now >= self._give_up_at:
            self._stopped = True
        if self._stopped:
            self.finished.set()
        elif exchange.open:
            exchange.send(self.request(), _now())
        else:
            self.lost(None)

    def _is_enough(self, now: float) -> bool:
        plan, counted = self.plan, len(self.latencies)
        if plan.count:
            return counted >= plan.count
        return now - self._first >= plan.seconds and counted >= plan.least

    def lost(self, reason: Exception | None) -> None:
        super().lost(reason)
        if not self._stopped and not any(exchange.open for exchange in self.exchanges):
            self._stopped = True
            self.finished.set()


class _OpenLoop(_Load):
    """Requests are due at fixed times; waiting for a free connection counts as latency."""

    def __init__(self, plan: LoadPlan) -> None:
        super().__init__(plan)
        # First in, first out, because servers close connections that are idle for seconds.
        self._idle: deque[_Exchange] = deque()
        self._waiting: deque[float] = deque()
        self.sent_late = array("d")
        self._owed = 0
        self._measure_from = 0.0
        self._last = 0.0

    async def run(self) -> float:
        await self.connect()
        self._idle.extend(self.exchanges)
        loop = asyncio.get_running_loop()
        plan = self.plan
        due = _now() + 0.05 + intended_times(plan.rate, plan.warm_up_seconds + plan.seconds)
        self._owed = len(due)
        self._measure_from = float(due[0]) + plan.warm_up_seconds

        def tick() -> None:
            # In a thread: an event loop's timers resolve 1 ms, a sleeping thread 0.06 ms.
            for at in due.tolist():
                if (wait := at - _now()) > 0:
                    time.sleep(wait)
                loop.call_soon_threadsafe(self._due, at)

        thread = threading.Thread(target=tick, daemon=True)
        thread.start()
        try:
            async with asyncio.timeout(plan.warm_up_seconds + plan.seconds + plan.most_seconds):
                await self.finished.wait()
        except TimeoutError:
            self.errors += self._owed
            self.first_error = self.first_error or "not answered in time"
        thread.join()
        await self.drain()
        return len(self.latencies) / (self._last - self._measure_from) if self._last > self._measure_from else 0.0

    def _due(self, at: float) -> None:
        self.sent_late.append(_now() - at)
        if self._idle:
            self._idle.popleft().send(self.request(), at)
        else:
            self._waiting.append(at)

    def answered(self, exchange: _Exchange, response: bytes) -> None:
        now = _now()
        if self.is_good(response) and exchange.since >= self._measure_from:
            self.latencies.append(now - exchange.since)
            self._last = now
        self._settled()
        if not exchange.open:
            return
        if self._waiting:
            exchange.send(self.request(), self._waiting.popleft())
        else:
            self._idle.append(exchange)

    def lost(self, reason: Exception | None) -> None:
        super().lost(reason)
        self._settled()

    def _settled(self) -> None:
        self._owed -= 1
        if self._owed <= 0:
            self.finished.set()


async def _carry_out(plan: LoadPlan) -> LoadResult:
    started, processor = _now(), time.process_time()
    load = _OpenLoop(plan) if plan.rate else _ClosedLoop(plan)
    per_second = await load.run()
    late = load.sent_late if isinstance(load, _OpenLoop) else None
    return LoadResult(
        latencies=np.array(load.latencies, dtype=np.float64),
        per_second=per_second,
        errors=load.errors,
        first_error=load.first_error,
        answered=load.total,
        cpu_seconds=time.process_time() - processor,
        elapsed=_now() - started,
        sent_late_p99=percentile(late, 99) if late else None,
    )


def carry_out_plans(connection: "Connection[LoadResult, LoadPlan | None]", core: int | None) -> None:
    """Main function of the process: receives plans and sends results until it receives None."""
    if core is not None:
        os.sched_setaffinity(0, {core})
    gc.collect()
    gc.freeze()
    gc.disable()  # its garbage has no cycles, and a collection would count as the server's latency
    while (plan := connection.recv()) is not None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            connection.send(runner.run(_carry_out(plan)))
