"""The way to Redis fails: it is slow, narrow, broken off in the middle, swallows everything, or is not Redis at all."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import FAULT_SECONDS, Bench, filled_valkey, open_bench
from tests.faults.promises import Measurement
from tests.faults.tcp_proxy import TcpProxy, tcp_proxy
from tests.loop import Loop
from tests.servers.redis_servers import RunningServer


@pytest.fixture(scope="module")
def server(stored: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with filled_valkey(stored, tmp_path_factory.mktemp("network") / "redis") as server:
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
    with open_bench(loop, server, tmp_path_factory.mktemp("proxied"), table, port=proxy.port) as bench:
        yield bench


def test_a_store_that_is_slow_but_within_the_deadline_costs_only_time(bench: Bench, proxy: TcpProxy) -> None:
    with bench.fault("way to Redis: 120 ms there and back") as fault:
        proxy.delay_seconds = 0.060
        time.sleep(FAULT_SECONDS)
        assert (200, 200) == bench.service.health()
        proxy.heal()

    assert ["200"] == list(fault.outcomes)


def test_a_store_slower_than_the_deadline_is_given_up(bench: Bench, proxy: TcpProxy) -> None:
    with bench.fault("way to Redis: 400 ms there and back") as fault:
        proxy.delay_seconds = 0.200
        time.sleep(FAULT_SECONDS)
        assert (503, 200) == bench.service.health()
        proxy.heal()

    assert fault.outcomes["503 online_store_unavailable"] > 50


def test_a_way_too_narrow_for_the_load_loses_answers_but_confuses_none(bench: Bench, proxy: TcpProxy) -> None:
    with bench.fault("way from Redis: 4 kB/s") as fault:
        proxy.bytes_per_second = 4_000
        time.sleep(FAULT_SECONDS)
        proxy.heal()

    assert fault.outcomes["503 online_store_unavailable"] > 10


def test_connections_cut_in_the_middle_of_a_reply_yield_no_half_read_rows(bench: Bench, proxy: TcpProxy) -> None:
    with bench.fault("every 4th reply of Redis is cut in the middle") as fault:
        proxy.cut_every = 4
        time.sleep(FAULT_SECONDS)
        proxy.heal()

    assert proxy.cuts > 10
    assert fault.outcomes["503 online_store_unavailable"] >= proxy.cuts


def test_a_way_that_takes_connections_and_answers_nothing_is_given_up(bench: Bench, proxy: TcpProxy) -> None:
    with bench.fault("way to Redis: takes connections, never answers") as fault:
        proxy.silent = True
        time.sleep(FAULT_SECONDS)
        assert (503, 200) == bench.service.health()
        proxy.heal()

    assert fault.outcomes["503 deadline_exceeded"] >= 1


def test_what_is_no_redis_is_not_believed(bench: Bench, proxy: TcpProxy) -> None:
    with bench.fault("something else answers at Redis' address") as fault:
        proxy.scramble = True
        time.sleep(FAULT_SECONDS)
        assert (503, 200) == bench.service.health()
        proxy.heal()

    assert fault.outcomes["503 online_store_unavailable"] > 50
