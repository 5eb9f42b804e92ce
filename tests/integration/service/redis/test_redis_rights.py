"""With the ACL lines of docs/redis.md, over TLS: the service reads and can do nothing else, the jobs write."""

import asyncio
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
import redis

from artefacts.addresses import PROJECT_ROOT
from contract import ModelContract
from jobs.errors import JobError
from jobs.materialization.locks import RunLock
from service.errors import OnlineStoreUnavailableError
from service.features.opening import open_feast
from tests.integration.service.conftest import TinyFeast
from tests.integration.service.redis.shop import NOW, SPEND, Shop
from tests.models.churn_model import churn_contract
from tests.models.fakes import NOW_US, FakeOnlineFeatures, customer, small_contract
from tests.servers.redis_servers import until
from tests.servers.tls import CertificateAuthority, TlsServer, tls_in_front_of_valkey

DOCUMENT = (PROJECT_ROOT / "docs" / "redis.md").read_text()
PASSWORD = "p@ss:w/rd=%$HOME {}#"  # noqa: S105  # of a test's own server
ADMIN = "admin"
CUSTOMERS = {"00042": customer(), "42": customer(spend=-0.1, orders=1)}


def documented_rights(user: str) -> list[str]:
    (line,) = re.findall(rf"^ACL SETUSER {user} on >PASSWORD (.*)$", DOCUMENT, re.MULTILINE)
    return str(line).split()


def documented_rights_in_a_cluster() -> list[str]:
    (line,) = re.findall(r"^(\+command .*)$", DOCUMENT, re.MULTILINE)
    return str(line).split()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return CertificateAuthority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def guarded(authority: CertificateAuthority, tmp_path: Path) -> Iterator[TlsServer]:
    """A server with TLS and the documented users, once for each of the two projects that the tests have."""
    with tls_in_front_of_valkey(tmp_path / "server", authority, authority.issue("server")) as tls:
        for project, prefix in (("churn", ""), ("tiny", "tiny-")):
            for user in ("serving", "jobs"):
                rights = [right.replace("churn", project) for right in documented_rights(user)]
                tls.server.command("ACL", "SETUSER", f"{prefix}{user}", "on", f">{PASSWORD}", *rights)
        tls.server.command("CONFIG", "SET", "requirepass", ADMIN)
        yield tls


@pytest.fixture
def url_of(guarded: TlsServer, authority: CertificateAuthority) -> "Url":
    return Url(guarded, authority)


class Url:
    def __init__(self, tls: TlsServer, authority: CertificateAuthority) -> None:
        self._at = f"localhost:{tls.port}/0?ssl_ca_certs={authority.certificate}"

    def __call__(self, user: str, password: str = PASSWORD) -> str:
        return f"rediss://{user}:{quote(password, safe='')}@{self._at}"


@pytest.fixture(scope="module")
def contract(feast: TinyFeast) -> ModelContract:
    return feast.contract()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    shop = Shop.in_folder(tmp_path_factory.mktemp("shop"))
    shop.apply()
    return shop


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "sdk"])
async def test_the_service_reads_what_the_jobs_have_written(
    feast: TinyFeast, contract: ModelContract, url_of: Url, compiled: bool
) -> None:
    feast.with_redis(url_of("tiny-jobs")).write(CUSTOMERS)
    serving = feast.with_redis(url_of("tiny-serving"))
    features = open_feast(serving.repo, serving.artefacts, contract, compiled=compiled, stall_seconds=30).features

    raw = await features.read(["42", "nobody", "00042"], NOW_US)
    await features.close()

    expected = await FakeOnlineFeatures(small_contract(), CUSTOMERS).read(["42", "nobody", "00042"], NOW_US)
    np.testing.assert_array_equal(expected.values, raw.values)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("HSET 42tiny field value", "no permissions to run the 'hset' command"),
        ("DEL 42tiny", "no permissions to run the 'del' command"),
        ("KEYS *", "no permissions to run the 'keys' command"),
        ("SCAN 0", "no permissions to run the 'scan' command"),
        ("CONFIG GET *", "no permissions to run the 'config|get' command"),
        ("GET tiny:materialized_source", "no permissions to run the 'get' command"),
        ("HMGET tiny:materialized_source field", "No permissions to access a key"),
        ("HMGET 42churn field", "No permissions to access a key"),
        ("MSET 42tiny value", "no permissions to run the 'mset' command"),
    ],
)
async def test_the_services_user_can_do_nothing_but_read_customers(url_of: Url, command: str, says: str) -> None:
    with (
        redis.Redis.from_url(url_of("tiny-serving")) as client,
        pytest.raises(redis.exceptions.NoPermissionError, match=re.escape(says)),
    ):
        client.execute_command(*command.split())


