"""A cluster of three: Feast's SDK reads it, with no more rights than documented, and no failing node costs time."""

import asyncio
import gc
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
import redis.asyncio
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from artefacts.redis_address import RedisAddress
from contract import ModelContract
from jobs.errors import JobError
from service.errors import DeadlineExceededError, OnlineStoreUnavailableError
from service.features.compiled.connection import RedisConnection
from service.features.compiled.pipe import pack
from service.features.feast_sdk import FeastOnlineFeatures
from service.features.guard import GuardedFeatures
from service.features.opening import open_feast
from service.features.port import OnlineFeatures
from service.telemetry.metrics import ServiceMetrics
from tests.faults.machine import waited_for_cpu
from tests.integration.service.conftest import TinyFeast
from tests.integration.service.redis.conftest import Connect
from tests.integration.service.redis.shop import SPEND, Shop
from tests.integration.service.redis.test_redis_rights import documented_rights, documented_rights_in_a_cluster
from tests.models.fakes import NOW_US, FakeOnlineFeatures, Rows, customer, small_contract
from tests.servers.redis_servers import RunningServer, free_port, until, valkey_cluster

pytestmark = [
    # When a deadline cancels redis-py's cluster client in mid-connect, it leaves closing to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:Unclosed ClusterNode:ResourceWarning"),
]

CUSTOMERS: dict[str, Rows] = {f"customer-{number}": customer(spend=float(number)) for number in range(60)}
ASKED = [*CUSTOMERS, "nobody"]
DEADLINE_SECONDS = 0.5
PASSWORD = "secret"  # noqa: S105  # of a test's own server


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[RunningServer]]:
    with valkey_cluster(tmp_path / "cluster") as nodes:
        yield nodes


def url_of(nodes: list[RunningServer], credentials: str = "") -> str:
    return f"redis+cluster://{credentials}{','.join(f'127.0.0.1:{node.port}' for node in nodes)}"


@pytest.fixture(scope="module")
def contract(feast: TinyFeast) -> ModelContract:
    return feast.contract()


@pytest_asyncio.fixture
async def features(
    feast: TinyFeast, contract: ModelContract, nodes: list[RunningServer]
) -> AsyncIterator[OnlineFeatures]:
    """Opened as the service does, over a cluster that holds `CUSTOMERS`."""
    mine = feast.with_redis(url_of(nodes))
    mine.write(CUSTOMERS)
    opened = open_feast(mine.repo, mine.artefacts, contract, stall_seconds=DEADLINE_SECONDS).features
    yield opened
    await opened.close()


@pytest_asyncio.fixture(autouse=True)
async def _later_tests_hear_nothing_of_it(_nothing_is_left_behind: None) -> AsyncIterator[None]:
    """See `pytestmark`."""
    yield
    for connection in [thing for thing in gc.get_objects() if isinstance(thing, redis.asyncio.Connection)]:
        await connection.disconnect()


async def expected() -> NDArray[np.float64]:
    return (await FakeOnlineFeatures(small_contract(), CUSTOMERS).read(ASKED, NOW_US)).values


async def test_a_cluster_is_read_through_feasts_sdk_and_the_service_says_so(
    feast: TinyFeast, contract: ModelContract, features: OnlineFeatures, caplog: pytest.LogCaptureFixture
) -> None:
    assert isinstance(features, FeastOnlineFeatures)
    told = [record.getMessage() for record in caplog.get_records("setup")]
    assert ["reading through feast's SDK, several times slower: a Redis cluster"] == told

    raw = await features.read(ASKED, NOW_US)

    np.testing.assert_array_equal(await expected(), raw.values)
    assert raw.event_times is not None
    assert [False] * len(CUSTOMERS) + [True] == np.isnan(raw.event_times).all(axis=1).tolist()


async def test_customers_lie_on_every_node(features: OnlineFeatures, nodes: list[RunningServer]) -> None:
    stored = [node.command("DBSIZE") for node in nodes]

    assert len(CUSTOMERS) == sum(stored)
    assert all(stored)


async def test_one_node_of_the_url_that_answers_is_enough(
    feast: TinyFeast, contract: ModelContract, features: OnlineFeatures, nodes: list[RunningServer]
) -> None:
    absent = f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{nodes[2].port}"
    mine = feast.with_redis(absent)
    opened = open_feast(mine.repo, mine.artefacts, contract).features

    np.testing.assert_array_equal(await expected(), (await opened.read(ASKED, NOW_US)).values)
    await opened.close()


async def test_the_documented_rights_are_enough_for_service_and_jobs(
    feast: TinyFeast, contract: ModelContract, nodes: list[RunningServer]
) -> None:
    for node in nodes:
        for user in ("serving", "jobs"):
            rights = [right.replace("churn", "tiny") for right in documented_rights(user)]
            rights += documented_rights_in_a_cluster()
            node.command("ACL", "SETUSER", user, "on", f">{PASSWORD}", *rights)
        node.command("CONFIG", "SET", "requirepass", "admin")
    feast.with_redis(url_of(nodes, f"jobs:{PASSWORD}@")).write(CUSTOMERS)
    mine = feast.with_redis(url_of(nodes, f"serving:{PASSWORD}@"))
    opened = open_feast(mine.repo, mine.artefacts, contract).features

    np.testing.assert_array_equal(await expected(), (await opened.read(ASKED, NOW_US)).values)
    await opened.close()


