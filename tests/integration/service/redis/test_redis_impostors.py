"""Whatever else may answer at the port: it is unavailable, and never believed."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from service.errors import OnlineStoreUnavailableError
from tests.integration.service.redis.commands import PING
from tests.integration.service.redis.conftest import Connect
from tests.servers.redis_servers import free_port


@asynccontextmanager
async def server_that(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):  # the other side hung up
            await answer(reader, writer)
        writer.close()

    port = free_port()
    async with await asyncio.start_server(serve, "127.0.0.1", port):
        yield f"redis://127.0.0.1:{port}"
    await asyncio.sleep(0.05)


_ECHO = b"$4\r\nECHO\r\n$16\r\n"


async def asked(reader: asyncio.StreamReader) -> bytes:
    """The number that proves the replies to the next transaction."""
    said = await reader.readuntil(b"EXEC\r\n")
    return said.rpartition(_ECHO)[2][:16]


def replies(proof: bytes, *answers: bytes) -> bytes:
    """What Redis says to a transaction."""
    queued = b"+OK\r\n" + b"+QUEUED\r\n" * (len(answers) + 1)
    return b"%b*%d\r\n%b$16\r\n%b\r\n" % (queued, len(answers) + 1, b"".join(answers), proof)


async def log_in(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(replies(await asked(reader)))


async def _in_single_bytes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await log_in(reader, writer)
    for byte in replies(await asked(reader), b"*2\r\n$5\r\nhe\r\no\r\n$-1\r\n", b"+OK\r\n"):
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.001)


async def test_a_reply_may_come_in_any_number_of_pieces(connect: Connect) -> None:
    async with server_that(_in_single_bytes) as url:
        assert [[b"he\r\no", None], b"OK"] == await connect(url).execute(PING * 2, 2)


async def test_a_server_that_is_slow_but_answers_is_not_given_up(connect: Connect) -> None:
    opened = 0

    async def ten_answers_a_second(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        await log_in(reader, writer)
        for number in range(9):
            await asyncio.sleep(0.1)
            writer.write(replies(await asked(reader), b":%d\r\n" % number))
            await writer.drain()

    async with server_that(ten_answers_a_second) as url:
        connection = connect(url, stall_seconds=0.3)
        waiting = [asyncio.create_task(connection.execute(PING, 1)) for _ in range(8)]
        await asyncio.sleep(0.55)

        assert [8] == await connection.execute(PING, 1)
        assert [[number] for number in range(8)] == await asyncio.gather(*waiting)
        assert 1 == opened


async def _like_a_web_server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(100)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")


async def _hangs_up_in_mid_reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await log_in(reader, writer)
    writer.write(replies(await asked(reader), b"$100\r\nhalf")[:50])


async def _hangs_up_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    pass


async def _refuses_unasked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"-DENIED Redis is running in protected mode\r\n")


async def _refuses_then_hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(100)
    writer.write(b"-ERR max number of clients reached\r\n")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (_refuses_then_hangs_up, {"ERR max number of clients"}),
        (_like_a_web_server, {"ProtocolError"}),
        (_hangs_up_in_mid_reply, {"ConnectionError"}),
        (_hangs_up_at_once, {"ConnectionError", "ConnectionResetError"}),
        (_refuses_unasked, {"DENIED"}),
    ],
)
async def test_a_server_that_answers_nonsense_is_unavailable(
    connect: Connect, caplog: pytest.LogCaptureFixture, answer: Any, reason: set[str]
) -> None:
    async with server_that(answer) as url:
        connection = connect(url)
        for _ in range(3):
            with pytest.raises(OnlineStoreUnavailableError):
                await connection.execute(PING * 3, 3)

    assert {f"online store unavailable: {code}" for code in reason} >= set(caplog.messages)


async def test_a_reply_that_nobody_asked_for_is_never_taken_for_an_answer(connect: Connect) -> None:
    opened = 0

    async def greets_then_echoes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        await log_in(reader, writer)
        writer.write(replies(await asked(reader), b"+mine\r\n") + (b"+stray\r\n" if opened == 1 else b""))
        writer.write(replies(await asked(reader), b"+mine\r\n"))

    async with server_that(greets_then_echoes) as url:
        connection = connect(url)
        answers = []
        for _ in range(3):
            answers += await connection.execute(PING, 1)
            await asyncio.sleep(0.02)
        await connection.close()

    assert [b"mine"] * 3 == answers
    assert 2 == opened


async def test_a_reply_without_end_is_hung_up_on_before_it_fills_the_memory(connect: Connect) -> None:
    sent = 0

    async def floods(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.read(100)
        writer.write(b"$500000000\r\n")
        with suppress(ConnectionError):
            while sent < 500_000_000:
                writer.write(bytes(1_000_000))
                sent += 1_000_000
                await writer.drain()

    async with server_that(floods) as url:
        with pytest.raises(OnlineStoreUnavailableError):
            await connect(url).execute(PING, 1)

    assert 16_000_000 < sent < 50_000_000


_HUGE = [b"*2147483647\r\n", b"%2147483647\r\n", b"~2147483647\r\n", b">2147483647\r\n", b"|2147483647\r\n"]
_NO_REPLY = [
    *_HUGE,
    *(b"+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n*3\r\n" + huge for huge in _HUGE),
    b"$2147483647\r\n",
    b"*1\r\n" * 100_000,
    b"%1\r\n*1\r\n+a\r\n+b\r\n",
    b"(" + b"9" * 100_000 + b"\r\n",
    b"=7\r\ntxt:abc\r\n",
    b",nan\r\n",
    b"#t\r\n",
    b"_\r\n",
    b"*?\r\n",
    b"$-7\r\n",
]


@pytest.mark.parametrize(
    ("reply", "when"),
    [*((reply, "later") for reply in _NO_REPLY), (_HUGE[0], "at login"), (_HUGE[0], "unasked")],
    ids=range(len(_NO_REPLY) + 2),
)
async def test_a_huge_length_is_refused_before_memory_is_set_aside_for_it(
    connect: Connect, reply: bytes, when: str
) -> None:
    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if when != "unasked":
            proof = await asked(reader)
            writer.write(replies(proof) if when == "later" else b"")
        if when == "later":
            await asked(reader)
        writer.write(reply)
        await reader.read()

    async with server_that(answers) as url:
        connection = connect(url)
        started = time.process_time()
        with pytest.raises((OnlineStoreUnavailableError, TimeoutError)):
            async with asyncio.timeout(0.5):  # a text that never ends is waited for
                await connection.execute(PING, 1)
        await connection.close()

    assert time.process_time() - started < 2


async def test_a_closed_port_is_unavailable_at_once(connect: Connect) -> None:
    connection = connect(f"redis://127.0.0.1:{free_port()}")

    started = time.monotonic()
    answers = await asyncio.gather(*(connection.execute(PING, 1) for _ in range(50)), return_exceptions=True)

    assert {OnlineStoreUnavailableError} == {type(answer) for answer in answers}
    assert time.monotonic() - started < 1
