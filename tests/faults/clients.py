"""Clients that misbehave, each on a connection of its own."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from threading import Thread

from tests.faults.load import read_answer, request_bytes

BODY = b'{"customer_id": "00042"}'
WHOLE = request_bytes("/predict", BODY)
HEAD = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
LONG_BODY = HEAD + b"Content-Length: 2000000\r\n\r\n"
PATIENCE_SECONDS = 20.0

Client = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[object]]


def run_beside(port: int, clients: Iterable[Client], at_a_time: int, seconds: float) -> list[object]:
    """Let so many clients at a time, each on a connection of its own, do their worst; what each came to."""
    came: list[object] = []

    async def one_after_another(waiting: "itertools.cycle[Client]", until: float) -> None:
        while time.monotonic() < until:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    came.append(await next(waiting)(reader, writer))
            except (OSError, EOFError) as error:
                came.append(type(error).__name__)
            finally:
                writer.transport.abort()

    async def all_of_them() -> None:
        waiting, until = itertools.cycle(clients), time.monotonic() + seconds
        await asyncio.gather(*(one_after_another(waiting, until) for _ in range(at_a_time)))

    thread = Thread(target=lambda: asyncio.run(all_of_them()))
    thread.start()
    thread.join(timeout=seconds + 30)
    assert not thread.is_alive()
    return came


def sends(data: bytes) -> Client:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        writer.write(data)
        status, _, _ = await read_answer(reader)
        return status

    return client


def dribbles(at_once: bytes, slowly: bytes) -> Client:
    """Sends a beginning, and then a byte every half second until the connection is closed; what it was told by then."""

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        async def listen() -> bytes:
            told = b""
            with suppress(OSError):
                told = await reader.readline()
                await reader.read()
            return told.strip()

        listening = asyncio.create_task(listen())
        writer.write(at_once)
        for byte in itertools.cycle(slowly):
            await asyncio.wait([listening], timeout=0.5)
            if listening.done():
                break
            writer.write(bytes([byte]))
        return await listening

    return client


def floods(data: bytes) -> Client:
    """Sends without listening, so that an answer may be lost to the reset that comes with it."""

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        writer.write(data)
        await writer.drain()
        status, _, _ = await read_answer(reader)
        return status

    return client


def hangs_up_after(data: bytes, pause: float) -> Client:
    async def client(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        writer.write(data)
        await asyncio.sleep(pause)
        return "hung up"

    return client
