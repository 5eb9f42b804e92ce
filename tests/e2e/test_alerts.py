"""Alerts as an operator gets them: a real Prometheus watches a real service and a job; Redis goes and comes back."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.exposed_metrics import OF_TARGETS, of_jobs, of_service
from tests.faults.load import Load
from tests.loop import SOURCE, Loop
from tests.servers.monitoring import (
    Prometheus,
    Receiver,
    alertmanager,
    needs_prometheus,
    node_exporter,
    prometheus,
    receiver,
)
from tests.servers.redis_servers import RunningServer, valkey
from tests.servers.serving import Service, serving, wait_until

pytestmark = needs_prometheus

CUSTOMERS = [f"{number:05d}" for number in range(42, 23_500, 469)]
OF_THE_SERVICE = ("ModelServiceBreakerOpen", "ModelServiceAvailabilityBurnsFast")
OF_THE_JOB = ("ModelJobsMaterializeFailing", "ModelJobsMaterializeLate")
NOT_HERE = {"Alerts", "Quotas used", "Refused by quotas", "Challenger", "Reports", "Skew", "Drift", "Live quality"} | {
    f"Stream: {what}" for what in ("events", "lag", "entities by status")
}
"""Panels of what does not run in these tests, or is over."""
SECONDS = 60.0
"""For which something that must come is waited for; it takes a few."""


@dataclass
class Shop:
    """A Redis, and the jobs and the service that use it.

    reports: the folder in which the job leaves its records and metrics.
    """

    loop: Loop
    folder: Path
    redis: RunningServer

    @property
    def reports(self) -> Path:
        return self.folder / "reports"

    @property
    def addresses(self) -> dict[str, str]:
        return {
            "REDIS_URL": self.redis.url,
            "FEAST_REGISTRY": str(self.folder / "registry.db"),
            "MATERIALIZE_RUNS_PATH": str(self.reports / "runs.jsonl"),
        }

    @contextmanager
    def materializing(self) -> Iterator["subprocess.Popen[bytes]"]:
        """The job, which is waited for at the end of the block."""
        with (self.folder / "materialize.log").open("ab") as log:
            job = subprocess.Popen(
                [f"{self.loop.environment['VENV']}/bin/python", "-m", "jobs", "materialize"],
                cwd=self.loop.root,
                env={**self.loop.environment, **self.addresses},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield job
            job.wait(timeout=SECONDS)
        finally:
            if job.poll() is None:
                os.killpg(job.pid, signal.SIGKILL)
                job.wait()

    def let_a_day_pass(self) -> None:
        """Date the recorded run 27 hours back."""
        runs = self.reports / "runs.jsonl"
        run = json.loads(runs.read_text())
        run["started"] = (datetime.fromisoformat(run["started"]) - timedelta(hours=27)).isoformat()
        runs.write_text(json.dumps(run) + "\n")


@pytest.fixture(scope="module")
def shop(loop: Loop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("watched")
    shutil.copy2(loop.root / "var" / "feast" / "registry.db", folder / "registry.db")
    with valkey(folder / "redis") as server:
        yield Shop(loop, folder, server)


@pytest.fixture(scope="module")
def service(loop: Loop, shop: Shop) -> Iterator[Service]:
    """It starts while its customers are materialized."""
    log = {"SERVICE_INFERENCE_LOG": "true", "INFERENCE_LOG_DIR": str(shop.folder / "inference_log")}
    with shop.materializing() as job, serving(loop, shop.folder / "service", **shop.addresses, **log) as running:
        assert 0 == job.wait(timeout=SECONDS), (shop.folder / "materialize.log").read_text()
        shop.redis.command("SAVE")
        yield running


@pytest.fixture(scope="module")
def told() -> Iterator[Receiver]:
    with receiver() as listening:
        yield listening


@pytest.fixture(scope="module")
def watching(shop: Shop, service: Service, told: Receiver) -> Iterator[Prometheus]:
    with (
        node_exporter(shop.reports) as exporter,
        alertmanager(shop.folder / "alertmanager", told) as manager,
        prometheus(
            shop.folder / "prometheus", {"model-service": [service.port], "model-jobs": [exporter]}, manager
        ) as running,
    ):
        wait_until(lambda: ["1", "1"] == running.values("up"), SECONDS)
        yield running


def ask(service: Service) -> int:
    return service.call("POST", "/predict", {"customer_id": CUSTOMERS[0]}).status


def refused(service: Service) -> bool:
    """Asked slowly: for each that is refused hundreds have to be answered before the budget burns no more."""
    time.sleep(0.5)
    return ask(service) == 503


def test_redis_stops_and_a_materialization_fails_and_is_late_until_both_are_mended(
    shop: Shop, service: Service, watching: Prometheus, told: Receiver
) -> None:
    wait_until(
        lambda: ask(service) == 200 and watching.values("job_model:model_service_faults:ratio_rate5m") == ["0"], SECONDS
    )
    assert not watching.firing() & {*OF_THE_SERVICE, *OF_THE_JOB}
    shop.let_a_day_pass()

    shop.redis.kill()
    with shop.materializing() as failing:
        wait_until(lambda: refused(service) and told.got("FIRING", *OF_THE_SERVICE), SECONDS)
        assert 1 == failing.wait(timeout=SECONDS)
    wait_until(lambda: told.got("FIRING", *OF_THE_JOB), SECONDS)
    shop.redis.restart()
    wait_until(lambda: ask(service) == 200, SECONDS)
    with shop.materializing() as mending, Load(service.port, CUSTOMERS, 200):
        wait_until(lambda: told.got("RESOLVED", *OF_THE_SERVICE), 2 * SECONDS)
        assert 0 == mending.wait(timeout=SECONDS)
    wait_until(lambda: told.got("RESOLVED", *OF_THE_JOB), SECONDS)

    assert not watching.firing() & {*OF_THE_SERVICE, *OF_THE_JOB}
    late = next(text for title, text in told.messages if title == "[FIRING] ModelJobsMaterializeLate")
    assert "The last complete one ended 1d 3h 0m" in late
    assert "docs/operations/runbook-jobs.md#modeljobsmaterializelate" in late


def test_what_is_scraped_is_what_the_queries_are_held_against(watching: Prometheus, tmp_path: Path) -> None:
    known = of_service() | of_jobs(tmp_path)
    unlabelled = {name for name, metric in of_service().items() if metric.labels in ([], ["model"])}
    materialized = {name for name in of_jobs(tmp_path) if name.startswith("model_jobs_materialize_")}
    seen: dict[str, set[str]] = {}
    for series in watching.ask("series", **{"match[]": '{__name__=~"model_(service|jobs)_.+"}'}):
        name = series.pop("__name__")
        base = name if name in known else name.rpartition("_")[0]
        seen.setdefault(base, set()).update(series.keys() - {*OF_TARGETS, "le"})

    assert {name: set(known[name].labels) for name in seen} == seen
    assert set() == (unlabelled | materialized) - seen.keys()


def test_every_panel_is_drawn_of_what_is_there(service: Service, watching: Prometheus) -> None:
    panels = json.loads((SOURCE / "deploy" / "grafana" / "dashboards" / "model-service.json").read_text())["panels"]
    queries = {
        panel["title"]: [
            target["expr"].replace("$__rate_interval", "5m").replace("$model", ".*") for target in panel["targets"]
        ]
        for panel in panels
        if panel["type"] != "row"
    }

    def empty() -> set[str]:
        """Panels without a line; a counter draws one from the second time on that it was counted."""
        override = {"customer_id": CUSTOMERS[0], "features": {"customer_lifetime__order_count": 3}}
        assert (200, 400) == tuple(service.call("POST", "/predict", body).status for body in (override, {}))
        return {title for title, drawn in queries.items() if not any(map(watching.values, drawn))}

    wait_until(lambda: empty() <= NOT_HERE, SECONDS)
