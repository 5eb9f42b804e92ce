"""Replies of Redis come twice, not at all, in another order, or beside others unasked: nobody is confused."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import FAULT_SECONDS, Bench, filled_valkey, open_bench
from tests.faults.promises import Measurement
from tests.faults.tcp_proxy import Mixing, TcpProxy, tcp_proxy
from tests.loop import Loop
from tests.servers.redis_servers import RunningServer

READERS = {"compiled": "true", "Feast's SDK": "false"}


@pytest.fixture(scope="module")
def server(stored: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with filled_valkey(stored, tmp_path_factory.mktemp("mixed") / "redis") as server:
        yield server


@pytest.fixture
def proxy(server: RunningServer) -> Iterator[TcpProxy]:
    with tcp_proxy(server.port) as proxy:
        yield proxy


@pytest.fixture(params=list(READERS))
def bench(
    request: pytest.FixtureRequest,
    loop: Loop,
    server: RunningServer,
    proxy: TcpProxy,
    table: list[Measurement],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("mixed_up")
    settings = {"SERVICE_COMPILED_READER": READERS[request.param]}
    with open_bench(loop, server, folder, table, port=proxy.port, settings=settings) as bench:
        yield bench


def test_replies_that_are_doubled_dropped_or_pushed_confuse_nobody(
    bench: Bench, proxy: TcpProxy, request: pytest.FixtureRequest
) -> None:
    reader = request.node.callspec.params["bench"]
    everything: tuple[tuple[Mixing, int, int], ...] = (
        ("double", 5, 1),
        ("drop", 5, 1),
        ("push", 5, 1),
        ("double", 37, 1_000),
        ("drop", 41, 1_000),
        ("push", 43, 1_000),
        ("swap", 47, 1_000),
    )
    with bench.fault(f"replies doubled, dropped, swapped, `+OK` pushed ({reader})"):
        for mixing, every, most in everything:
            proxy.mixed, proxy.mixing, proxy.mix_every, proxy.mix_most = 0, mixing, every, most
            time.sleep(FAULT_SECONDS / 2)
            assert proxy.mixed >= 1, mixing
        proxy.heal()
