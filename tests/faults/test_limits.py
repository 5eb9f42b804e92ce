"""More is asked than one worker takes: what is over the limits is refused at once, the rest is answered rightly."""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import Bench, filled_valkey, open_bench
from tests.faults.load import Exchange, at_once
from tests.faults.promises import Measurement, refused_as
from tests.faults.tcp_proxy import TcpProxy, tcp_proxy
from tests.loop import Loop
from tests.servers.redis_servers import RunningServer

MOST_REQUESTS, MOST_ROWS = 8, 2000
WHOLE_BATCH = [f"{number:05d}" for number in range(1, 1001)]


@pytest.fixture(scope="module")
def server(stored: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with filled_valkey(stored, tmp_path_factory.mktemp("limits") / "redis") as server:
        yield server


@pytest.fixture(scope="module")
def proxy(server: RunningServer) -> Iterator[TcpProxy]:
    with tcp_proxy(server.port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def bench(
    loop: Loop,
    server: RunningServer,
    proxy: TcpProxy,
    table: list[Measurement],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Bench]:
    limits = {"SERVICE_MAX_CONCURRENCY": str(MOST_REQUESTS), "SERVICE_MAX_ROWS": str(MOST_ROWS)}
    folder = tmp_path_factory.mktemp("limited")
    with open_bench(loop, server, folder, table, port=proxy.port, settings=limits) as bench:
        bench.per_second, bench.others = 20, WHOLE_BATCH
        yield bench


def test_requests_over_the_concurrency_limit_are_refused_at_once(bench: Bench, proxy: TcpProxy) -> None:
    bursts: list[list[Exchange]] = []
    with bench.fault(f"40 requests at once, {MOST_REQUESTS} may be in flight", refused_as("overloaded")) as fault:
        proxy.delay_seconds = 0.050
        for _ in range(5):
            bursts.append(at_once(bench.service.port, [[customer] for customer in WHOLE_BATCH[:40]]))
            fault.load.exchanges.extend(bursts[-1])
            time.sleep(0.3)
        proxy.heal()

    for burst in bursts:
        statuses = Counter(exchange.status for exchange in burst)
        assert 1 <= statuses[200] <= MOST_REQUESTS
        assert 40 == statuses[200] + statuses[429]


def test_large_batches_at_once_are_bounded_by_the_rows_in_flight(bench: Bench) -> None:
    bursts: list[list[Exchange]] = []
    name = f"6 batches of 1,000 at once, {MOST_ROWS:,} rows may be in flight"
    with bench.fault(name, refused_as("overloaded")) as fault:
        for _ in range(5):
            bursts.append(at_once(bench.service.port, [WHOLE_BATCH] * 6))
            fault.load.exchanges.extend(bursts[-1])
            time.sleep(0.3)

    for burst in bursts:
        assert 1 <= sum(exchange.status == 200 for exchange in burst)