@pytest.mark.parametrize("command", ["FLUSHALL", "KEYS *", "CONFIG GET *", "GET other", "SET other 1", "ACL LIST"])
async def test_the_jobs_user_can_touch_no_other_keys(url_of: Url, command: str) -> None:
    with redis.Redis.from_url(url_of("jobs")) as client, pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command(*command.split())


def test_the_jobs_need_every_right_they_have_and_no_other(shop: Shop, url_of: Url, guarded: TlsServer) -> None:
    mine = shop.at(url_of("jobs"))
    guarded.server.command("CONFIG", "RESETSTAT", password=ADMIN)

    mine.apply()
    mine.materialize()
    mine.materialize(replace=True)

    assert SPEND == mine.spend()
    _a_view_is_removed(mine)
    with redis.Redis.from_url(url_of("jobs")) as client, RunLock(client, "churn:materialize", "materialization", 0.5):
        until(lambda: "cmdstat_pexpire" in guarded.server.command("INFO", "commandstats", password=ADMIN))
    used = {name.removeprefix("cmdstat_") for name in guarded.server.command("INFO", "commandstats", password=ADMIN)}
    allowed = {right.removeprefix("+") for right in documented_rights("jobs") if right.startswith("+")}
    assert allowed == used - {"auth", "client|setinfo", "config|resetstat"}


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "sdk"])
async def test_the_service_learns_how_far_the_snapshots_reach_by_the_rights_that_it_has(
    shop: Shop, url_of: Url, compiled: bool
) -> None:
    contract = churn_contract(shop.artefacts)
    artefacts = shop.artefacts.model_copy(update={"redis_url": url_of("serving")})
    opened = open_feast(PROJECT_ROOT / "feature_repo", artefacts, contract, compiled=compiled, stall_seconds=30)
    before = await opened.newest_snapshot()

    await asyncio.to_thread(shop.at(url_of("jobs")).materialize)
    after = await opened.newest_snapshot()
    await asyncio.to_thread(shop.at(url_of("jobs")).materialize, until=NOW - timedelta(days=5))
    unsure = await opened.newest_snapshot()
    await opened.features.close()

    end = (NOW - timedelta(days=2)).replace(hour=0, minute=0, second=0, microsecond=0)  # of the last order's day
    assert (None, end.timestamp(), None) == (before, after, unsure)


def _a_view_is_removed(shop: Shop) -> None:
    """What `feast apply` does to the online store when a view has gone from `feature_repo/`."""
    from jobs.feature_store import open_feature_store

    store = open_feature_store(shop.artefacts)
    online_store = store.provider.online_store
    online_store.delete_table(store.config, store.get_feature_view("customer_lifetime"))


@pytest.mark.parametrize(
    ("user", "password", "reason"),
    [("jobs", "hunter2", "AuthenticationError"), ("serving", PASSWORD, "NoPermissionError")],
)
def test_a_job_that_is_not_let_in_says_why_and_tells_no_secret(
    shop: Shop, url_of: Url, user: str, password: str, reason: str
) -> None:
    with pytest.raises(JobError, match=f"Redis did not answer: {reason}$"):
        shop.at(url_of(user, password)).materialize()


@pytest.mark.parametrize(
    ("compiled", "user", "reason"),
    [
        (True, "nobody", "WRONGPASS"),
        (True, "serving", "NOPERM"),
        (False, "nobody", "AuthenticationError"),
        (False, "serving", "NoPermissionError"),
    ],
)
async def test_a_service_that_is_not_let_in_says_why_and_tells_no_secret(
    feast: TinyFeast,
    contract: ModelContract,
    url_of: Url,
    caplog: pytest.LogCaptureFixture,
    compiled: bool,
    user: str,
    reason: str,
) -> None:
    serving = feast.with_redis(url_of(user))  # the other project's user, or none at all
    features = open_feast(serving.repo, serving.artefacts, contract, compiled=compiled, stall_seconds=30).features

    with pytest.raises(OnlineStoreUnavailableError):
        await features.read(["42"], NOW_US)
    await features.close()

    assert [f"online store unavailable: {reason}"] == caplog.messages
