"""The service reads Redis as a user who can do nothing else, and needs neither MLflow, the offline store nor `var/`."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from deploy import make_secrets
from tests.loop import Loop, copy_source, make
from tests.servers.redis_servers import RunningServer, valkey
from tests.servers.serving import Service, serving

CUSTOMER = "00042"
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("least_privilege")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[RunningServer]:
    """A Redis with the users that `make up` makes, and one more who can see what was denied."""
    make_secrets.make(folder / "secrets", "churn")
    users = folder / "secrets" / "redis_users.acl"
    watching = folder / "users.acl"
    watching.write_text(users.read_text() + "user watching on nopass resetkeys -@all +acl|log\n")
    with valkey(folder / "redis", "--aclfile", str(watching)) as server:
        yield server


def url_file(folder: Path, server: RunningServer, user: str) -> Path:
    """The user's address, but for the port and host that the server of this test has."""
    url = (folder / "secrets" / f"redis_{user}_url").read_text().replace("@redis:6379", f"@127.0.0.1:{server.port}")
    file = folder / f"{user}_url"
    file.write_text(url)
    return file


@pytest.fixture(scope="module")
def materialized(loop: Loop, folder: Path, server: RunningServer) -> str:
    """What `make materialize` said as the jobs' user."""
    environment = {**loop.environment, "REDIS_URL_FILE": str(url_file(folder, server, "jobs"))}
    records = {"MATERIALIZE_RUNS_PATH": str(folder / "runs.jsonl")}
    done = make(loop.root, {**environment, **records}, "materialize")
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def service(loop: Loop, folder: Path, server: RunningServer, materialized: str) -> Iterator[Service]:
    """In a tree without `var/`: with the registry, the model store and a user who may only read."""
    copy_source(folder / "tree")
    registry = folder / "registry.db"
    registry.write_bytes((loop.root / "var" / "feast" / "registry.db").read_bytes())
    with serving(
        replace(loop, root=folder / "tree"),
        folder / "service",
        FEAST_REGISTRY=str(registry),
        REDIS_URL_FILE=str(url_file(folder, server, "serving")),
        SERVICE_MODEL_TAG=(loop.root / "var" / "model_tag").read_text().strip(),
        MLFLOW_TRACKING_URI=NOWHERE,
        OFFLINE_STORE_DIR=str(folder / "no_offline_store"),
    ) as service:
        yield service


def denied(server: RunningServer) -> set[tuple[str, str]]:
    """User and command of everything that was denied, but for what clients say of themselves."""
    client = redis.Redis(port=server.port, username="watching", password="", decode_responses=True)
    with client:
        entries: Any = client.acl_log()
    return {(e["username"], e["object"]) for e in entries} - {
        (user, "client|setinfo") for user in ("serving", "jobs", "watching")
    }


def test_it_predicts_without_mlflow_and_offline_store_as_a_user_who_may_only_read(
    loop: Loop, service: Service, folder: Path, server: RunningServer
) -> None:
    assert not (folder / "tree" / "var").exists()

    answer = service.call("POST", "/predict", {"customer_id": CUSTOMER})
    explained = service.call("POST", "/explain", {"customer_id": CUSTOMER})
    expected = loop.call("POST", "/predict", {"customer_id": CUSTOMER})

    assert (200, 200, 200) == (answer.status, explained.status, expected.status)
    assert expected.body["churn_probability"] == pytest.approx(answer.body["churn_probability"], abs=1e-4)
    assert "ok" == answer.body["status"]
    assert not (folder / "no_offline_store").exists()
    assert set() == denied(server)


@pytest.mark.parametrize(
    "command",
    [
        "HSET {key} field value",
        "DEL {key}",
        "EXPIRE {key} 1",
        "RENAME {key} other",
        "HGETALL {key}",
        "HMGET otherproject field",
        "HMGET churn:materialize field",
        "GET churn:materialized_source",
        "SCAN 0",
        "KEYS *",
        "CONFIG GET *",
        "CONFIG SET maxmemory 1",
        "FLUSHALL",
        "EVAL return 0",
        "ACL LIST",
        "SHUTDOWN NOSAVE",
        "PUBLISH channel word",
        "WATCH {key}",
        "REPLICAOF 127.0.0.1 1",
        "MODULE LIST",
        "DEBUG SLEEP 0",
        "SELECT 1",
    ],
)
def test_the_services_user_is_denied_everything_else(server: RunningServer, folder: Path, command: str) -> None:
    with (
        redis.Redis.from_url(url_file(folder, server, "serving").read_text().strip()) as client,
        pytest.raises(redis.exceptions.NoPermissionError),
    ):
        client.execute_command(*command.format(key="somebodychurn").split())


def test_nobody_is_let_in_without_a_password_but_to_ask_whether_redis_lives(server: RunningServer) -> None:
    with redis.Redis(port=server.port) as client, pytest.raises(redis.exceptions.AuthenticationError):
        client.ping()
    with redis.Redis(port=server.port, username="health", password="") as client:
        assert client.ping()
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.hmget("somebodychurn", "field")
