"""Connections without sockets: bytes in, bytes out, and an application that keeps what it was asked."""

import asyncio
from collections.abc import Iterable

import uvicorn
from uvicorn.server import ServerState

from service.api.connection_limits import BoundedHttpProtocol
from service.api.exchange import ClientGoneError, read_body, send_bytes
from service.asgi import Receive, Scope, Send

Asked = tuple[str, str, bytes]
"""Method, target and body of a request that the application has read whole."""


class Wire(asyncio.Transport):
    """A connection that keeps what the server says."""

    def __init__(self) -> None:
        super().__init__()
        self.said = b""
        self.closed = asyncio.Event()
        self.paused = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closed.is_set(), "it is closed, and says more"
        self.said += bytes(data)

    def close(self) -> None:
        self.closed.set()

    def is_closing(self) -> bool:
        return self.closed.is_set()

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class Recorder:
    """An application that answers what it was asked; without waiting for the body, where the path says so."""

    def __init__(self) -> None:
        self.begun = 0
        self.asked: list[Asked] = []
        self.headers: list[list[tuple[bytes, bytes]]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begun += 1
        self.headers.append(scope["headers"])
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        target = (scope["raw_path"] + query).decode()
        body = b""
        if not target.startswith("/early"):
            try:
                body = await read_body(receive, 5, 10_000_000)
            except ClientGoneError:
                return
        self.asked.append((scope["method"], target, body))
        await send_bytes(send, 200, target.encode(), b"text/plain", [])


class Connection:
    """One connection to a recorder."""

    def __init__(self, keep_alive_seconds: float = 60) -> None:
        self.recorder, self.wire = Recorder(), Wire()
        config = uvicorn.Config(self.recorder, lifespan="off", log_config=None)
        config.timeout_keep_alive = keep_alive_seconds  # type: ignore[assignment]  # it is only ever handed to a timer
        config.load()
        self.state = ServerState()
        self.protocol = BoundedHttpProtocol(config, self.state, {}, asyncio.get_running_loop())
        self.protocol.connection_made(self.wire)

    async def sends(self, pieces: Iterable[bytes], turns: int = 1) -> None:
        """These, one after the other, with so many turns of the event loop between two; then let all be answered."""
        for piece in pieces:
            if self.wire.is_closing():
                break
            self.protocol.data_received(piece)
            for _ in range(turns):
                await asyncio.sleep(0)
        await self._settle()

    async def _settle(self) -> None:
        """Until nothing more comes of it."""
        still, seen = 0, b""
        while still < 6 and any(not task.done() for task in self.state.tasks):
            await asyncio.sleep(0)
            still = still + 1 if seen == self.wire.said else 0
            seen = self.wire.said

    def end(self) -> None:
        """Leave no timer and no task behind."""
        self.protocol.connection_lost(None)

    @property
    def statuses(self) -> list[int]:
        """Of all answers, in order; 100 among them."""
        return [int(line[:3]) for line in self.wire.said.split(b"HTTP/1.1 ")[1:]]
