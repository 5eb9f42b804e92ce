"""A TCP proxy on loopback that delays, throttles, cuts, swallows and mixes up what passes through it."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

from service.features.compiled.reply_stream import whole_replies

_POLL_SECONDS = 0.005
_SLICE = 64  # bytes written at once while throttled


Mixing = Literal["double", "drop", "push", "swap"]


@dataclass
class TcpProxy:
    """What it does to traffic may be changed while connections are open.

    delay_seconds: added to every chunk, each way; order is kept.
    bytes_per_second: of replies; None: as fast as they come.
    silent: connections are taken and nothing ever comes back; what is held comes when it ends.
    cut_every: every so many chunks of replies, half of one is passed on and the connection closed; 0: never.
    scramble: replies become bytes that are no protocol.
    mixing: what is done to a reply of Redis: it comes twice, not at all, after a `+OK`, or after the next one.
    mix_every, mix_most: which replies, by their number, and to how many of them at most.
    """

    upstream: int
    port: int = 0
    delay_seconds: float = 0.0
    bytes_per_second: float | None = None
    silent: bool = False
    cut_every: int = 0
    scramble: bool = False
    mixing: Mixing | None = None
    mix_every: int = 1
    mix_most: int = 0
    cuts: int = 0
    mixed: int = 0
    _replies: int = 0
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    def heal(self) -> None:
        """Pass everything on from now on, at once and unchanged."""
        self.delay_seconds, self.bytes_per_second, self.silent = 0.0, None, False
        self.cut_every, self.scramble, self.mixing = 0, False, None

    async def serve(self, listening: threading.Event, over: threading.Event) -> None:
        server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        listening.set()
        while not over.is_set():
            await asyncio.sleep(_POLL_SECONDS)
        server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.upstream)
        except OSError:
            writer.transport.abort()
            return
        pair = {writer, up_writer}
        self._writers |= pair
        with suppress(OSError):
            await asyncio.wait(
                [
                    asyncio.create_task(self._pass_on(reader, up_writer, replies=False)),
                    asyncio.create_task(self._pass_on(up_reader, writer, replies=True)),
                ],
                return_when=asyncio.FIRST_COMPLETED,
            )
        for each in pair:
            each.close()
        self._writers -= pair

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, replies: bool) -> None:
        held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def write() -> None:
            while True:
                due, data = await held.get()
                # The delay is looked at again and again, so that it ends for what is held when it is lifted.
                while self.silent or time.monotonic() < due + self.delay_seconds:
                    await asyncio.sleep(_POLL_SECONDS)
                if not await self._write(sink, data, replies):
                    return

        writing = asyncio.create_task(write())
        reading = asyncio.create_task(self._read(source, held))
        await asyncio.wait([writing, reading], return_when=asyncio.FIRST_COMPLETED)
        for task in (writing, reading):
            task.cancel()

    async def _read(self, source: asyncio.StreamReader, held: "asyncio.Queue[tuple[float, bytes]]") -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                held.put_nowait((time.monotonic(), data))

    def _mixed(self, replies: list[bytes], mixing: Mixing) -> Iterator[bytes]:
        held = b""
        for reply in replies:
            self._replies += 1
            if self.mixed >= self.mix_most or self._replies % self.mix_every:
                yield reply + held
                held = b""
                continue
            self.mixed += 1
            match mixing:
                case "double":
                    yield reply * 2
                case "push":
                    yield b"+OK\r\n" + reply
                case "swap":
                    held = reply
                case "drop":
                    pass
        yield held

    async def _write(self, sink: asyncio.StreamWriter, data: bytes, replies: bool) -> bool:
        """False if the connection is to end now."""
        if replies and self.scramble:
            data = b"HTTP/1.1 418 I'm a teapot\r\n\r\n"
        if replies and self.mixing is not None and whole_replies(data) == len(data):
            data = b"".join(self._mixed(list(_cut(data)), self.mixing))
        if replies and self.cut_every:
            self._replies += 1
            if self._replies % self.cut_every == 0:
                sink.write(data[: len(data) // 2])
                self.cuts += 1
                return False
        if not (replies and self.bytes_per_second):
            sink.write(data)
            return not sink.is_closing()
        for start in range(0, len(data), _SLICE):
            sink.write(data[start : start + _SLICE])
            rate = self.bytes_per_second
            await asyncio.sleep(_SLICE / rate if rate else 0)
        return not sink.is_closing()


def _cut(data: bytes) -> Iterator[bytes]:
    """The replies one by one."""
    start = 0
    for end in range(3, len(data) + 1):
        if data[end - 2 : end] == b"\r\n" and whole_replies(data[start:end]) == end - start:
            yield data[start:end]
            start = end


@contextmanager
def tcp_proxy(upstream: int) -> Iterator[TcpProxy]:
    """A proxy before a port of loopback, in a thread of its own, as long as the block lasts."""
    proxy, listening, over = TcpProxy(upstream), threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(proxy.serve(listening, over)), daemon=True)
    thread.start()
    assert listening.wait(timeout=10)
    try:
        yield proxy
    finally:
        over.set()
        thread.join(timeout=10)
