"""One definition on two engines: equal rows, bit for bit; and what is said where Spark cannot run."""

import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from jobs.__main__ import main
from jobs.features.build import build_features
from tests.models.orders import Order, corrected, rows_in_place, shop, some_orders, write_orders
from tests.servers.spark import SPARK, needs_spark, session_for_tests
from training.churn.orders import write_cdnow

NOW = datetime(2024, 6, 10, 9, 30, tzinfo=UTC)
SETTINGS = SPARK.model_copy(update={"snapshot_backfill_days": 90, "daily_snapshots": 2})
VIEWS = ("customer_lifetime", "customer_orders_windowed")


def awkward_orders(customers: int, seed: int) -> list[Order]:
    """Orders on whole days, several on a day, free ones, thirds of a cent, some a microsecond before midnight."""
    random = np.random.default_rng(seed)
    orders: list[Order] = []
    for customer in range(customers):
        for _ in range(random.geometric(0.3)):
            at = NOW.replace(hour=0, minute=0) - timedelta(days=int(random.integers(0, 540)))
            if random.random() < 0.3:
                at -= timedelta(microseconds=int(random.integers(1, 3)))
            amount = random.choice([0.0, 11.77, random.uniform(0, 500), random.integers(1, 99) / 3, 0.00005, 1e9 / 7])
            orders.append((f"o{len(orders)}", f"{customer:05d}", at, float(amount), int(random.integers(0, 9))))
    again = random.choice(len(orders), len(orders) // 20)
    delayed = [
        (id_, customer, at + timedelta(hours=1), *rest) for id_, customer, at, *rest in (orders[i] for i in again)
    ]
    return [orders[i] for i in random.permutation(len(orders))] + [
        (a, b, c, float(d), int(e)) for a, b, c, d, e in delayed
    ]


@pytest.fixture(scope="module")
def _one_session() -> Iterator[None]:
    with session_for_tests():
        yield


def equal_rows(one: Path, other: Path) -> None:
    for view in VIEWS:
        expected, found = rows_in_place(one / "store", view), rows_in_place(other / "store", view)
        assert [(f.name, f.type) for f in expected.schema] == [(f.name, f.type) for f in found.schema]
        assert expected.num_rows > 0
        assert expected.equals(found.cast(expected.schema))  # Spark also says what is never null


@needs_spark
@pytest.mark.usefixtures("_one_session")
@pytest.mark.parametrize("orders", ["cdnow", "awkward"])
def test_duckdb_and_spark_write_equal_rows_bit_for_bit(tmp_path: Path, orders: str) -> None:
    if orders == "cdnow":
        write_cdnow(tmp_path / "orders.parquet", NOW.date())
    else:
        orders_ = awkward_orders(600, seed=1)
        write_orders(tmp_path / "orders.parquet", orders_[:-200])
        # Some orders of the stream alone, and some of which it says something else than the file.
        streamed = orders_[-250:] + [(id_, customer, at, 0.0, 0) for id_, customer, at, *_ in orders_[:50]]
        write_orders(tmp_path / "streamed" / "batch=0" / "part-0.parquet", streamed)
    for engine in ("duckdb", "spark"):
        artefacts = shop(tmp_path).artefacts.model_copy(update={"offline_store": tmp_path / engine / "store"})
        build = build_features(artefacts, shop(tmp_path).orders, SETTINGS, NOW, engine)
        assert build.engine.startswith(f"{engine} ")

    equal_rows(tmp_path / "duckdb", tmp_path / "spark")


@needs_spark
@pytest.mark.usefixtures("_one_session")
def test_a_build_continued_on_spark_equals_one_from_nothing_and_one_begun_on_duckdb_is_not_continued(
    tmp_path: Path,
) -> None:
    orders = awkward_orders(100, seed=2)
    late = [order for order in orders if order[2] < NOW - timedelta(days=200)][:1]
    early = [order for order in orders if order not in late]
    write_orders(tmp_path / "daily" / "orders.parquet", early)
    on_duckdb = build_features(*shop(tmp_path / "daily"), SETTINGS, NOW - timedelta(days=1))
    on_spark = build_features(*shop(tmp_path / "daily"), SETTINGS, NOW - timedelta(days=1), "spark")
    for folder in ("daily", "fresh"):
        write_orders(tmp_path / folder / "orders.parquet", orders)
        build = build_features(*shop(tmp_path / folder), SETTINGS, NOW, "spark")
        if folder == "daily":
            continued = build

    def written_by(name: str) -> set[str]:
        held = [*continued.partitions["customer_lifetime"].values(), *continued.partitions[VIEWS[1]].values()]
        return {"some" for partition in held if partition["build"] == name}

    assert set() == written_by(on_duckdb.name)
    assert {"some"} == written_by(on_spark.name) == written_by(continued.name)
    equal_rows(tmp_path / "fresh", tmp_path / "daily")


@needs_spark
@pytest.mark.usefixtures("_one_session")
@pytest.mark.parametrize("kind", ["amount", "items", "time within the day", "another customer"])
def test_spark_sees_an_order_that_was_corrected(tmp_path: Path, kind: str) -> None:
    orders = some_orders(100, NOW)
    for folder, versions in (("daily", [orders, corrected(orders, kind)]), ("fresh", [corrected(orders, kind)])):
        for version in versions:
            write_orders(tmp_path / folder / "orders.parquet", version)
            build_features(*shop(tmp_path / folder), SETTINGS, NOW, "spark")

    equal_rows(tmp_path / "fresh", tmp_path / "daily")


@needs_spark
@pytest.mark.usefixtures("_one_session")
def test_what_spark_says_of_a_corrupt_file_is_one_line_and_the_store_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_orders(tmp_path / "orders.parquet", awkward_orders(50, seed=3))
    whole = path.read_bytes()
    path.write_bytes(whole[:4] + bytes(1000) + whole[1004:])

    code, error = _command(tmp_path, monkeypatch, capsys)

    assert (1, 1) == (code, len(error.splitlines()))
    assert error.startswith("error: Spark: ")
    assert not (tmp_path / "store" / "current").exists()


def _command(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    for name, value in (("ORDERS_PATH", "orders.parquet"), ("OFFLINE_STORE_DIR", "store")):
        monkeypatch.setenv(name, str(root / value))
    monkeypatch.setenv("STREAMED_ORDERS_DIR", str(root / "streamed"))
    return main(["features", "--engine", "spark"]), capsys.readouterr().err


@pytest.mark.parametrize(
    ("java", "said"),
    [
        (None, "Spark needs Java 17 or later, and JAVA_HOME is "),
        ('openjdk version "11.0.2" 2019-01-15', 'is openjdk version "11.0.2"'),
        ("", "is a java that says nothing"),
    ],
)
def test_without_a_java_that_is_new_enough_nothing_is_built_and_the_reason_is_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    java: str | None,
    said: str,
) -> None:
    write_orders(tmp_path / "orders.parquet", awkward_orders(3, seed=4))
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "java"))
    if java is not None:
        program = tmp_path / "java" / "bin" / "java"
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh\necho '{java}' >&2\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    code, error = _command(tmp_path, monkeypatch, capsys)

    assert 1 == code
    assert said in error
    assert [error] == error.splitlines(keepends=True)
    assert not (tmp_path / "store" / "current").exists()
