"""Real servers for the fault suite: a Valkey with the loop's features, a service on it, and a load that is judged."""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.faults.definitions import Definitions, apply
from tests.faults.load import Load
from tests.faults.machine import children
from tests.faults.promises import (
    LONGEST_SECONDS,
    RECOVERY_SECONDS,
    UNAVAILABLE,
    Designed,
    Measurement,
    Truth,
    measure,
)
from tests.loop import Loop
from tests.run_all import BESIDE
from tests.servers.redis_servers import RunningServer, valkey
from tests.servers.serving import START_SECONDS, Service, started, wait_until

CUSTOMERS = [f"{number:05d}" for number in range(42, 23_500, 469)]
PASSWORD = "first"  # noqa: S105  # of a test's own server
CALM_SECONDS, FAULT_SECONDS = 1.0, 2.5
_AFTER_SECONDS = RECOVERY_SECONDS + 0.5


@pytest.fixture(scope="session", autouse=True)
def alone() -> None:
    """These tests measure time, so they begin when the other half of `tests/run_all.py` is done."""
    if BESIDE in os.environ:
        with Path(os.environ[BESIDE]).open() as running:
            fcntl.flock(running, fcntl.LOCK_SH)


@pytest.fixture(scope="session")
def stored(loop: Loop) -> Path:
    """Everything that `make run` materialized, as a file that a server loads when it starts."""
    url = (loop.root / "var" / "redis" / "url").read_text().strip()
    with redis.Redis.from_url(url) as client:
        client.save()
    return loop.root / "var" / "redis" / "dump.rdb"


@contextmanager
def filled_valkey(stored: Path, folder: Path) -> Iterator[RunningServer]:
    """A server with every customer; whenever it is started again it has them again."""
    folder.mkdir(parents=True)
    shutil.copy2(stored, folder / "dump.rdb")
    with valkey(folder, "--requirepass", PASSWORD) as server:
        yield server


def redis_url(port: int) -> str:
    return f"redis://:{PASSWORD}@127.0.0.1:{port}/0"


def answers_of(service: Service) -> list[dict[str, Any]]:
    """What the customers are answered now, asked for one by one."""
    rows = []
    for customer_id in CUSTOMERS:
        answer = service.call("POST", "/predict", {"customer_id": customer_id})
        assert 200 == answer.status, answer
        rows.append({key: value for key, value in answer.body.items() if key not in ("request_id", "model")})
    return rows


@dataclass
class FaultInProgress:
    """What is filled in once the load after the fault has ended."""

    load: Load
    measurement: Measurement | None = None

    @property
    def outcomes(self) -> dict[str, int]:
        assert self.measurement is not None
        return dict(self.measurement.outcomes)


@dataclass
class Bench:
    """A service, the Redis behind it, and the table that every fault is written to.

    registry: the service's own copy of the loop's feature registry.
    others: customers whom a test asks for itself.
    """

    service: Service
    redis: RunningServer
    registry: Path
    table: list[Measurement]
    per_second: float = 50
    others: Sequence[str] = ()

    @property
    def addresses(self) -> dict[str, str]:
        """For commands that work on the same Redis and registry."""
        return {"REDIS_URL": redis_url(self.redis.port), "FEAST_REGISTRY": str(self.registry)}

    def truth(self) -> Truth:
        """What the customers are answered now."""
        rows = answers_of(self.service)
        others = self.service.call("POST", "/predict_batch", {"customer_ids": list(self.others)}).body["predictions"]
        return Truth.of(rows).with_others(others)

    @contextmanager
    def fault(self, name: str, designed: Designed = UNAVAILABLE) -> Iterator[FaultInProgress]:
        """The block causes a fault and ends it, under load; afterwards the promises are held against what came.

        Args:
            designed: which answers, beside the right ones, the failure table names for this fault.
        """
        wait_until(lambda: self.service.health() == (200, 200), 20)
        workers = children(self.service.process.pid)
        load = Load(self.service.port, CUSTOMERS, self.per_second, lambda: [*workers, self.redis.process.pid])
        with under_load(load, name, self.truth(), designed, self.table) as progress:
            yield progress


@contextmanager
def under_load(
    load: Load, name: str, truth: Truth, designed: Designed, table: list[Measurement]
) -> Iterator[FaultInProgress]:
    """The block causes a fault and ends it while the load lasts, and the promises are held against what came."""
    with load:
        progress = FaultInProgress(load)
        time.sleep(CALM_SECONDS)
        began = time.monotonic()
        yield progress
        ended = time.monotonic()
        time.sleep(_AFTER_SECONDS)
    measurement, wrong = measure(name, load, truth, designed, began, ended)
    progress.measurement = measurement
    table.append(measurement)
    assert not wrong, f"{len(wrong)} wrong answers, the first: {wrong[0]}"
    assert measurement.longest - measurement.lost <= LONGEST_SECONDS, measurement
    assert measurement.recovery <= RECOVERY_SECONDS, measurement


@pytest.fixture(scope="session")
def table() -> Iterator[list[Measurement]]:
    """What was measured; written to the file that FAULTS_MEASUREMENTS names, for `make faults`."""
    measurements: list[Measurement] = []
    yield measurements
    if file := os.environ.get("FAULTS_MEASUREMENTS"):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_text(json.dumps([asdict(measurement) for measurement in measurements], indent=1))


@contextmanager
def open_bench(
    loop: Loop,
    server: RunningServer,
    folder: Path,
    table: list[Measurement],
    *,
    port: int | None = None,
    health: tuple[int, int] = (200, 200),
    settings: dict[str, str] | None = None,
) -> Iterator[Bench]:
    """A service over `server`, reached through `port` if that is given, once its health is this."""
    folder.mkdir(parents=True, exist_ok=True)
    registry = Path(shutil.copy2(loop.root / "var" / "feast" / "registry.db", folder / "registry.db"))
    addresses = {"REDIS_URL": redis_url(port or server.port), "FEAST_REGISTRY": str(registry)}
    environment = {**addresses, "SERVICE_CONTRACT_CHECK_SECONDS": "1", **(settings or {})}
    with started(loop, folder, **environment) as service:
        wait_until(lambda: service.health() == health, START_SECONDS)
        yield Bench(service, server, registry, table)


@pytest.fixture(scope="session")
def definitions(loop: Loop, tmp_path_factory: pytest.TempPathFactory) -> Definitions:
    return Definitions.of(loop, tmp_path_factory.mktemp("definitions"))


@pytest.fixture(scope="session")
def broken_registry(loop: Loop, definitions: Definitions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry that can be read and breaks the contract."""
    registry = tmp_path_factory.mktemp("broken") / "registry.db"
    apply(loop, {"REDIS_URL": "redis://127.0.0.1:1/0", "FEAST_REGISTRY": str(registry)}, definitions.breaking)
    return registry


@pytest.fixture(scope="session")
def bench(
    loop: Loop, stored: Path, table: list[Measurement], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    """A service with the settings it comes with, on a Redis that nobody else uses."""
    folder = tmp_path_factory.mktemp("bench")
    with (
        filled_valkey(stored, folder / "redis") as server,
        open_bench(loop, server, folder / "service", table) as bench,
    ):
        yield bench
