"""Clients misbehave: they send slowly, hang up, or send what is no request; the others must not notice."""

import time

import pytest

from tests.faults.clients import BODY, HEAD, LONG_BODY, WHOLE, dribbles, floods, hangs_up_after, run_beside, sends
from tests.faults.conftest import Bench
from tests.faults.load import at_once, request_bytes
from tests.faults.promises import refused_as

MANY = 100
WHOLE_BATCH = [f"{number:05d}" for number in range(1, 1001)]
SECONDS = 2.0


def test_heads_and_bodies_that_trickle_in_are_given_up_and_hold_up_nobody(bench: Bench) -> None:
    """Also after its body was refused as too slow or too long, a client cannot keep the connection by dribbling on."""
    clients = [
        dribbles(b"", b"\r\n"),
        dribbles(HEAD, b"X-Header: value\r\n"),
        dribbles(LONG_BODY, b" "),
        dribbles(LONG_BODY + b" " * 1_500_000, b" "),
    ]
    with bench.fault(f"{MANY} clients send head or body a byte at a time", refused_as()):
        came = run_beside(bench.service.port, clients, MANY, 0.1)

    assert {b"", b"HTTP/1.1 400 Bad Request", b"HTTP/1.1 413 Request Entity Too Large"} == set(came)
    assert MANY == len(came)


def test_clients_that_hang_up_leave_nothing_behind(bench: Bench) -> None:
    clients = [
        hangs_up_after(HEAD, 0.02),
        hangs_up_after(WHOLE[:-5], 0.02),
        hangs_up_after(WHOLE, 0),
        hangs_up_after(request_bytes("/predict_batch", b'{"customer_ids": ["00042", "00007"]}'), 0.001),
        hangs_up_after(WHOLE * 50, 0.1),  # fifty questions, and no answer is read
    ]
    with bench.fault("clients hang up in head, in body, before the answer", refused_as()):
        came = run_beside(bench.service.port, clients, 10, 2)

    assert {"hung up"} == set(came)
    assert "Traceback" not in bench.service.log.read_text()


GARBAGE = {
    "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20 + b"\r\n\r\n",
    "Redis": b"*1\r\n$4\r\nPING\r\n",
    "negative length": HEAD + b"Content-Length: -5\r\n\r\n" + BODY,
    "two lengths": HEAD + b"Content-Length: 24\r\nContent-Length: 25\r\n\r\n" + BODY,
    "length and chunks": HEAD + b"Content-Length: 24\r\nTransfer-Encoding: chunked\r\n\r\n" + BODY,
    "too short a length": HEAD + b"Content-Length: 5\r\n\r\n" + BODY,
    "chunk size no number": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + BODY,
    "chunk size too large": HEAD + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFF\r\n" + BODY,
    "chunk longer than said": HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcdefgh\r\n0\r\n\r\n",
    "body no JSON": request_bytes("/predict", b"{" * 500),
    "body no UTF-8": request_bytes("/predict", b'{"customer_id": "\xff\xfe"}'),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_what_is_no_request_is_refused(bench: Bench, garbage: bytes) -> None:
    assert {400} == set(run_beside(bench.service.port, [sends(garbage)], 1, 0.01))


def test_a_flood_of_garbage_is_refused_while_others_are_answered(bench: Bench) -> None:
    with bench.fault("10 clients send garbage without pause", refused_as()):
        came = run_beside(bench.service.port, [sends(data) for data in GARBAGE.values()], 10, SECONDS)

    assert {400} == set(came)
    assert len(came) > 100


def test_heads_without_end_are_refused_before_they_cost_anything(bench: Bench) -> None:
    """The parser copies a header again for each piece of it: unbounded, 16 MB hold up everybody for half a second."""
    one_header = HEAD + b"X-Large: " + b"a" * 32_000_000
    many_headers = HEAD + b"X-Header: value\r\n" * 2_000_000
    with bench.fault("4 clients send 32 MB of headers each", refused_as()):
        came = run_beside(bench.service.port, [floods(one_header), floods(many_headers)], 4, SECONDS)

    assert {431, "ConnectionResetError", "BrokenPipeError"} >= set(came)


def test_many_large_batches_at_once_leave_time_for_the_others(bench: Bench) -> None:
    """With the limits that the service comes with, five of them are worked on at a time."""
    bench.others = WHOLE_BATCH
    with bench.fault("8 batches of 1,000 at once, limits as they come", refused_as("overloaded")) as fault:
        for _ in range(5):
            fault.load.exchanges.extend(at_once(bench.service.port, [WHOLE_BATCH] * 8))
            time.sleep(0.3)
    bench.others = ()

    assert fault.outcomes["200"] > fault.outcomes.get("429 overloaded", 0)