@pytest.mark.parametrize("fault", ["killed", "hangs"])
async def test_while_a_node_fails_every_answer_comes_within_the_deadline_and_afterwards_all_is_well(
    features: OnlineFeatures, nodes: list[RunningServer], fault: str
) -> None:
    guarded = GuardedFeatures(features, DEADLINE_SECONDS, ServiceMetrics("small_churn", CollectorRegistry()))
    await guarded.read(ASKED, NOW_US)
    nodes[1].command("SAVE")  # what it holds outlives it: this is about those who ask

    if fault == "killed":
        nodes[1].kill()
    else:
        nodes[1].stop_signal()
    slowest, failures = await _reads_for(guarded, 4.0)

    assert failures
    assert failures <= {DeadlineExceededError, OnlineStoreUnavailableError}
    assert slowest < DEADLINE_SECONDS + 0.3

    if fault == "killed":
        nodes[1].restart()
    else:
        nodes[1].cont_signal()
    np.testing.assert_array_equal(await expected(), await _read_again(guarded))


@pytest.mark.parametrize("fault", ["killed", "hangs"])
async def test_a_replica_that_takes_over_is_found(
    feast: TinyFeast, contract: ModelContract, tmp_path: Path, fault: str
) -> None:
    with valkey_cluster(tmp_path / "cluster", replicas=1) as nodes:
        mine = feast.with_redis(url_of(nodes))
        mine.write(CUSTOMERS)
        until(nodes[0].replicated)
        opened = open_feast(mine.repo, mine.artefacts, contract, stall_seconds=DEADLINE_SECONDS).features
        guarded = GuardedFeatures(opened, DEADLINE_SECONDS, ServiceMetrics("small_churn", CollectorRegistry()))
        await guarded.read(ASKED, NOW_US)

        if fault == "killed":
            nodes[0].kill()
        else:
            nodes[0].stop_signal()
        _, failures = await _reads_for(guarded, 0.5)

        assert failures
        np.testing.assert_array_equal(await expected(), await _read_again(guarded))
        await guarded.close()


async def _reads_for(features: OnlineFeatures, seconds: float) -> tuple[float, set[type[Exception]]]:
    """The longest that a read took, without waiting for a CPU; and what reads failed with."""
    until, slowest, failures = time.monotonic() + seconds, 0.0, set()
    while time.monotonic() < until:
        started, waited = time.monotonic(), waited_for_cpu(os.getpid())
        try:
            await features.read(ASKED, NOW_US)
        except Exception as error:
            failures.add(type(error))
        slowest = max(slowest, time.monotonic() - started - (waited_for_cpu(os.getpid()) - waited))
        await asyncio.sleep(0.02)
    return slowest, failures


async def _read_again(features: OnlineFeatures, seconds: float = 20.0) -> NDArray[np.float64]:
    deadline = time.monotonic() + seconds
    while True:
        try:
            return (await features.read(ASKED, NOW_US)).values
        except (DeadlineExceededError, OnlineStoreUnavailableError):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)


async def test_a_cluster_that_is_gone_is_unavailable(
    feast: TinyFeast, contract: ModelContract, caplog: pytest.LogCaptureFixture
) -> None:
    mine = feast.with_redis(f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{free_port()}")
    guarded = GuardedFeatures(
        open_feast(mine.repo, mine.artefacts, contract).features,
        DEADLINE_SECONDS,
        ServiceMetrics("small_churn", CollectorRegistry()),
    )

    slowest, failures = await _reads_for(guarded, 1.0)
    await guarded.close()

    assert failures
    assert failures <= {DeadlineExceededError, OnlineStoreUnavailableError}
    assert slowest < DEADLINE_SECONDS + 0.3


async def test_a_node_that_is_asked_as_if_it_were_all_is_unavailable_and_says_that_keys_have_moved(
    nodes: list[RunningServer], connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    connection = connect(nodes[0].url)

    for number in range(20):
        try:
            await connection.execute(pack(b"HMGET", b"key-%d" % number, b"field"), 1)
        except OnlineStoreUnavailableError:
            continue

    assert {"online store unavailable: MOVED"} == set(caplog.messages)


async def test_the_connection_to_one_server_refuses_a_cluster() -> None:
    with pytest.raises(ValueError, match="several servers"):
        RedisConnection(RedisAddress.of("redis+cluster://h"), 1, 1)


def test_jobs_materialize_into_a_cluster(tmp_path: Path, nodes: list[RunningServer]) -> None:
    shop = Shop.in_folder(tmp_path / "shop").at(url_of(nodes))
    shop.apply()

    shop.materialize()
    shop.materialize(replace=True)

    assert SPEND == shop.spend()
    for node in nodes:
        node.kill()
    with pytest.raises(JobError, match="Redis did not answer: "):
        shop.materialize()
