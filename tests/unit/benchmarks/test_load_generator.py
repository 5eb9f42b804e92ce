import asyncio
from typing import Any

import pytest

from benchmarks.load.load_generator import _ClosedLoop, _Exchange
from benchmarks.load.load_plan import LoadPlan
from benchmarks.online.peers import Call

GOOD = b'HTTP/1.1 200 OK\r\nDate: Sat, 21 Nov\r\nContent-Length: 25\r\n\r\n{"churn_probability": 0.5}'.replace(
    b": 0", b":0"
)


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return False


def plan(**changes: Any) -> LoadPlan:
    given: dict[str, Any] = {
        "port": 1,
        "requests": (b"first", b"second"),
        "row": rb'"churn_probability":\d',
        "matches": 1,
        "connections": 1,
        "seconds": 100.0,
        "warm_up_seconds": 0.0,
    }
    return LoadPlan(**{**given, **changes})


async def connected(load: _ClosedLoop) -> tuple[_Exchange, Wire]:
    exchange, wire = _Exchange(load), Wire()
    exchange.connection_made(wire)
    load.exchanges.append(exchange)
    exchange.send(load.request(), 0.0)
    return exchange, wire


async def test_every_answer_brings_the_next_request_in_turn() -> None:
    exchange, wire = await connected(_ClosedLoop(plan()))

    exchange.data_received(GOOD)
    exchange.data_received(GOOD)

    assert len(wire.written) == 3
    assert wire.written[0] == wire.written[2] != wire.written[1]


@pytest.mark.parametrize("at", [1, 20, 60, len(GOOD) - 1])
async def test_an_answer_in_two_parts_is_one_answer(at: int) -> None:
    load = _ClosedLoop(plan())
    exchange, _ = await connected(load)

    exchange.data_received(GOOD[:at])
    assert load.total == 0
    exchange.data_received(GOOD[at:])
    assert (load.total, load.errors) == (1, 0)


async def test_a_chunked_answer_ends_with_its_last_chunk() -> None:
    load = _ClosedLoop(plan())
    exchange, _ = await connected(load)

    exchange.data_received(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n15\r\n")
    exchange.data_received(b'{"churn_probability":0.5}\r\n0\r\n\r\n')

    assert (load.total, load.errors) == (1, 0)


@pytest.mark.parametrize(
    "bad",
    [
        GOOD.replace(b"200 OK", b"503 No"),
        GOOD.replace(b":0.5", b":nul"),
        GOOD.replace(b"Sat, 21 Nov", b'"churn_probability":1').replace(b":0.5", b":nul"),
    ],
)
async def test_another_status_or_no_probability_in_the_body_is_an_error(bad: bytes) -> None:
    load = _ClosedLoop(plan())
    exchange, _ = await connected(load)

    exchange.data_received(bad)

    assert load.errors == 1
    assert load.first_error
    assert not load.latencies


async def test_a_closed_loop_counts_from_the_first_answer_to_the_last() -> None:
    load = _ClosedLoop(plan(count=3))
    exchange, wire = await connected(load)

    for _ in range(4):
        assert not load.finished.is_set()
        exchange.data_received(GOOD)

    assert load.finished.is_set()
    assert len(load.latencies) == 3  # the first answer only starts the clock
    assert len(wire.written) == 4


async def test_a_server_that_hangs_up_ends_the_load_with_an_error() -> None:
    class Closing(Wire):
        def is_closing(self) -> bool:
            return True

    load = _ClosedLoop(plan())
    exchange = _Exchange(load)
    exchange.connection_made(Closing())
    load.exchanges.append(exchange)
    exchange.send(load.request(), 0.0)

    exchange.connection_lost(ConnectionResetError())

    assert load.errors == 1
    assert load.finished.is_set()


def test_a_request_has_its_length_and_its_body() -> None:
    call = Call("/predict", lambda _, chunk: {"customer_id": f"{chunk[0]:05}"}, rb"x")

    head, _, body = call.request(None, [42], 3000).partition(b"\r\n\r\n")  # type: ignore[arg-type]

    assert head.startswith(b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:3000\r\n")
    assert body == b'{"customer_id": "00042"}'
    assert b"Content-Length: %d" % len(body) in head
