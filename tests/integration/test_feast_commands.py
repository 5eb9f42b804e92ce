"""Feast's own commands work in the feature repository, without a wrapper, on the stores that the product uses."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from artefacts.addresses import Artefacts
from jobs.feature_store import apply
from jobs.local import embedded_redis
from jobs.materialization.materialize import materialize
from tests.integration.jobs.audited_shop import take
from tests.loop import SOURCE, free_port

NOW = datetime(2026, 3, 1, tzinfo=UTC)
ORDERS = [(f"c{n % 20}", NOW - timedelta(days=3 + n, hours=n * n % 23), 10.0 + n) for n in range(60)]
FEAST = Path(sys.executable).with_name("feast")


@dataclass(frozen=True)
class Checkout:
    """A checkout with orders, features and an embedded Redis; nothing of ours is set in its users' shells."""

    root: Path

    @property
    def repository(self) -> Path:
        return self.root / "feature_repo"

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.root), "PYTHONWARNINGS": "ignore"}

    @property
    def artefacts(self) -> Artefacts:
        return Artefacts.of({}, root=self.root)

    def feast(self, *arguments: str) -> str:
        done = subprocess.run(
            [FEAST, *arguments],
            cwd=self.repository,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert 0 == done.returncode, done.stderr
        return done.stdout

    @contextmanager
    def server(self, *arguments: str) -> Iterator[str]:
        """A command that serves; the URL it answers at. It and what it has started are ended."""
        port = free_port()
        process = subprocess.Popen(
            [FEAST, *arguments, "--host", "127.0.0.1", "--port", str(port)],
            cwd=self.repository,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        url = f"http://127.0.0.1:{port}"
        try:
            deadline = time.monotonic() + 90
            while True:
                try:
                    urllib.request.urlopen(f"{url}/health", timeout=5)  # noqa: S310  # loopback
                    break
                except OSError:
                    assert process.poll() is None, "it has ended"
                    assert time.monotonic() < deadline, "it does not answer"
                    time.sleep(0.2)
            yield url
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    root = tmp_path_factory.mktemp("feast") / "a checkout"
    shutil.copytree(SOURCE / "feature_repo", root / "feature_repo", ignore=shutil.ignore_patterns("__pycache__"))
    try:
        embedded_redis.start(root=root)
        made = Checkout(root)
        take(made.artefacts, ORDERS, NOW)
        yield made
    finally:
        embedded_redis.stop(root=root)


@pytest.fixture(scope="module")
def applied(checkout: Checkout) -> Checkout:
    """As after `make features apply materialize`."""
    assert "customer_lifetime" in checkout.feast("apply")
    materialize(checkout.artefacts, NOW)
    return checkout


def test_plan_shows_what_apply_would_change(applied: Checkout) -> None:
    views = applied.repository / "feature_views.py"
    before = views.read_text()
    try:
        views.write_text(before.replace('description="orders so far"', 'description="all orders"'))
        assert "customer_lifetime" in applied.feast("plan")
    finally:
        views.write_text(before)


def test_apply_registers_the_project_with_its_owner(applied: Checkout) -> None:
    (said,) = yaml.safe_load_all(applied.feast("projects", "describe", "churn"))

    assert "customer-analytics@example.com" == said["spec"]["owner"]
    assert {"domain": "orders"} == said["spec"]["tags"]
    view = yaml.safe_load(applied.feast("feature-views", "describe", "customer_lifetime"))["spec"]
    assert ("customer-analytics@example.com", "one after each order") == (view["owner"], view["tags"]["rows"])


def answer(url: str, customer: str) -> dict[str, Any]:
    asked = {
        "features": ["customer_lifetime:order_count", "customer_lifetime:total_spend"],
        "entities": {"customer_id": [customer]},
    }
    request = urllib.request.Request(  # noqa: S310  # loopback
        f"{url}/get-online-features", json.dumps(asked).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
        said = json.load(response)
    names = said["metadata"]["feature_names"]
    return {name: each["values"][0] for name, each in zip(names, said["results"], strict=True)}


def test_serve_answers_what_is_in_the_embedded_redis_and_materialize_incremental_brings_what_is_new(
    applied: Checkout,
) -> None:
    later = NOW + timedelta(days=1)
    with applied.server("serve") as url:
        assert {"customer_id": "c3", "order_count": 3, "total_spend": 99.0} == answer(url, "c3")
        take(applied.artefacts, [*ORDERS, ("c3", NOW + timedelta(hours=5), 7.0)], later)

        applied.feast("materialize-incremental", later.strftime("%Y-%m-%dT%H:%M:%S"))

        assert {"customer_id": "c3", "order_count": 4, "total_spend": 106.0} == answer(url, "c3")


def test_monitor_compares_the_batch_sources_with_the_baseline_that_apply_has_computed(applied: Checkout) -> None:
    figures = applied.repository / "feast_monitoring"
    (written,) = figures.glob("*feature_metrics*.parquet")
    baseline = pq.read_table(written).to_pandas().query("is_baseline")

    said = applied.feast("monitor", "run")

    assert {"customer_lifetime", "customer_orders_windowed"} == set(baseline["feature_view_name"])
    assert "Status: completed" in said
    assert "Feature views computed: 2" in said


def test_the_ui_shows_the_project(applied: Checkout) -> None:
    with (
        applied.server("ui") as url,
        urllib.request.urlopen(f"{url}/projects-list.json", timeout=30) as response,  # noqa: S310
    ):
        assert ["churn"] == [project["id"] for project in json.load(response)["projects"]]


def test_make_apply_neither_computes_baselines_nor_writes_into_the_repository(
    checkout: Checkout, tmp_path: Path
) -> None:
    before = {
        file: file.stat().st_mtime_ns for file in SOURCE.glob("feature_repo/**/*") if "__pycache__" not in str(file)
    }

    apply(Artefacts.of({"OFFLINE_STORE_DIR": str(checkout.artefacts.offline_store)}, root=tmp_path))

    assert before == {
        file: file.stat().st_mtime_ns for file in SOURCE.glob("feature_repo/**/*") if "__pycache__" not in str(file)
    }


def test_feast_lists_the_views_of_the_registry_that_feast_env_names(tmp_path: Path) -> None:
    environment = {**os.environ, "FEAST_REGISTRY": str(tmp_path / "registry.db"), "REDIS_URL": "redis://:p w@h:1/2"}
    apply(Artefacts.of(environment, root=tmp_path))

    exports = subprocess.run(
        [sys.executable, "-m", "jobs", "feast-env"],
        cwd=SOURCE,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    listed = subprocess.run(
        ["sh", "-c", f"{exports}\nexec {FEAST} feature-views list"],
        cwd=Artefacts.of({}).feature_repo,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout

    assert "customer_lifetime" in listed
    assert "customer_orders_windowed" in listed
