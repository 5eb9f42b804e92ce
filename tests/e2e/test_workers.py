"""Two workers behind one port: metrics that add up, and what remains when one of them is killed."""

import http.client
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from prometheus_client.multiprocess import MultiProcessCollector

from artefacts.addresses import Artefacts
from jobs.feature_store import feast_variables
from tests.loop import Loop
from tests.servers.serving import Service, samples, serving, wait_until

ASK = ("POST", "/predict", {"customer_id": "00042"})
TWO = {"BENTOML_CONFIG_OPTIONS": "services.churn.workers=2"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workers")


@pytest.fixture(scope="module")
def service(loop: Loop, folder: Path) -> Iterator[Service]:
    """With a registry of its own, which a test breaks and mends."""
    registry = shutil.copy(loop.root / "var" / "feast" / "registry.db", folder / "registry.db")
    own = {"FEAST_REGISTRY": str(registry), "SERVICE_CONTRACT_CHECK_SECONDS": "0.5"}
    with serving(loop, folder, **TWO, **own) as running:
        wait_until(lambda: len(workers(running)) == 2)
        wait_until(lambda: all(counted(folder, pid) is not None for pid in workers(running)), 60)
        yield running


def workers(service: Service) -> set[int]:
    """Process ids."""
    found = set()
    for child in psutil.Process(service.process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has just ended
            if "_bentoml_impl.worker.service" in child.cmdline():
                found.add(child.pid)
    return found


def counted(folder: Path, worker: int) -> int | None:
    """Requests that one worker has counted; None before it has started."""
    metrics = folder / "bentoml" / "metrics_of_servers"
    if not any(metrics.glob(f"*/gauge_livemax_{worker}.db")):
        return None
    (counters,) = metrics.glob(f"*/counter_{worker}.db")
    of_worker = MultiProcessCollector.merge([str(counters)])  # type: ignore[no-untyped-call]
    return sum(
        int(sample.value)
        for metric in of_worker
        if metric.name == "model_service_requests"
        for sample in metric.samples
    )


@contextmanager
def connections(service: Service, folder: Path) -> Iterator[dict[int, http.client.HTTPConnection]]:
    """A connection to each worker; which one accepts a connection is the kernel's choice.

    An idle one may get them all, so those that are known already are kept busy meanwhile.
    """
    found: dict[int, http.client.HTTPConnection] = {}
    much = json.dumps({"customer_ids": [f"{number:05d}" for number in range(1000)]})
    with ExitStack() as stack:
        for _ in range(200):
            if len(found) == 2:
                break
            connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
            stack.callback(connection.close)
            before = {worker: counted(folder, worker) for worker in workers(service)}
            for busy in found.values():
                busy.request("POST", "/predict_batch", much, {"Content-Type": "application/json"})
            get(connection, "/model")
            for busy in found.values():
                busy.getresponse().read()
            for worker in before.keys() - found.keys():
                if before[worker] != counted(folder, worker):
                    found[worker] = connection
        assert 2 == len(found), "one of the workers never answers"
        yield found


def get(connection: http.client.HTTPConnection, path: str) -> str:
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read().decode()
    assert 200 == response.status
    return body


def test_counters_add_up_over_workers(service: Service, folder: Path) -> None:
    before = service.metric("model_service_requests_total", call="predict", outcome="ok")

    statuses = [service.call(*ASK).status for _ in range(50)]

    assert [200] * 50 == statuses
    assert before + 50 == service.metric("model_service_requests_total", call="predict", outcome="ok")
    assert service.metric("model_service_requests_total") == sum(
        counted(folder, worker) or 0 for worker in workers(service)
    )


def test_either_worker_gives_the_same_metrics(service: Service, folder: Path) -> None:
    service.call(*ASK)

    with connections(service, folder) as to_each:
        first, second = (get(connection, "/metrics") for connection in to_each.values())

    assert first == second
    assert [1] == samples(first, "model_service_model_live")
    assert "pid=" not in first


def test_a_registry_that_breaks_the_contract_is_shown_until_it_is_mended(
    loop: Loop, service: Service, folder: Path
) -> None:
    assert 0 == service.metric("model_service_contract_mismatch")

    apply(loop, folder, "ttl=timedelta(days=2)", "ttl=timedelta(days=3)")
    wait_until(lambda: service.metric("model_service_contract_mismatch") == 1, 30)
    apply(loop, folder, "", "")
    wait_until(lambda: service.metric("model_service_contract_mismatch") == 0, 30)

    assert 200 == service.call(*ASK).status


def apply(loop: Loop, folder: Path, old: str, new: str) -> None:
    """`feast apply` of the definitions with one change to the service's own registry."""
    changed = folder / "feature_repo"
    shutil.copytree(loop.root / "feature_repo", changed, dirs_exist_ok=True)
    views = changed / "feature_views.py"
    assert old in views.read_text()
    views.write_text(views.read_text().replace(old, new))
    artefacts = Artefacts.of({"FEAST_REGISTRY": str(folder / "registry.db")}, root=loop.root)
    subprocess.run(
        [f"{loop.environment['VENV']}/bin/feast", "apply"],
        cwd=changed,
        env={**loop.environment, **feast_variables(artefacts, folder / "feature_store.yaml")},
        capture_output=True,
        timeout=120,
        check=True,
    )


def test_both_workers_take_from_one_quota(loop: Loop, tmp_path: Path) -> None:
    with (
        serving(loop, tmp_path, **TWO, SERVICE_QUOTAS="anonymous=3/-") as running,
        ThreadPoolExecutor(8) as clients,
    ):
        wait_until(lambda: len(workers(running)) == 2)
        wait_until(lambda: all(counted(tmp_path, pid) is not None for pid in workers(running)), 60)
        statuses, started = list[int](), time.monotonic()
        for _ in range(50):
            statuses += clients.map(lambda _: running.call(*ASK).status, range(24))
            if all(counted(tmp_path, worker) for worker in workers(running)):
                break
        both = [counted(tmp_path, worker) for worker in workers(running)]

    assert 0 not in both, "one of the workers never answers"
    assert {200, 429} == set(statuses)
    came_back = (time.monotonic() - started) / 20  # one every twenty seconds
    assert 3 <= statuses.count(200) <= 3 + came_back


def test_a_killed_worker_is_replaced_its_counts_stay_and_its_open_breaker_goes(
    loop: Loop, service: Service, folder: Path
) -> None:
    """Last, because it changes who the workers are."""
    killed, other = sorted(workers(service))
    with hung_redis(loop):
        for _ in range(200):
            service.call(*ASK)
            if service.metric("model_service_breaker_open") == 2:
                break
        both_open, before = service.metric("model_service_breaker_open"), service.metric("model_service_requests_total")
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: service.metric("model_service_breaker_open") == 1, 5)

    assert 2 == both_open
    assert before <= service.metric("model_service_requests_total")
    wait_until(lambda: len(workers(service)) == 2, 60)
    (replacement,) = workers(service) - {other}
    wait_until(lambda: counted(folder, replacement) is not None, 60)
    with connections(service, folder) as to_each:
        assert {other, replacement} == to_each.keys()
    wait_until(lambda: service.call(*ASK).status == 200 and service.metric("model_service_breaker_open") == 0)
    assert 1 == service.metric("model_service_model_live")
    assert before < service.metric("model_service_requests_total")


def test_clients_who_come_while_no_worker_lives_wait_and_the_next_one_answers(service: Service) -> None:
    """BentoML's supervisor looks after its workers every ten seconds; until then the kernel takes connections."""
    before = service.call(*ASK)
    for worker in workers(service):
        os.kill(worker, signal.SIGKILL)
    method, path, body = ASK
    with closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=120)) as client:
        client.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
        answer = client.getresponse()
        answered = json.loads(answer.read())

    assert 200 == answer.status
    assert {**before.body, "request_id": ""}.keys() == {**answered, "request_id": ""}.keys()
    assert before.body["status"] == answered["status"] == "ok"
    assert before.body["churn_probability"] == pytest.approx(answered["churn_probability"], abs=1e-3)


@contextmanager
def hung_redis(loop: Loop) -> Iterator[None]:
    process = int((loop.root / "var" / "redis" / "valkey.pid").read_text())
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)
