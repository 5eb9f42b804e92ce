"""A checkout that was moved or copied, or told another folder: its jobs read the offline store of here, or say no."""

import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis

from artefacts.addresses import PROJECT_ROOT, Artefacts
from artefacts.offline_place import another_store
from jobs.errors import JobError
from jobs.feature_store import apply, open_feature_store
from jobs.features.build import build_features
from jobs.settings import JobsSettings
from tests.models.orders import Order, write_orders
from training.churn.source.addresses import OrderAddresses
from training.data.dataset import TrainingData
from training.errors import DatasetError

ROOMS = ("artefacts", "contract", "scoring", "jobs", "feature_repo", "training")
NOW = datetime.now(UTC)
ODD = "it's a [x] *? {y} é folder"


def orders_of(customer: str) -> list[Order]:
    return [(f"o{n}", customer, NOW - timedelta(days=n), 10.0 * n, 1) for n in range(1, 200)]


@dataclass(frozen=True)
class Checkout:
    """What the jobs need, in a folder of its own."""

    root: Path

    @classmethod
    def at(cls, root: Path, customer: str) -> "Checkout":
        for room in ROOMS:
            shutil.copytree(PROJECT_ROOT / room, root / room, ignore=shutil.ignore_patterns("__pycache__"))
        write_orders(root / "var" / "data" / "orders.parquet", orders_of(customer))
        return cls(root)

    def job(self, *command: str, code: int = 0, **environment: str) -> str:
        """What it says, as `python -m jobs …` of this folder."""
        ours = ("REDIS_URL", "FEAST_REGISTRY", "OFFLINE_STORE_DIR", "ORDERS_PATH", "STREAMED_ORDERS_DIR")
        clean = {name: value for name, value in os.environ.items() if name not in ours}
        done = subprocess.run(
            [sys.executable, "-m", "jobs", *command],
            cwd=self.root,
            env={**clean, **environment},
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert code == done.returncode, done.stdout + done.stderr
        return done.stdout + done.stderr

    def redis(self) -> str:
        return (self.root / "var" / "redis" / "url").read_text().strip()

    def customers(self) -> set[str]:
        """Who is in the Redis of this checkout."""
        with redis.Redis.from_url(self.redis()) as client:
            keys = [key for key in client.scan_iter(b"*churn") if b"customer_id" in key]
        return {name for name in ("alice", "bob") if any(name.encode() in key for key in keys)}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Where checkouts lie; every server that was started there is stopped."""
    yield tmp_path
    for started in tmp_path.glob("*/var/redis"):
        Checkout(started.parents[1]).job("redis-down")


def test_a_copied_checkout_reads_and_writes_what_is_its_own(place: Path) -> None:
    original = Checkout.at(place / "original", "alice")
    for command in ("redis-up", "features", "apply", "materialize"):
        original.job(command)
    copy = Checkout(place / ODD.replace("?", ""))
    shutil.copytree(original.root, copy.root, symlinks=True, ignore=shutil.ignore_patterns("*.sock"))
    write_orders(copy.root / "var" / "data" / "orders.parquet", orders_of("bob"))
    copy.job("features")

    told = copy.job("materialize", code=1)
    assert "REDIS_URL is not set and no embedded server runs; `make redis` starts one" in told
    copy.job("redis-up")
    told += copy.job("materialize")

    assert f"names {original.root}/var/offline_store; applying it again for {copy.root}/var/offline_store" in told
    assert "applying" not in copy.job("materialize")
    assert ({"alice"}, {"bob"}) == (original.customers(), copy.customers())


def test_a_registry_of_this_checkout_follows_another_folder_even_a_relative_one(place: Path) -> None:
    checkout = Checkout.at(place / "checkout", "alice")
    checkout.job("redis-up")
    for command in ("features", "apply"):
        checkout.job(command)
    write_orders(checkout.root / "var" / "data" / "orders.parquet", orders_of("bob"), source="another shop")
    checkout.job("features", OFFLINE_STORE_DIR="elsewhere/features")

    told = checkout.job("materialize", OFFLINE_STORE_DIR="elsewhere/features")

    assert f"applying it again for {checkout.root}/elsewhere/features" in told
    assert {"bob"} == checkout.customers()


def artefacts_at(root: Path, registry: Path) -> Artefacts:
    # A database's address cannot name every folder.
    return Artefacts.of({"FEAST_REGISTRY": str(registry), "MLFLOW_TRACKING_URI": "http://not-asked"}, root)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Artefacts:
    """A registry that lies outside of the checkout, applied for a folder with an odd name that holds a build."""
    root = tmp_path_factory.mktemp("shared") / ODD
    artefacts = artefacts_at(root, root / "registry.db")
    write_orders(OrderAddresses.of({}, root).orders, orders_of("alice"))
    build_features(artefacts, OrderAddresses.of({}, root), JobsSettings(), NOW)
    apply(artefacts)
    return artefacts


def test_a_registry_of_others_is_refused_with_both_folders_and_both_ways_out(shared: Artefacts, tmp_path: Path) -> None:
    mine = artefacts_at(tmp_path, Path(shared.feast_registry))
    before = Path(shared.feast_registry).read_bytes()

    with pytest.raises(JobError) as refused:
        open_feature_store(mine)

    for said in (str(shared.offline_store), str(mine.offline_store), "`make apply`", "OFFLINE_STORE_DIR="):
        assert said in str(refused.value)
    assert before == Path(shared.feast_registry).read_bytes()


def test_training_on_the_rows_of_another_folder_is_refused(shared: Artefacts, tmp_path: Path) -> None:
    mine = artefacts_at(tmp_path, Path(shared.feast_registry))
    orders = OrderAddresses.of({}, tmp_path)
    write_orders(orders.orders, orders_of("bob"))
    build_features(mine, orders, JobsSettings(), NOW)

    with pytest.raises(DatasetError, match="`make apply` has the registry read the latter"):
        TrainingData(mine, "churn_v1")


def test_a_folder_with_an_odd_name_and_a_link_to_it_are_the_same_place(shared: Artefacts, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(shared.offline_store)
    store = open_feature_store(shared)

    assert another_store(store.registry, store.project, shared.offline_store) is None
    assert another_store(store.registry, store.project, link) is None
    assert shared.offline_store == another_store(store.registry, store.project, tmp_path)


@pytest.mark.filterwarnings("ignore:The spark data source API is an experimental feature:RuntimeWarning")
@pytest.mark.parametrize("kind", ["", "spark"])
def test_the_folder_of_a_source_is_known_whatever_its_name_and_whoever_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    from feast import FeatureView

    folder = tmp_path / f"{ODD} \\"
    monkeypatch.setenv("OFFLINE_STORE_TYPE", kind)
    monkeypatch.setenv("OFFLINE_STORE_DIR", str(folder))
    source = runpy.run_path(str(PROJECT_ROOT / "feature_repo" / "data_sources.py"))["customer_lifetime_rows"]
    registry = Registered([FeatureView(name="customer_lifetime", source=source)])

    assert another_store(registry, "churn", folder) is None
    assert folder == another_store(registry, "churn", tmp_path)


@dataclass(frozen=True)
class Registered:
    """A registry of these views."""

    views: list[Any]

    def list_feature_views(self, _: str) -> list[Any]:
        return self.views

    def list_feature_services(self, _: str) -> list[Any]:
        return []
