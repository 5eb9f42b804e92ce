"""Connections under test, on both event loops that a service may run on; none may leave anything behind."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import uvloop

from artefacts.redis_address import RedisAddress
from service.features.compiled.connection import RedisConnection
from tests.servers.redis_servers import RunningServer, valkey

Connect = Callable[..., RedisConnection]


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], Any]]:
    """BentoML serves on uvloop where it is installed, and on asyncio's own loop elsewhere."""
    if item.path.stem in ("test_redis_connection", "test_redis_faults", "test_redis_impostors", "test_redis_tls"):
        return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    if item.path.stem == "test_redis_cluster":
        return {"asyncio": asyncio.new_event_loop}  # uvloop cannot be closed over what redis-py leaves open there
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True)
def _warnings_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    with valkey(tmp_path / "server") as server:
        yield server


@pytest_asyncio.fixture(autouse=True)
async def _nothing_is_left_behind() -> AsyncIterator[None]:
    """No task outlives its test, and asyncio has nothing to complain of, e.g. an exception nobody retrieved."""
    loop = asyncio.get_running_loop()
    complaints: list[str] = []
    loop.set_exception_handler(lambda _, context: complaints.append(str(context)))
    yield
    await asyncio.sleep(0)
    gc.collect()
    # redis-py's cluster client says this of itself where a deadline cancelled it; test_redis_cluster.py knows.
    assert [] == [complaint for complaint in complaints if "Unclosed ClusterNode" not in complaint]
    assert {asyncio.current_task()} == asyncio.all_tasks()


@pytest_asyncio.fixture
async def connect(_nothing_is_left_behind: None) -> AsyncIterator[Connect]:
    """Makes connections that are closed when the test ends."""
    made: list[RedisConnection] = []

    def make(url: str, connect_seconds: float = 2.0, stall_seconds: float = 30.0) -> RedisConnection:
        made.append(RedisConnection(RedisAddress.of(url), connect_seconds, stall_seconds))
        return made[-1]

    yield make
    for connection in made:
        await connection.close()
