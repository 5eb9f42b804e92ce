"""A service that starts before Redis does, and is told to stop while it is being asked."""

import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from tests.faults.clients import HEAD, LONG_BODY, WHOLE, dribbles, hangs_up_after, run_beside
from tests.faults.conftest import CALM_SECONDS, CUSTOMERS, Bench, filled_valkey, open_bench
from tests.faults.load import NO_ANSWER, Exchange, Load
from tests.faults.promises import RECOVERY_SECONDS, Measurement, verdict
from tests.faults.tcp_proxy import TcpProxy, tcp_proxy
from tests.loop import Loop
from tests.servers.redis_servers import RunningServer
from tests.servers.serving import wait_until

STOP_SECONDS = 5.0
REFUSED = {NO_ANSWER, "ConnectionRefusedError", "ConnectionResetError"}
"""Ways in which a server that takes nothing any more says so; a client may ask another one at once."""


@pytest.fixture(scope="module")
def server(stored: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with filled_valkey(stored, tmp_path_factory.mktemp("late") / "redis") as server:
        server.kill()
        yield server


@pytest.fixture(scope="module")
def proxy(server: RunningServer) -> Iterator[TcpProxy]:
    with tcp_proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def bench(
    loop: Loop, server: RunningServer, proxy: TcpProxy, table: list[Measurement], tmp_path: Path
) -> Iterator[Bench]:
    with open_bench(loop, server, tmp_path, table, port=proxy.port, health=(503, 200)) as bench:
        yield bench


def test_a_service_without_redis_lives_and_is_ready_when_redis_comes_and_stops_without_losing_an_answer(
    bench: Bench, proxy: TcpProxy
) -> None:
    """One test, because a start takes ten seconds and each part needs what the one before it leaves."""
    becomes_ready_by_itself(bench)
    stops_gracefully(bench, proxy)


def becomes_ready_by_itself(bench: Bench) -> None:
    for _ in range(10):
        assert (503, 200) == bench.service.health()
        answer = bench.service.call("POST", "/predict", {"customer_id": CUSTOMERS[0]})
        assert (503, "online_store_unavailable") == (answer.status, answer.body["error"]["code"])
        time.sleep(0.1)

    bench.redis.restart()
    begun = time.monotonic()
    wait_until(lambda: bench.service.health() == (200, 200), RECOVERY_SECONDS)
    recovery = time.monotonic() - begun

    bench.truth()
    outcomes = {"503 online_store_unavailable": 10}
    bench.table.append(Measurement("start without Redis, which comes later", 10, 0, 0, 0, 0, recovery, outcomes))


def stops_gracefully(bench: Bench, proxy: TcpProxy) -> None:
    """Neither clients that hung up before nor such as are still sending hold it up for longer than a body may take."""
    hung_up = run_beside(bench.service.port, [hangs_up_after(WHOLE[:-5], 0), hangs_up_after(HEAD, 0)], 10, 0.5)
    dribbling = [dribbles(LONG_BODY, b" "), dribbles(HEAD, b"a")]
    slow = Thread(target=run_beside, args=(bench.service.port, dribbling, 10, 0.1))
    proxy.delay_seconds = 0.050  # so that several requests are in flight at every moment
    truth = bench.truth()
    slow.start()
    with Load(bench.service.port, CUSTOMERS, per_second=80) as load:
        time.sleep(CALM_SECONDS)
        told = time.monotonic()
        bench.service.process.send_signal(signal.SIGTERM)
        exit_code = bench.service.process.wait(timeout=30)
        took = time.monotonic() - told
        time.sleep(0.5)
    slow.join()

    def right(exchange: Exchange) -> bool:
        return verdict(exchange, truth, lambda _: False) == "right"

    before = [exchange for exchange in load.exchanges if exchange.started < told]
    after = [exchange for exchange in load.exchanges if exchange.started >= told]
    in_flight = [exchange for exchange in before if exchange.ended >= told]
    lost = [exchange for exchange in before if not right(exchange)]
    confused = [exchange for exchange in after if not right(exchange) and exchange.failure not in REFUSED]
    bench.table.append(
        Measurement(
            "SIGTERM under load",
            len(load.exchanges),
            len(lost) + len(confused),
            max(exchange.ended - exchange.started for exchange in before if exchange.ended < told),
            max(exchange.ended - exchange.started for exchange in load.exchanges if right(exchange)),
            0,
            took,
            dict(Counter("200" if right(e) else e.failure for e in load.exchanges if e.ended >= told).most_common()),
        )
    )

    assert len(hung_up) > 100
    assert 0 == exit_code
    assert took <= STOP_SECONDS
    assert len(in_flight) >= 5
    assert not lost, lost[0]
    assert not confused, confused[0]
    assert not right(load.exchanges[-1]), "it still takes requests"
