"""Run in a network and mounts of its own: a resolver that drops queries, then answers; Redis is there all the time."""

import asyncio
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import uvloop

from artefacts.redis_address import RedisAddress
from service.errors import OnlineStoreUnavailableError
from service.features.compiled.connection import RedisConnection
from service.features.compiled.pipe import pack

answering = threading.Event()


def resolver() -> None:
    """Answers every question for an IPv4 address with 127.0.0.1, others with nothing; or drops it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 53))
        while True:
            query, client = server.recvfrom(512)
            if not answering.is_set():
                continue
            question = query[12:]
            (kind,) = struct.unpack_from(">H", question, question.index(b"\x00") + 1)
            question = question[: question.index(b"\x00") + 5]
            known = kind == 1
            head = query[:2] + struct.pack(">HHHHH", 0x8180, 1, int(known), 0, 0)
            answer = struct.pack(">HHHIH", 0xC00C, 1, 1, 0, 4) + socket.inet_aton("127.0.0.1") if known else b""
            server.sendto(head + question + answer, client)


async def recovers(url: str, dropping_seconds: float) -> float:
    """Ask all the time, as the breaker's probes do; seconds from the resolver's first answer to Redis' first."""
    connection = RedisConnection(RedisAddress.of(url), 0.2, 0.25)
    failed, ends = 0, time.monotonic() + dropping_seconds
    while True:
        if time.monotonic() > ends and not answering.is_set():
            assert failed > 3
            answering.set()
            ends = time.monotonic()
        try:
            await connection.execute(pack(b"PING"), 1)
        except OnlineStoreUnavailableError:
            failed += 1
            await asyncio.sleep(0.1)
            continue
        await connection.close()
        return time.monotonic() - ends


def main(valkey: str, folder: Path) -> None:
    """Print the seconds."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    (folder / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    subprocess.run(["mount", "--bind", str(folder / "resolv.conf"), "/etc/resolv.conf"], check=True)
    threading.Thread(target=resolver, daemon=True).start()
    with subprocess.Popen([valkey, "--port", "7001", "--dir", str(folder)], stdout=subprocess.DEVNULL) as server:
        try:
            print(uvloop.run(recovers("redis://redis.example:7001", 6.0)))
        finally:
            server.kill()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
