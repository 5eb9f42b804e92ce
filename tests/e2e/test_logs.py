"""What the running service prints: JSON, line by line, and nothing that must stay secret."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.loop import Loop
from tests.servers.redis_servers import RunningServer, valkey
from tests.servers.serving import Service, serving, wait_until

KEY, PASSWORD, OTHER_PASSWORD = "planted-api-key", "planted-redis-password", "planted-other-password"
PLANTED = 31337.25
SPEND = "customer_lifetime__total_spend"
SECRETS = {KEY, hashlib.sha256(KEY.encode()).hexdigest(), PASSWORD, OTHER_PASSWORD, str(PLANTED), "00042"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="module")
def store(loop: Loop, folder: Path) -> Iterator[RunningServer]:
    """The loop's customers in a Redis of this module's own, which asks for a password."""
    redis.Redis.from_url((loop.root / "var" / "redis" / "url").read_text().strip()).save()
    (folder / "redis").mkdir()
    shutil.copy(loop.root / "var" / "redis" / "dump.rdb", folder / "redis" / "dump.rdb")
    with valkey(folder / "redis", "--requirepass", PASSWORD, "--dbfilename", "dump.rdb") as running:
        yield running


@pytest.fixture(scope="module")
def service(loop: Loop, folder: Path, store: RunningServer) -> Iterator[Service]:
    settings = {
        "REDIS_URL": f"redis://:{PASSWORD}@127.0.0.1:{store.port}/0",
        "SERVICE_API_KEYS": f"shop:{hashlib.sha256(KEY.encode()).hexdigest()}",
        "SERVICE_LOG_REQUESTS": "true",
        "SERVICE_LOG_LEVEL": "DEBUG",
    }
    with serving(loop, folder, **settings) as running:
        yield running


def ask(service: Service, request_id: str, path: str = "/predict", body: object = None, key: str = KEY) -> int:
    headers = {"Authorization": f"Bearer {key}", "X-Request-ID": request_id}
    return service.call("POST", path, body or {"customer_id": "00042"}, headers).status


def lines(service: Service) -> list[dict[str, Any]]:
    """All of its log from the first JSON object on; before that, the command line speaks."""
    printed = service.log.read_text().splitlines()
    begin = next(number for number, line in enumerate(printed) if line.startswith("{"))
    return [json.loads(line) for line in printed[begin:]]


def of_request(service: Service, request_id: str) -> dict[str, Any]:
    (line,) = [line for line in lines(service) if line.get("request_id") == request_id]
    return line


def test_each_request_is_one_line_with_who_asked_and_what_came_of_it(service: Service) -> None:
    row = {feature["name"]: 1.0 for feature in model(service)["contract"]["inputs"]}
    asked = {
        "ok-1": ask(service, "ok-1"),
        "explain-1": ask(service, "explain-1", "/explain"),
        "unknown-1": ask(service, "unknown-1", body={"customer_id": "nobody"}),
        "invalid-1": ask(service, "invalid-1", body={"customer_id": "00042", "features": {SPEND: str(PLANTED)}}),
        "override-1": ask(service, "override-1", body={"customer_id": "00042", "features": {SPEND: PLANTED}}),
        "invocations-1": ask(service, "invocations-1", "/invocations", {"inputs": row | {SPEND: PLANTED}}),
        "refused-1": ask(service, "refused-1", key=f"{KEY}x"),
    }

    assert [200, 200, 404, 400, 200, 200, 401] == list(asked.values())
    found = {request_id: of_request(service, request_id) for request_id in asked}
    assert asked == {request_id: line["status"] for request_id, line in found.items()}
    assert ["shop"] * 6 + ["unauthenticated"] == [line["client"] for line in found.values()]
    assert "predict: ok" == found["ok-1"]["message"]
    assert 0 < found["ok-1"]["seconds"] < 30


def model(service: Service) -> Any:
    return service.call("GET", "/model", headers={"Authorization": f"Bearer {KEY}"}).body


def test_a_store_that_fails_in_any_way_is_a_warning_with_the_request(service: Service, store: RunningServer) -> None:
    store.command("CONFIG", "SET", "requirepass", OTHER_PASSWORD, password=PASSWORD)
    store.command("CLIENT", "KILL", "SKIPME", "yes", password=OTHER_PASSWORD)
    refused = ask(service, "password-1")
    store.command("CONFIG", "SET", "requirepass", PASSWORD, password=OTHER_PASSWORD)
    wait_until(lambda: ask(service, "between") == 200)

    store.stop_signal()
    hung = ask(service, "hung-1")
    store.cont_signal()
    wait_until(lambda: ask(service, "between") == 200)

    store.kill()
    down = ask(service, "down-1")
    store.restart()
    wait_until(lambda: ask(service, "between") == 200)

    assert [503] * 3 == [refused, hung, down]
    for request_id in ("password-1", "hung-1", "down-1"):
        line = of_request(service, request_id)
        assert ("WARNING", "shop", 503) == (line["level"], line["client"], line["status"])


def test_every_line_is_a_json_object_and_nothing_secret_is_in_the_log(service: Service) -> None:
    """Last but one: of all that the tests above have provoked."""
    service.call("GET", "/predict%00", headers={"Authorization": f"Bearer {KEY}"})
    printed = service.log.read_text()

    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines(service))
    assert len(lines(service)) > 10
    assert not {secret for secret in SECRETS if secret in printed}


def test_also_when_it_ends(service: Service) -> None:
    service.stop()

    loggers = {line["logger"] for line in lines(service)}
    assert "service" in loggers
    assert {name for name in loggers if name.startswith("bentoml")}, "what BentoML logs is JSON as well"
    assert not {secret for secret in SECRETS if secret in service.log.read_text()}


def test_as_text_and_from_a_level_on(loop: Loop, tmp_path: Path, store: RunningServer) -> None:
    settings = {
        "REDIS_URL": f"redis://:{PASSWORD}@127.0.0.1:{store.port}/0",
        "SERVICE_LOG_FORMAT": "text",
        "SERVICE_LOG_LEVEL": "WARNING",
    }
    with serving(loop, tmp_path, **settings) as service:
        assert 200 == service.call("POST", "/predict", {"customer_id": "00042"}).status
        store.stop_signal()
        hung = service.call("POST", "/predict", {"customer_id": "00042"}, {"X-Request-ID": "hung-1"})
        store.cont_signal()
        printed = service.log.read_text()

    assert 503 == hung.status
    (line,) = [line for line in printed.splitlines() if "hung-1" in line]
    assert (
        "WARNING service.api.routing: predict: deadline_exceeded request_id=hung-1 client=anonymous status=503" in line
    )
    assert " INFO " not in printed
    assert PASSWORD not in printed
