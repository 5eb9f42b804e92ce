"""What a client may do before its request is there, without sockets: bytes in, bytes out."""

import asyncio
from collections.abc import Callable

import pytest
import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol
from uvicorn.server import ServerState

import service.api.connection_limits as http_limits
from service.api.connection_limits import MAX_HEAD_BYTES, BoundedHttpProtocol
from service.api.exchange import read_body, send_bytes
from service.asgi import Receive, Scope, Send
from tests.unit.service.api.connections import Wire

REQUEST = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
PIECE = b"a" * 16_384


Connect = Callable[..., tuple[BoundedHttpProtocol, Wire]]


@pytest.fixture(autouse=True)
def _short_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_limits, "LINGER_SECONDS", 0.01)


@pytest.fixture
def connect() -> Connect:
    """A connection to an application that says how long the body was, once it may answer."""

    def connected(
        keep_alive_seconds: float = 60, may_answer: asyncio.Event | None = None
    ) -> tuple[BoundedHttpProtocol, Wire]:
        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            body = await read_body(receive, 5, 10_000_000)
            if may_answer is not None:
                await may_answer.wait()
            await send_bytes(send, 200, b"%d" % len(body), b"text/plain", [])

        config = uvicorn.Config(application, lifespan="off", ws="none", log_config=None)
        config.timeout_keep_alive = keep_alive_seconds  # type: ignore[assignment]  # it is only ever handed to a timer
        config.load()
        protocol, wire = BoundedHttpProtocol(config, ServerState(), {}, asyncio.get_running_loop()), Wire()
        protocol.connection_made(wire)
        return protocol, wire

    return connected


