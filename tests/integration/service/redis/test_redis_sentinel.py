"""A master, its replica and three Sentinels: reads follow the master without a restart."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import redis
from numpy.typing import NDArray

from contract import ModelContract
from jobs.errors import JobError
from service.errors import OnlineStoreUnavailableError
from service.features.compiled.pipe import pack
from service.features.opening import open_feast
from service.features.port import OnlineFeatures
from tests.integration.service.conftest import TinyFeast
from tests.integration.service.redis.conftest import Connect
from tests.integration.service.redis.shop import SPEND, Shop
from tests.models.fakes import NOW_US, FakeOnlineFeatures, Rows, customer, small_contract
from tests.servers.redis_servers import RunningServer, free_port, until, valkey, valkey_sentinel

NAME = "feature-store"
CUSTOMERS: dict[str, Rows] = {"00042": customer(), "42": customer(spend=-0.1, orders=1)}
DEADLINE_SECONDS = 0.5
FAILOVER_SECONDS = 30.0  # a few seconds; an election may need a second round


@dataclass(frozen=True)
class Watched:
    """A master with a replica, and the Sentinels that know both and each other."""

    master: RunningServer
    replica: RunningServer
    sentinels: list[RunningServer]

    @property
    def url(self) -> str:
        return f"redis+sentinel://{','.join(f'127.0.0.1:{sentinel.port}' for sentinel in self.sentinels)}/{NAME}"

    def settled(self) -> bool:
        """True if a majority of Sentinels could promote the replica."""
        known = len(self.sentinels) - 1, 1
        return all(
            known == tuple(len(sentinel.command(f"SENTINEL {what}", NAME)) for what in ("SENTINELS", "SLAVES"))
            for sentinel in self.sentinels
        )

    def agreed_on_the_replica(self) -> bool:
        """True if all Sentinels name it as the master, and as one that is well."""
        masters = [sentinel.command("SENTINEL MASTERS")[NAME] for sentinel in self.sentinels]
        return {(self.replica.port, "master")} == {(master["port"], master["flags"]) for master in masters}


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with ExitStack() as stack:
        master = stack.enter_context(valkey(tmp_path / "master", "--repl-diskless-sync-delay", "0"))
        follow = ("--replicaof", f"127.0.0.1 {master.port}")
        replica = stack.enter_context(valkey(tmp_path / "replica", *follow))
        until(master.replicated)
        sentinels = [
            stack.enter_context(valkey_sentinel(tmp_path / f"sentinel-{number}", NAME, master, quorum=2))
            for number in range(3)
        ]
        watched = Watched(master, replica, sentinels)
        until(watched.settled, FAILOVER_SECONDS)
        yield watched


@pytest.fixture(scope="module")
def contract(feast: TinyFeast) -> ModelContract:
    return feast.contract()


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    shop = Shop.in_folder(tmp_path_factory.mktemp("shop"))
    shop.apply()
    return shop


async def values(features: OnlineFeatures) -> NDArray[np.float64]:
    return (await features.read([*CUSTOMERS, "nobody"], NOW_US)).values


async def values_after_failover(features: OnlineFeatures) -> NDArray[np.float64]:
    """What is read as soon as something can be; until then every read fails as announced, or hangs."""
    deadline = time.monotonic() + FAILOVER_SECONDS
    while True:
        try:
            return await asyncio.wait_for(values(features), DEADLINE_SECONDS)
        except (OnlineStoreUnavailableError, TimeoutError):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("fault", ["killed", "hangs"])
@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "sdk"])
async def test_reads_and_writes_follow_the_master_after_it_failed(
    feast: TinyFeast, contract: ModelContract, watched: Watched, compiled: bool, fault: str
) -> None:
    mine = feast.with_redis(watched.url)
    mine.write(CUSTOMERS)
    until(watched.master.replicated)
    opened = open_feast(mine.repo, mine.artefacts, contract, compiled=compiled, stall_seconds=DEADLINE_SECONDS)
    features = opened.features
    expected = (await FakeOnlineFeatures(small_contract(), CUSTOMERS).read([*CUSTOMERS, "nobody"], NOW_US)).values
    np.testing.assert_array_equal(expected, await values(features))

    if fault == "killed":
        watched.master.kill()
    else:
        watched.master.stop_signal()
    with pytest.raises((OnlineStoreUnavailableError, TimeoutError)):
        await asyncio.wait_for(values(features), DEADLINE_SECONDS)

    np.testing.assert_array_equal(expected, await values_after_failover(features))
    until(watched.agreed_on_the_replica, FAILOVER_SECONDS)  # redis-py asks for more agreement before it writes
    mine.write({"later": customer(spend=7.0)})
    later = await features.read(["later"], NOW_US)
    assert 7.0 in later.values
    assert b"later" in b"".join(redis_keys(watched.replica))
    await features.close()


def redis_keys(server: RunningServer) -> list[bytes]:
    with redis.Redis.from_url(server.url) as client:
        keys: list[bytes] = client.keys()
        return keys


def is_replica(server: RunningServer) -> bool:
    try:
        return bool("slave" == server.command("INFO", "replication")["role"])
    except redis.ConnectionError:  # it hangs up on everybody as it becomes one
        return False


async def test_a_master_that_was_demoted_is_left_for_the_new_one(watched: Watched, connect: Connect) -> None:
    connection = connect(watched.url, connect_seconds=0.2)
    before = await connection.execute(pack(b"ROLE") + pack(b"CONFIG", b"GET", b"port"), 2)

    watched.sentinels[0].command("SENTINEL FAILOVER", NAME)
    until(lambda: is_replica(watched.master), FAILOVER_SECONDS)
    await asyncio.sleep(0.1)
    after = await connection.execute(pack(b"ROLE") + pack(b"CONFIG", b"GET", b"port"), 2)

    assert [b"master", str(watched.master.port).encode()] == [before[0][0], before[1][1]]
    assert [b"master", str(watched.replica.port).encode()] == [after[0][0], after[1][1]]


async def test_one_sentinel_that_answers_is_enough(watched: Watched, connect: Connect) -> None:
    watched.sentinels[0].stop_signal()
    watched.sentinels[1].kill()
    connection = connect(watched.url, connect_seconds=0.2)

    assert [b"PONG"] == await connection.execute(pack(b"PING"), 1)
    watched.sentinels[0].cont_signal()


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        ("all Sentinels killed", "ConnectionRefusedError"),
        ("all Sentinels hang", "TimeoutError"),
        ("another name", "MasterNotFoundError"),
        ("a Sentinel with a password", "NOAUTH"),
    ],
)
async def test_a_master_that_nobody_names_is_unavailable_and_the_reason_is_said(
    watched: Watched, connect: Connect, caplog: pytest.LogCaptureFixture, harm: str, reason: str
) -> None:
    url = watched.url
    for sentinel in watched.sentinels:
        if harm == "all Sentinels killed":
            sentinel.kill()
        elif harm == "all Sentinels hang":
            sentinel.stop_signal()
        elif harm == "a Sentinel with a password":
            sentinel.command("ACL", "SETUSER", "default", "resetpass", ">secret")
        else:
            url = watched.url.replace(NAME, "elsewhere")
    connection = connect(url, connect_seconds=0.2)

    for _ in range(2):
        with pytest.raises(OnlineStoreUnavailableError):
            await connection.execute(pack(b"PING"), 1)

    assert [f"online store unavailable: {reason}"] * 2 == caplog.messages


async def test_it_logs_in_at_the_master_and_not_at_the_sentinels(watched: Watched, connect: Connect) -> None:
    watched.master.command(
        "ACL", "SETUSER", "serving", "on", ">secret", "+hmget", "+multi", "+echo", "+exec", "+select", "~*"
    )
    connection = connect(watched.url.replace("//", "//serving:secret@") + "/1")

    assert [[None]] == await connection.execute(pack(b"HMGET", b"key", b"field"), 1)


def test_materializing_goes_to_the_master_of_the_day(applied: Shop, watched: Watched) -> None:
    shop = applied.at(watched.url)
    shop.materialize()
    assert SPEND == shop.spend()

    watched.master.kill()
    until(watched.agreed_on_the_replica, FAILOVER_SECONDS)
    shop.materialize(replace=True)

    assert SPEND == shop.spend()


def test_a_job_says_that_no_sentinel_names_a_master(applied: Shop) -> None:
    with pytest.raises(JobError, match="Redis did not answer: MasterNotFoundError"):
        applied.at(f"redis+sentinel://127.0.0.1:{free_port()}/{NAME}").materialize()
