"""Redis with the users that deploy/make_secrets.py makes for a Feast project: its keys and no other project's."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import redis

from deploy import make_secrets
from jobs.materialization.locks import RunLock
from tests.integration.service.conftest import TinyFeast
from tests.models.fakes import NOW_US, FakeOnlineFeatures, customer, small_contract
from tests.servers.redis_servers import RunningServer, valkey

PROJECT = "tiny"
CUSTOMERS = {"00042": customer(), "42": customer(spend=-0.1)}


class Users:
    """A server with the users of one project; their addresses."""

    def __init__(self, server: RunningServer, secrets: Path) -> None:
        self._server, self._secrets = server, secrets

    def __call__(self, user: str) -> str:
        made = (self._secrets / f"redis_{user}_url").read_text().strip()
        return made.replace("@redis:6379/", f"@127.0.0.1:{self._server.port}/")


@pytest.fixture(scope="module")
def url_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Users]:
    secrets = tmp_path_factory.mktemp("secrets")
    make_secrets.make(secrets, PROJECT)
    with valkey(tmp_path_factory.mktemp("server"), "--aclfile", str(secrets / "redis_users.acl")) as server:
        yield Users(server, secrets)


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "sdk"])
async def test_the_jobs_write_and_the_service_reads_the_keys_of_the_project(
    feast: TinyFeast, url_of: Users, compiled: bool
) -> None:
    contract = feast.contract()
    feast.with_redis(url_of("jobs")).write(CUSTOMERS)
    features = feast.with_redis(url_of("serving")).open(contract, compiled=compiled).features

    raw = await features.read(["42", "nobody", "00042"], NOW_US)
    await features.close()

    expected = await FakeOnlineFeatures(small_contract(), CUSTOMERS).read(["42", "nobody", "00042"], NOW_US)
    np.testing.assert_array_equal(expected.values, raw.values)


def test_the_jobs_keep_their_locks_and_notes_below_the_project_s_name(url_of: Users) -> None:
    with redis.Redis.from_url(url_of("jobs")) as client:
        with RunLock(client, f"{PROJECT}:materialize", "materialization", 30):
            assert client.get(f"{PROJECT}:materialize")
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.get("churn:materialize")


@pytest.mark.parametrize("user", ["serving", "jobs"])
@pytest.mark.parametrize("command", ["HMGET 42churn field", "HSET 42churn field value", "GET churn:materialize"])
def test_another_project_s_keys_are_denied(url_of: Users, user: str, command: str) -> None:
    with redis.Redis.from_url(url_of(user)) as client, pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command(*command.split())
