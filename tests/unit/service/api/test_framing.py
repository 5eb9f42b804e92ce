"""Where a request ends: what a proxy could read otherwise is refused, and nothing after it is read as a request."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.unit.service.api.connections import Connection

HOST = b"Host: a\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
SMUGGLED = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nevil"
UPGRADE = b"Connection: Upgrade\r\nUpgrade: %s\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def post(*headers: bytes, body: bytes = b"abc", version: bytes = b"1.1") -> bytes:
    return b"POST /first HTTP/%s\r\n%s%s\r\n%s" % (version, HOST, b"".join(headers), body)


def length(of: bytes) -> bytes:
    return b"Content-Length: %d\r\n" % len(of)


def chunks(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (*parts, b""))


@pytest.fixture
async def connection() -> AsyncIterator[Connection]:
    opened = Connection()
    yield opened
    opened.end()


OFFERS = [
    UPGRADE % b"foo",
    UPGRADE % b"websocket" + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n",
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n",
    b"Upgrade: foo\r\nUpgrade: bar\r\nconnection: keep-alive\r\nCONNECTION: keep-alive , uPGRADE\r\n",
]


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize(
    ("framing", "sent", "read"),
    [
        (length(SMUGGLED), SMUGGLED, SMUGGLED),
        (CHUNKED, chunks(SMUGGLED, b"x" * 70_000), SMUGGLED + b"x" * 70_000),
        (b"", b"", b""),
    ],
)
@pytest.mark.parametrize("in_pieces", [False, True])
async def test_an_upgrade_is_not_taken_and_its_body_is_a_body(
    connection: Connection, offer: bytes, framing: bytes, sent: bytes, read: bytes, in_pieces: bool
) -> None:
    head = post(offer, framing, body=b"")

    await connection.sends([head, sent[:1], sent[1:], NEXT] if in_pieces else [head + sent + NEXT])

    assert [("POST", "/first", read), ("GET", "/next", b"")] == connection.recorder.asked
    assert [200, 200] == connection.statuses
    assert not connection.wire.is_closing()


@pytest.mark.parametrize("offer", OFFERS)
async def test_an_upgrade_cut_anywhere_is_one_request(offer: bytes) -> None:
    whole = post(offer, length(SMUGGLED), body=SMUGGLED) + NEXT
    for at in range(1, len(whole)):
        connection = Connection()
        await connection.sends([whole[:at], whole[at:]])

        assert [("POST", "/first", SMUGGLED), ("GET", "/next", b"")] == connection.recorder.asked, at
        connection.end()


async def test_many_upgrades_in_one_piece_are_many_requests(connection: Connection) -> None:
    await connection.sends([post(UPGRADE % b"foo", length(b"abc")) * 100])

    assert [("POST", "/first", b"abc")] * 100 == connection.recorder.asked


async def test_a_connection_with_a_websocket_offer_ends_with_the_process(connection: Connection) -> None:
    """As uvicorn has it, such a connection goes to a protocol that fails when the process ends."""
    await connection.sends([post(OFFERS[1], length(b"abc"), body=b"a")])
    assert {connection.protocol} == connection.state.connections
    connection.protocol.shutdown()
    await connection.sends([b"bc"])

    assert [200] == connection.statuses
    assert connection.wire.is_closing()


REFUSED = {
    "Content-Length with Transfer-Encoding": post(b"Content-Length: 3\r\n", CHUNKED, body=b"0\r\n\r\n"),
    "Transfer-Encoding with Content-Length": post(CHUNKED, b"Content-Length: 3\r\n", body=b"0\r\n\r\n"),
    "two lengths": post(b"Content-Length: 3\r\nContent-Length: 4\r\n"),
    "one length twice": post(b"Content-Length: 3\r\nContent-Length: 3\r\n"),
    "a list of lengths": post(b"Content-Length: 3, 3\r\n"),
    "no length": post(b"Content-Length:\r\n"),
    "a signed length": post(b"Content-Length: +3\r\n"),
    "a negative length": post(b"Content-Length: -3\r\n"),
    "a hexadecimal length": post(b"Content-Length: 0x3\r\n"),
    "a length too large": post(b"Content-Length: 99999999999999999999999\r\n"),
    "a length in another word": post(b"Content-Length: 3 3\r\n"),
    **{
        f"Transfer-Encoding {value!r}": post(b"Transfer-Encoding:%s\r\n" % value, body=chunks(b"abc"))
        for value in (
            *(b"", b" identity", b" gzip", b" gzip, chunked", b" chunked, gzip", b" chunked, chunked", b" , chunked"),
            *(b" xchunked", b" chunkedx", b" chunked;q=1", b' "chunked"', b" \x0bchunked", b"\r\n chunked"),
        )
    },
    "chunked twice": post(CHUNKED, CHUNKED, body=chunks(b"abc")),
    "identity, then chunked": post(b"Transfer-Encoding: identity\r\n", CHUNKED, body=chunks(b"abc")),
    "chunked, then identity": post(CHUNKED, b"Transfer-Encoding: identity\r\n", body=chunks(b"abc")),
    "chunked with HTTP/1.0": post(CHUNKED, body=chunks(b"abc"), version=b"1.0"),
    "a space before the colon": post(b"Content-Length : 3\r\n"),
    "a space in a name": post(b"Content Length: 3\r\n"),
    "a header of two lines": post(b"X-Folded: a\r\n b\r\n", length(b"abc")),
    "a header that begins with a space": b"POST /first HTTP/1.1\r\n Host: a\r\n\r\n",
    "a line that ends with LF": post(b"X-Header: a\n", length(b"abc")),
    "a line with CR in it": post(b"X-Header: a\rX-Other: b\r\n", length(b"abc")),
    "all lines end with LF": post(length(b"abc")).replace(b"\r\n", b"\n"),
    "NUL in a header": post(b"X-Header: a\0b\r\n", length(b"abc")),
    "a header without a colon": post(b"X-Header\r\n", length(b"abc")),
    "a header without a name": post(b": a\r\n", length(b"abc")),
    "no Host": b"GET /first HTTP/1.1\r\n\r\n",
    "two hosts": post(b"HOST: b\r\n", length(b"abc")),
    "HTTP/0.9": b"GET /first\r\n\r\n",
    "HTTP/0.9 by name": b"GET /first HTTP/0.9\r\nHost: a\r\n\r\n",
    "HTTP/1.2": b"GET /first HTTP/1.2\r\nHost: a\r\n\r\n",
    "HTTP/2.0 by name": b"GET /first HTTP/2.0\r\nHost: a\r\n\r\n",
    "HTTP/2 with prior knowledge": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "CONNECT": b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
    "CONNECT with an upgrade": b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n" + UPGRADE % b"foo" + b"\r\n",
    "a method that is none": b"SMUGGLE /first HTTP/1.1\r\nHost: a\r\n\r\n",
    "a target that is none": b"GET http://[::1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}
BAD_CHUNKS = {
    "a chunk longer than said": b"2\r\nabc\r\n0\r\n\r\n",
    "a chunk shorter than said": b"4\r\nabc\r\n0\r\n\r\n",
    "a size that is no number": b"zz\r\nabc\r\n0\r\n\r\n",
    "a size with 0x": b"0x3\r\nabc\r\n0\r\n\r\n",
    "a signed size": b"+3\r\nabc\r\n0\r\n\r\n",
    "a size after a space": b" 3\r\nabc\r\n0\r\n\r\n",
    "a size before a space": b"3 \r\nabc\r\n0\r\n\r\n",
    "no size": b"\r\nabc\r\n0\r\n\r\n",
    "a size too large": b"10000000000000003\r\nabc\r\n0\r\n\r\n",
    "a size that ends with LF": b"3\nabc\r\n0\r\n\r\n",
    "a chunk that ends with LF": b"3\r\nabc\n0\r\n\r\n",
    "an extension that ends with LF": b"3;a\nabc\r\n0\r\n\r\n",
    "an extension with CR in it": b"3;a\rb\r\nabc\r\n0\r\n\r\n",
    "an empty extension": b"3;\r\nabc\r\n0\r\n\r\n",
    "a last chunk that ends with LF": b"3\r\nabc\r\n0\n\r\n",
    "trailers that end with LF": b"3\r\nabc\r\n0\r\n\n",
    "a trailer with a length": b"3\r\nabc\r\n0\r\nContent-Length: 3\r\n\r\n",
    "a trailer with a coding": b"3\r\nabc\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
}


@pytest.mark.parametrize("offer", [b"", UPGRADE % b"foo"], ids=["plain", "upgrade"])
@pytest.mark.parametrize("sent", REFUSED.values(), ids=REFUSED.keys())
async def test_what_could_be_read_in_two_ways_is_refused_and_nothing_after_it_is_read(
    connection: Connection, sent: bytes, offer: bytes
) -> None:
    for piece in (NEXT, sent.replace(HOST, HOST + offer, 1), SMUGGLED):
        await connection.sends([piece])

    assert [("GET", "/next", b"")] == connection.recorder.asked
    assert 1 == connection.recorder.begun
    assert [200, 400] == connection.statuses
    assert connection.wire.is_closing()


@pytest.mark.parametrize("offer", [b"", UPGRADE % b"foo"], ids=["plain", "upgrade"])
@pytest.mark.parametrize("body", BAD_CHUNKS.values(), ids=BAD_CHUNKS.keys())
async def test_a_body_that_could_be_read_in_two_ways_is_refused_and_nothing_after_it_is_read(
    connection: Connection, body: bytes, offer: bytes
) -> None:
    for piece in (NEXT, post(CHUNKED, offer, body=b""), body, SMUGGLED):
        await connection.sends([piece])

    assert [("GET", "/next", b"")] == connection.recorder.asked
    assert [200, 400] == connection.statuses
    assert connection.wire.is_closing()
    assert all(task.done() for task in connection.state.tasks)


@pytest.mark.parametrize("garbage", [*REFUSED.values(), post(CHUNKED, body=b"zz\r\n")])
async def test_requests_before_garbage_in_one_piece_are_answered_first(connection: Connection, garbage: bytes) -> None:
    await connection.sends([NEXT + post(length(b"abc")) + garbage + SMUGGLED])

    assert [("GET", "/next", b""), ("POST", "/first", b"abc")] == connection.recorder.asked
    assert [200, 200, 400] == connection.statuses
    assert connection.wire.is_closing()


async def test_the_refusal_says_what_was_wrong(connection: Connection) -> None:
    await connection.sends([post(b"Transfer-Encoding: gzip, chunked\r\n", body=b"")])

    assert connection.wire.said.endswith(
        b"\r\nconnection: close\r\n\r\n"
        b"Invalid HTTP request received: Transfer-Encoding must be chunked, once, with HTTP/1.1."
    )


@pytest.mark.parametrize(
    "first", [post(b"Connection: close\r\n", length(b"abc")), post(length(b"abc"), version=b"1.0")]
)
@pytest.mark.parametrize("more", [SMUGGLED, b"\x16\x03\x01", SMUGGLED[:20], b"\r\n"])
async def test_nothing_is_read_after_a_request_that_ends_its_connection(
    connection: Connection, first: bytes, more: bytes
) -> None:
    await connection.sends([first + more, SMUGGLED])

    assert [("POST", "/first", b"abc")] == connection.recorder.asked
    assert [200] == connection.statuses
    assert connection.wire.is_closing()


async def test_a_bad_body_of_a_request_that_is_answered_already_has_no_second_answer(connection: Connection) -> None:
    await connection.sends([b"POST /early HTTP/1.1\r\nHost: a\r\n" + CHUNKED + b"\r\n3\r\n", b"abcd", SMUGGLED])

    assert [200] == connection.statuses
    assert connection.wire.is_closing()


async def test_the_rest_of_a_body_that_nobody_waited_for_is_no_request(connection: Connection) -> None:
    head = b"POST /early HTTP/1.1\r\nHost: a\r\n" + length(SMUGGLED) + b"\r\n"

    await connection.sends([head, SMUGGLED[:9], SMUGGLED[9:] + NEXT])

    assert [("POST", "/early", b""), ("GET", "/next", b"")] == connection.recorder.asked


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"DELETE", b"TRACE"])
async def test_a_body_is_a_body_whatever_the_method(connection: Connection, method: bytes) -> None:
    head = method + b" /first HTTP/1.1\r\nHost: a\r\n" + length(SMUGGLED) + b"\r\n"

    await connection.sends([head, SMUGGLED, NEXT])

    assert [(method.decode(), "/first", SMUGGLED), ("GET", "/next", b"")] == connection.recorder.asked


async def test_trailers_are_no_headers(connection: Connection) -> None:
    """A proxy that checks or removes a header does not look for it there."""
    trailers = b"3\r\nabc\r\n0\r\nAuthorization: Bearer x\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\n"

    await connection.sends([post(CHUNKED, body=trailers) + NEXT])

    assert [("POST", "/first", b"abc"), ("GET", "/next", b"")] == connection.recorder.asked
    assert [[b"host", b"transfer-encoding"], [b"host"]] == [
        [name for name, _ in headers] for headers in connection.recorder.headers
    ]


async def test_a_client_that_waits_for_100_continue_is_told_so(connection: Connection) -> None:
    await connection.sends([post(b"Expect: 100-continue\r\n", length(b"abc"), body=b""), b"abc", NEXT])

    assert [("POST", "/first", b"abc"), ("GET", "/next", b"")] == connection.recorder.asked
    assert [100, 200, 200] == connection.statuses


async def test_a_client_that_is_answered_instead_of_100_continue_sends_nothing_more(connection: Connection) -> None:
    """It may leave the body out: what it sends next would be read as that body."""
    head = b"POST /early HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n" + length(NEXT) + b"\r\n"

    await connection.sends([head, NEXT, SMUGGLED])

    assert [("POST", "/early", b"")] == connection.recorder.asked
    assert b"\r\nconnection: close\r\n" in connection.wire.said
    assert connection.wire.is_closing()


async def test_http_1_0_has_no_100_continue(connection: Connection) -> None:
    await connection.sends([post(b"Expect: 100-continue\r\n", length(b"abc"), body=b"", version=b"1.0"), b"abc"])

    assert [200] == connection.statuses


async def test_a_client_that_hangs_up_while_its_refusal_waits_leaves_nothing(connection: Connection) -> None:
    connection.protocol.data_received(post(length(b"abc")) + b"\x16")
    connection.protocol.connection_lost(None)
    await asyncio.sleep(0)
    await connection.sends([])

    assert b"" == connection.wire.said
