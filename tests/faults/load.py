"""A load of constant rate on a running service, and everything that came of it."""

import asyncio
import gc
import itertools
import json
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from tests.faults.machine import Heartbeat

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
NO_ANSWER = "closed before an answer"
ANSWER_SECONDS = 10.0
"""After which an answer is given up; far beyond anything promised."""
_IDLE_SECONDS = 2.0  # the server closes a connection that was idle for 5 s; one that it is about to close is not used
_BATCH_EVERY, _BATCH_ROWS = 10, 10


@dataclass(frozen=True)
class Exchange:
    """One request and what came of it.

    asked: the customer ids.
    started, ended: monotonic seconds, from the first byte written to the last one read.
    status: None if no whole answer came; `failure` then says why.
    """

    path: str
    asked: tuple[str, ...]
    request_id: str
    started: float
    ended: float
    status: int | None
    headers: Mapping[str, str]
    body: Any
    failure: str = ""

    @property
    def code(self) -> str | None:
        """The error's code, if the answer is an error in the designed form."""
        error = self.body.get("error") if isinstance(self.body, dict) else None
        return error.get("code") if isinstance(error, dict) else None


class Load:
    """Asks for customers in turn, so many times a second whatever the answers do, while the block lasts.

    Every tenth request is a batch. As many keep-alive connections are opened as the answers' slowness demands.
    It runs in a thread of its own.

    Args:
        port: of the service on loopback.
        customers: who is asked for, over and over.
        processes: the ids of those that the answers depend on; what they lost to the machine is noted.
    """

    def __init__(
        self,
        port: int,
        customers: Sequence[str],
        per_second: float = 50,
        processes: Callable[[], Sequence[int]] = tuple,
    ) -> None:
        self._port = port
        self._customers = customers
        self._per_second = per_second
        self.exchanges: list[Exchange] = []
        self._heartbeat = Heartbeat(processes)
        self._idle: deque[tuple[*Connection, float]] = deque()
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> Self:
        gc.collect()
        gc.disable()  # scanning a whole test session's heap would hold up the client, and look like a slow server
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join(timeout=2 * ANSWER_SECONDS)
        gc.enable()
        assert not self._thread.is_alive(), "the load did not end"

    def lost(self, exchange: Exchange) -> float:
        """Seconds that an exchange lost to the machine: see `Heartbeat.lost`."""
        return self._heartbeat.lost(exchange.started, exchange.ended)

    async def _run(self) -> None:
        asking: set[asyncio.Task[None]] = set()
        heartbeat = asyncio.create_task(self._heartbeat.beat())
        loop = asyncio.get_running_loop()
        begin = loop.time()
        for number in itertools.count():
            await asyncio.sleep(begin + number / self._per_second - loop.time())
            if self._over.is_set():
                break
            task = asyncio.create_task(self._ask(number))
            asking.add(task)
            task.add_done_callback(asking.discard)
        await asyncio.gather(*asking)
        heartbeat.cancel()
        for _, writer, _ in self._idle:
            writer.transport.abort()

    async def _ask(self, number: int) -> None:
        customers = itertools.islice(itertools.cycle(self._customers), number % len(self._customers), None)
        if number % _BATCH_EVERY:
            path, asked = "/predict", tuple(itertools.islice(customers, 1))
            body: dict[str, object] = {"customer_id": asked[0]}
        else:
            path, asked = "/predict_batch", tuple(itertools.islice(customers, _BATCH_ROWS))
            body = {"customer_ids": asked}
        self.exchanges.append(await exchange(self._connection, path, asked, body, f"load-{number}", self._give_back))

    def _give_back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._idle.append((reader, writer, time.monotonic()))

    async def _connection(self) -> Connection:
        while self._idle:
            reader, writer, since = self._idle.popleft()
            if time.monotonic() - since < _IDLE_SECONDS and not reader.at_eof():
                return reader, writer
            writer.transport.abort()
        return await asyncio.open_connection("127.0.0.1", self._port)


def at_once(port: int, asked: Sequence[Sequence[str]]) -> list[Exchange]:
    """As many requests at the same moment, each on a connection of its own; a batch where several are asked for."""

    async def ask() -> list[Exchange]:
        connections = [await asyncio.open_connection("127.0.0.1", port) for _ in asked]

        async def one(number: int) -> Exchange:
            async def connection() -> Connection:
                return connections[number]

            customers, request_id = tuple(asked[number]), f"at-once-{number}"
            if len(customers) == 1:
                return await exchange(connection, "/predict", customers, {"customer_id": customers[0]}, request_id)
            return await exchange(connection, "/predict_batch", customers, {"customer_ids": customers}, request_id)

        return await asyncio.gather(*map(one, range(len(asked))))

    return asyncio.run(ask())


async def exchange(
    connect: Callable[[], Awaitable[Connection]],
    path: str,
    asked: tuple[str, ...],
    body: Mapping[str, object],
    request_id: str,
    give_back: Callable[..., None] | None = None,
) -> Exchange:
    """Ask and note what comes; the connection is closed unless it can be given back."""
    status, headers, answer, failure = None, dict[str, str](), None, ""
    writer = None
    data = json.dumps(body).encode()
    started = time.monotonic()
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await connect()
            writer.write(request_bytes(path, data, request_id))
            status, headers, raw = await read_answer(reader)
            answer = json.loads(raw)
    except (OSError, EOFError, ValueError) as error:  # TimeoutError is an OSError
        failure = str(error) if isinstance(error, EOFError) else type(error).__name__
    ended = time.monotonic()
    if writer is not None and give_back is not None and status is not None and headers.get("connection") != "close":
        give_back(reader, writer)
    elif writer is not None:
        writer.transport.abort()
    return Exchange(path, asked, request_id, started, ended, status, headers, answer, failure)


def request_bytes(path: str, body: bytes, request_id: str = "") -> bytes:
    """A whole POST request."""
    given = f"X-Request-ID: {request_id}\r\n" if request_id else ""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n{given}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (lower-case names) and body.

    Raises:
        EOFError: the connection ended before the answer did; the message is `NO_ANSWER` if before it began.
    """
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except asyncio.IncompleteReadError as error:
        raise EOFError("half an answer" if error.partial else NO_ANSWER) from None
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    try:
        return int(head[0].split()[1]), headers, await reader.readexactly(int(headers["content-length"]))
    except asyncio.IncompleteReadError:
        raise EOFError("half an answer") from None