async def test_a_header_without_end_is_refused(connect: Connect) -> None:
    protocol, wire = connect()

    protocol.data_received(b"POST /predict HTTP/1.1\r\nX-Large: ")
    for _ in range(MAX_HEAD_BYTES // len(PIECE)):
        protocol.data_received(PIECE)
    assert b"" == wire.said
    protocol.data_received(PIECE)

    await refused(wire)


async def test_headers_without_end_are_refused(connect: Connect) -> None:
    protocol, wire = connect()

    protocol.data_received(b"POST /predict HTTP/1.1\r\n")
    for _ in range(2 * MAX_HEAD_BYTES // 1000):
        protocol.data_received(b"X-Header: value\r\n" * 60)

    await refused(wire)


def head_of(length: int) -> bytes:
    """A head without a body; the URL and its headers make up so many bytes."""
    counted = b"/predictHost: a\r\nX-Large: \r\n"
    return b"GET /predict HTTP/1.1\r\nHost: a\r\nX-Large: " + b"a" * (length - len(counted)) + b"\r\n\r\n"


async def test_a_head_at_the_limit_is_taken_in_one_piece_or_two(connect: Connect) -> None:
    head = head_of(MAX_HEAD_BYTES)
    for pieces in ([head], [head[:30_000], head[30_000:]]):
        protocol, wire = connect()
        for piece in pieces:
            protocol.data_received(piece)

        await until(lambda wire=wire: wire.said.endswith(b"\r\n\r\n0"))  # type: ignore[misc]


LONG_URL = b"GET /" + b"a" * MAX_HEAD_BYTES + b" HTTP/1.1\r\nHost: a\r\n\r\n"
LARGE_WITH_BODY = b"POST / HTTP/1.1\r\nX-Large: " + b"a" * 140_000 + b"\r\nContent-Length: 3\r\n\r\nabc"


@pytest.mark.parametrize("sent", [head_of(MAX_HEAD_BYTES + 1), LONG_URL, LARGE_WITH_BODY, LARGE_WITH_BODY * 2])
async def test_a_head_over_the_limit_in_one_piece_is_refused_before_the_application_starts(
    connect: Connect, sent: bytes
) -> None:
    protocol, wire = connect()

    protocol.data_received(sent)
    protocol.data_received(REQUEST % 3 + b"abc")

    assert set() == protocol.tasks
    await refused(wire)


async def test_trailers_count_too(connect: Connect) -> None:
    protocol, wire = connect()
    chunked = b"POST /predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n"

    protocol.data_received(chunked + b"X-Large: " + b"a" * MAX_HEAD_BYTES + b"\r\n\r\n")

    await asyncio.wait(protocol.tasks, timeout=5)
    await refused(wire)


async def test_a_request_before_one_that_is_refused_is_answered(connect: Connect) -> None:
    """A 431 in between would be taken for its answer."""
    may_answer = asyncio.Event()
    protocol, wire = connect(may_answer=may_answer)

    protocol.data_received(REQUEST % 3 + b"abc" + head_of(MAX_HEAD_BYTES + 1))
    assert b"" == wire.said
    may_answer.set()

    await asyncio.wait_for(wire.closed.wait(), 5)
    assert wire.said.startswith(b"HTTP/1.1 200 ")
    assert wire.said.endswith(b"\r\n\r\n3")


async def test_a_client_that_is_still_sending_can_read_the_refusal(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_limits, "LINGER_SECONDS", 60)
    protocol, wire = connect()

    protocol.data_received(head_of(MAX_HEAD_BYTES + 1))

    assert wire.said.startswith(b"HTTP/1.1 431 ")
    assert wire.paused
    assert not wire.closed.is_set()


async def test_a_body_is_no_head_however_it_is_cut(connect: Connect) -> None:
    protocol, wire = connect()
    body = PIECE * 20

    for _ in range(2):
        protocol.data_received(REQUEST % len(body) + body)
        await until(lambda: wire.said.endswith(b"\r\n\r\n%d" % len(body)))
        wire.said = b""
    for start in range(0, len(body), 1000):
        protocol.data_received((REQUEST % len(body) if not start else b"") + body[start : start + 1000])
        await asyncio.sleep(0)
    await until(lambda: wire.said.endswith(b"\r\n\r\n%d" % len(body)))

    assert not wire.closed.is_set()


@pytest.mark.parametrize("begun", [b"", b"\r\n", b"POST /predict HT", REQUEST[:-2] % 3])
async def test_a_connection_that_sends_no_whole_head_is_closed(connect: Connect, begun: bytes) -> None:
    protocol, wire = connect(keep_alive_seconds=0.01)

    if begun:
        protocol.data_received(begun)

    await asyncio.wait_for(wire.closed.wait(), 5)
    assert b"" == wire.said


async def test_a_request_that_is_being_answered_is_not_closed(connect: Connect) -> None:
    may_answer = asyncio.Event()
    protocol, wire = connect(keep_alive_seconds=0.01, may_answer=may_answer)

    protocol.data_received(REQUEST % 3 + b"abc")
    await asyncio.sleep(0.05)
    assert not wire.closed.is_set()
    may_answer.set()

    await asyncio.wait_for(wire.closed.wait(), 5)
    assert wire.said.endswith(b"\r\n\r\n3")


async def test_what_follows_an_answer_must_become_a_request_in_time(connect: Connect) -> None:
    """The timer that uvicorn has for idle connections is stopped by any byte."""
    protocol, wire = connect(keep_alive_seconds=0.05)
    protocol.data_received(REQUEST % 3 + b"abc")
    await until(lambda: wire.said != b"")

    async def dribble() -> None:
        while not wire.closed.is_set():
            protocol.data_received(b"\r\n")
            await asyncio.sleep(0.005)

    await asyncio.wait_for(dribble(), 5)


async def test_a_client_that_asked_again_and_hung_up_is_not_written_to(connect: Connect) -> None:
    """The request that is being answered is not the one that came last."""
    may_answer = asyncio.Event()
    protocol, wire = connect(may_answer=may_answer)
    protocol.data_received((REQUEST % 3 + b"abc") * 3)
    tasks = set(protocol.tasks)

    protocol.connection_lost(None)
    may_answer.set()
    await asyncio.wait_for(asyncio.gather(*tasks), 5)

    assert 1 == len(tasks)
    assert b"" == wire.said


def test_uvicorn_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uvicorn.protocols.http.auto.AutoHTTPProtocol", AutoHTTPProtocol)  # put back afterwards

    http_limits.bound_request_heads()
    config = uvicorn.Config(lambda: None, lifespan="off", ws="none", log_config=None)
    config.load()

    assert config.http_protocol_class is BoundedHttpProtocol

    http_limits.bound_request_heads(keep_alive_seconds=75)
    config = uvicorn.Config(lambda: None, lifespan="off", ws="none", log_config=None)
    config.load()
    protocol: type[BoundedHttpProtocol] = config.http_protocol_class  # type: ignore[assignment]  # as just said

    assert issubclass(protocol, BoundedHttpProtocol)
    with asyncio.Runner() as runner:
        assert 75 == protocol(config, ServerState(), {}, runner.get_loop()).timeout_keep_alive
    assert BoundedHttpProtocol.keep_alive_seconds is None


async def refused(wire: Wire) -> None:
    """Told once, and closed."""
    await asyncio.wait_for(wire.closed.wait(), 5)
    assert http_limits._TOO_LARGE == wire.said


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0)
