"""How long a connection lives: idle ones as long as the setting says, what has begun a few seconds."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

import service.api.connection_limits as http_limits
from tests.unit.service.api.connections import Connection

ASK = b"POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
EARLY = b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n"
BEGUN = [
    b"\r",
    b"P",
    b"POST /next HTTP/1.1\r\nHost: a\r\n",
    ASK.replace(b"Host", b"Upgrade: a\r\nConnection: upgrade\r\nHost")[:50],
]
HEAD_SECONDS = 0.1


@pytest.fixture(autouse=True)
def _short_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_limits, "HEAD_SECONDS", HEAD_SECONDS)


@pytest.fixture
async def open_connection() -> AsyncIterator[Callable[..., Connection]]:
    opened: list[Connection] = []

    def opening(keep_alive_seconds: float = 3600) -> Connection:
        opened.append(Connection(keep_alive_seconds))
        return opened[-1]

    yield opening
    for connection in opened:
        connection.end()


async def closes(connection: Connection) -> None:
    await asyncio.wait_for(connection.wire.closed.wait(), 10)


async def stays(connection: Connection) -> None:
    await asyncio.sleep(3 * HEAD_SECONDS)
    assert not connection.wire.is_closing()


@pytest.mark.parametrize("asked", [[ASK], [ASK, ASK], [ASK[:9], ASK[9:]], [EARLY + b"abc"], [EARLY, b"a", b"bc"]])
async def test_an_idle_connection_is_kept_for_longer_than_a_head(
    open_connection: Callable[..., Connection], asked: list[bytes]
) -> None:
    connection = open_connection()
    await connection.sends(asked)
    await stays(connection)

    await connection.sends([ASK])

    assert {200} == set(connection.statuses)
    assert not connection.wire.is_closing()


@pytest.mark.parametrize("asked", [[ASK], [EARLY, b"abc"], [EARLY + b"abc"]])
async def test_an_idle_connection_is_closed_in_the_end(
    open_connection: Callable[..., Connection], asked: list[bytes]
) -> None:
    connection = open_connection(keep_alive_seconds=0.01)
    await connection.sends(asked)

    await closes(connection)


@pytest.mark.parametrize("begun", BEGUN)
async def test_a_head_that_has_begun_has_no_longer_for_that(
    open_connection: Callable[..., Connection], begun: bytes
) -> None:
    fresh, kept, at_once = open_connection(), open_connection(), open_connection()

    await fresh.sends([begun])
    await kept.sends([ASK, begun])
    await at_once.sends([ASK + begun])

    for connection in (fresh, kept):
        await closes(connection)
    if begun.strip():  # an empty line in the piece of a request belongs to that
        await closes(at_once)


async def test_a_head_behind_a_request_that_takes_long_has_its_time_from_then(
    open_connection: Callable[..., Connection],
) -> None:
    connection = open_connection()
    connection.protocol.data_received(ASK[:-1])
    await stays(connection)

    await connection.sends([ASK[-1:] + BEGUN[2]])

    assert [200] == connection.statuses
    await closes(connection)


async def test_the_time_of_a_head_begins_with_its_first_byte(open_connection: Callable[..., Connection]) -> None:
    connection = open_connection()
    await asyncio.sleep(0.6 * HEAD_SECONDS)
    connection.protocol.data_received(ASK[:9])

    assert connection.protocol.timeout_keep_alive_task is None, "the time since it was opened counts on"
    await closes(connection)


async def test_the_rest_of_a_body_that_is_answered_already_has_no_longer_either(
    open_connection: Callable[..., Connection],
) -> None:
    connection = open_connection()

    await connection.sends([EARLY, b"a"])

    await closes(connection)
    assert [200] == connection.statuses


async def test_a_connection_that_sends_nothing_at_all_is_closed(open_connection: Callable[..., Connection]) -> None:
    await closes(open_connection())


async def test_idle_connections_are_closed_at_once_when_the_process_ends(
    open_connection: Callable[..., Connection],
) -> None:
    idle, fresh, begun = open_connection(), open_connection(), open_connection()
    await idle.sends([ASK])
    begun.protocol.data_received(BEGUN[2])

    for connection in (idle, fresh, begun):
        connection.protocol.shutdown()

        assert connection.wire.is_closing()
