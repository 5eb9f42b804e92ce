"""Connections as clients keep, upgrade and misuse them, and what becomes of them when the process ends."""

import asyncio
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e.test_raw_requests import CALLS, GOOD, exchange, post
from tests.faults.load import Connection, read_answer, request_bytes
from tests.loop import Loop
from tests.servers.serving import serving

OFFERS = {
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n",
    "foo": b"Connection: upgrade\r\nUpgrade: foo\r\n",
    "websocket": b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
}
START = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
FRAMINGS = {
    "length": (b"Content-Length: %d\r\n\r\n" % len(GOOD), GOOD),
    "chunks": (b"Transfer-Encoding: chunked\r\n\r\n", b"%x\r\n%s\r\n0\r\n\r\n" % (len(GOOD), GOOD)),
}


def port_of(loop: Loop) -> int:
    return int(urlsplit(loop.url).port or 80)


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS.keys())
@pytest.mark.parametrize("framing", FRAMINGS.values(), ids=FRAMINGS.keys())
@pytest.mark.parametrize("apart", [0, 1, 10])
def test_an_upgrade_that_is_not_taken_is_answered_as_plain_http(
    loop: Loop, offer: bytes, framing: tuple[bytes, bytes], apart: int
) -> None:
    """Java's `HttpClient` and `curl --http2` offer h2c with every request."""

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(loop))
        announced, body = framing
        for _ in range(3):
            writer.write(START + offer + announced + body[:apart])
            await asyncio.sleep(0.02)
            writer.write(body[apart:])
            status, _, raw = await asyncio.wait_for(read_answer(reader), 20)
            assert 200 == status, raw
        writer.close()

    asyncio.run(client())


@pytest.mark.parametrize("path", [b"/", b"/predict", b"/livez", b"/anything"])
def test_a_websocket_is_answered_as_plain_http_whatever_path_it_names(loop: Loop, path: bytes) -> None:
    head = b"GET %s HTTP/1.1\r\nHost: a\r\n%s\r\n" % (path, OFFERS["websocket"])

    status, _ = exchange(loop, head + b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")

    assert status == {b"/predict": 405, b"/anything": 404}.get(path, 200)


def test_a_request_before_garbage_in_the_same_packet_is_answered(loop: Loop) -> None:
    status, answer = exchange(loop, request_bytes("/predict", GOOD) + b"\x16\x03\x01garbage\r\n\r\n")

    assert 200 == status
    assert b"churn_probability" in answer
    assert b"}HTTP/1.1 400 Bad Request\r\n" in answer


@pytest.mark.parametrize("path", CALLS)
@pytest.mark.parametrize("coding", [b"gzip", b"deflate", b"br", b"identity, gzip"])
def test_a_compressed_body_is_refused_and_the_header_named(loop: Loop, path: str, coding: bytes) -> None:
    csv = [b"Content-Type: text/csv"] if path == "/invocations" else []

    status, answer = exchange(loop, post(path.encode(), b"Content-Encoding: " + coding, *csv))

    assert 415 == status
    assert b"\r\naccept-encoding: identity\r\n" in answer
    assert b'"field":"Content-Encoding"' in answer


def test_a_body_that_is_said_not_to_be_compressed_is_read(loop: Loop) -> None:
    assert 200 == exchange(loop, post(b"/predict", b"Content-Encoding: identity"))[0]


def test_connections_that_were_idle_for_as_long_as_a_proxy_keeps_them_are_answered(loop: Loop) -> None:
    """By default a connection lives longer than the 60 s of usual proxies; here from 4 s to 7 s of it are tried."""

    async def client(number: int) -> list[int]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(loop))
        statuses = []
        for idle in (4 + number / 50, 0):
            writer.write(request_bytes("/predict", GOOD))
            status, _, _ = await asyncio.wait_for(read_answer(reader), 20)
            statuses.append(status)
            await asyncio.sleep(idle)
        writer.close()
        return statuses

    async def clients() -> list[list[int]]:
        return await asyncio.gather(*map(client, range(150)))

    assert [[200, 200]] * 150 == asyncio.run(clients())


def test_half_a_head_is_given_up_long_before_that(loop: Loop) -> None:
    async def client(sent: bytes) -> float:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(loop))
        writer.write(request_bytes("/predict", GOOD))
        await read_answer(reader)
        began = time.monotonic()
        writer.write(sent)
        assert b"" == await asyncio.wait_for(reader.read(), 40)
        writer.close()
        return time.monotonic() - began

    async def clients() -> list[float]:
        return list(await asyncio.gather(*map(client, (START, b"\r\n", START + OFFERS["h2c"]))))

    assert max(asyncio.run(clients())) < 30


def test_what_is_open_when_the_process_ends_neither_keeps_it_nor_harms_what_is_in_flight(
    loop: Loop, tmp_path: Path
) -> None:
    """Idle connections, half heads, and offers of a websocket whose bodies never come, beside requests in flight."""

    async def ends(port: int, stop: "asyncio.Future[None]") -> list[int]:
        async def opened(sent: bytes) -> Connection:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            return reader, writer

        idle = [await opened(request_bytes("/predict", GOOD)) for _ in range(50)]
        for reader, _ in idle:
            await read_answer(reader)
        others = [await opened(START[:30]), await opened(b"")]
        others += [await opened(START + offer + b"Content-Length: 9\r\n\r\n") for offer in OFFERS.values()]
        in_flight = [await opened(request_bytes("/predict", GOOD)[:-1]) for _ in range(20)]
        await asyncio.sleep(0.3)
        stop.set_result(None)
        await asyncio.sleep(0.3)
        answers = []
        for reader, writer in in_flight:
            writer.write(GOOD[-1:])
            answers.append((await asyncio.wait_for(read_answer(reader), 20))[0])
            writer.close()
        for reader, writer in [*idle, *others]:
            await asyncio.wait_for(reader.read(), 20)
            writer.close()
        return answers

    with serving(loop, tmp_path) as service:

        async def run() -> list[int]:
            stop = asyncio.get_running_loop().create_future()
            stop.add_done_callback(lambda _: service.process.terminate())
            return await ends(service.port, stop)

        answers = asyncio.run(run())
        service.process.wait(timeout=20)

    assert [200] * 20 == answers
    assert 0 == service.process.returncode
    assert "Traceback" not in service.log.read_text()
