"""Commands that show who is answered, and by what."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from service.errors import OnlineStoreUnavailableError
from service.features.compiled.connection import RedisConnection
from service.features.compiled.pipe import pack
from tests.servers.redis_servers import RunningServer

PING = pack(b"PING")


def echoes(*words: str) -> tuple[bytes, int]:
    return b"".join(pack(b"ECHO", word.encode()) for word in words), len(words)


async def said(connection: RedisConnection, *words: str) -> bool:
    """True if the server repeats these words to this caller."""
    return [word.encode() for word in words] == await connection.execute(*echoes(*words))


async def client_id(connection: RedisConnection) -> int:
    (number,) = await connection.execute(pack(b"CLIENT", b"ID"), 1)
    return int(number)


def clients(server: RunningServer) -> int:
    """Connections that the server has, besides the one that asks."""
    return len(server.command("CLIENT LIST")) - 1


async def eventually(holds: Callable[[], bool], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def eventually_answered(connection: RedisConnection, command: bytes, seconds: float = 20.0) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        try:
            return (await connection.execute(command, 1))[0]
        except OnlineStoreUnavailableError:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
