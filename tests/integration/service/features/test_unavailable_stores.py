"""A store that is not there, has gone or hangs says so soon; one that is closed leaves nothing behind."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

from contract import ModelContract, RawFeatures
from service.errors import DeadlineExceededError, OnlineStoreUnavailableError
from service.features.guard import GuardedFeatures
from service.features.port import OnlineFeatures
from service.telemetry.metrics import ServiceMetrics
from tests.integration.service.conftest import COMPILED, TinyFeast
from tests.models.fakes import DEFAULTS, NOW_US, SPEND, FakeOnlineFeatures, Rows, customer, small_contract
from tests.servers.redis_servers import RunningServer, free_port, valkey

pytestmark = pytest.mark.asyncio(loop_scope="module")

CUSTOMERS: dict[str, Rows] = {"00042": customer(spend=120.0)}
COLUMN = {name: column for column, name in enumerate(DEFAULTS)}


@pytest.fixture(scope="module")
def contract(feast: TinyFeast) -> ModelContract:
    return feast.contract()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RunningServer]:
    with valkey(tmp_path / "server") as server:
        yield server


Open = Callable[[], Awaitable[OnlineFeatures]]


@pytest_asyncio.fixture(loop_scope="module", params=list(COMPILED))
async def open_own(
    request: pytest.FixtureRequest, feast: TinyFeast, contract: ModelContract, own_server: RunningServer
) -> AsyncIterator[Open]:
    """Opens a store over a server of its own that holds one customer, and reads it once."""
    opened = []

    async def open_own() -> OnlineFeatures:
        own = feast.with_redis(own_server.url)
        own.write({"00042": CUSTOMERS["00042"]})
        opened.append(own.open(contract, compiled=COMPILED[request.param]).features)
        assert 120.0 == (await opened[0].read(["00042"], NOW_US)).values[0, COLUMN[SPEND]]
        return opened[0]

    yield open_own
    own_server.cont_signal()
    for features in opened:
        await features.close()


@pytest_asyncio.fixture(loop_scope="module", params=["fake", *COMPILED])
async def never_reached(request: pytest.FixtureRequest) -> AsyncIterator[OnlineFeatures]:
    """A store at whose address nobody listens."""
    if request.param == "fake":
        yield FakeOnlineFeatures(small_contract(), CUSTOMERS, failure=OnlineStoreUnavailableError("down"))
        return
    nowhere: TinyFeast = request.getfixturevalue("feast").with_redis(f"redis://127.0.0.1:{free_port()}/0")
    opened = nowhere.open(request.getfixturevalue("contract"), compiled=COMPILED[request.param]).features
    yield opened
    await opened.close()


async def _says_so_within_three_seconds(features: OnlineFeatures) -> None:
    started = time.monotonic()

    with pytest.raises(OnlineStoreUnavailableError) as caught:
        await features.read(["00042"], NOW_US)

    assert time.monotonic() - started < 3
    assert "127.0.0.1" not in caught.value.message


async def test_a_store_that_is_not_there_says_so_soon(never_reached: OnlineFeatures) -> None:
    await _says_so_within_three_seconds(never_reached)


async def test_a_store_that_has_gone_says_so_soon(open_own: Open, own_server: RunningServer) -> None:
    features = await open_own()
    own_server.kill()

    await _says_so_within_three_seconds(features)


async def test_a_store_that_hangs_is_given_up_at_the_deadline_and_read_again_when_it_goes_on(
    open_own: Open, own_server: RunningServer
) -> None:
    features = await open_own()
    guarded = GuardedFeatures(features, 0.4, ServiceMetrics("small_churn", CollectorRegistry()))
    own_server.stop_signal()
    started = time.monotonic()

    with pytest.raises((DeadlineExceededError, OnlineStoreUnavailableError)):
        await guarded.read(["00042"], NOW_US)

    assert time.monotonic() - started < 3
    own_server.cont_signal()
    assert 120.0 == (await _patiently(features)).values[0, COLUMN[SPEND]]


async def _patiently(features: OnlineFeatures) -> RawFeatures:
    """The first reads may still find the broken connection."""
    for _ in range(20):
        try:
            async with asyncio.timeout(2):
                return await features.read(["00042"], NOW_US)
        except (OnlineStoreUnavailableError, TimeoutError):
            await asyncio.sleep(0.1)
    raise AssertionError("the store was not read again")


async def test_a_closed_store_leaves_no_connection_behind(open_own: Open, own_server: RunningServer) -> None:
    features = await open_own()
    assert _connections(own_server) > 0

    await features.close()

    for _ in range(50):
        if _connections(own_server) == 0:
            return
        await asyncio.sleep(0.02)
    assert 0 == _connections(own_server)


def _connections(server: RunningServer) -> int:
    """How many read from it; those that wrote do not count, nor the one that asks."""
    clients = server.command("CLIENT", "LIST")
    lines = clients if isinstance(clients, list) else clients.splitlines()
    return sum("cmd=exec" in str(line) for line in lines)
