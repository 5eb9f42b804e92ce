import fcntl
import hashlib
import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from contract.artefacts import Artefacts
from jobs.build_features import Build, build_features, read_build, snapshot_times
from jobs.errors import JobError
from jobs.orders import ORDERS_SCHEMA
from jobs.settings import JobsSettings

NOW = datetime(2024, 6, 10, 9, 30, tzinfo=UTC)
SETTINGS = JobsSettings(snapshot_backfill_days=30, daily_snapshots=7)
Order = tuple[str, str, datetime, float, int]


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


ORDERS: list[Order] = [
    (f"o{n}", f"{n % 97:05d}", ago(1 + (n * 7919 % 30_000) / 100), (n * 31 % 5000) / 100, n % 5) for n in range(2_000)
]


def write_orders(
    path: Path, orders: list[Order] = ORDERS, source: str = "test", schema: pa.Schema = ORDERS_SCHEMA
) -> Path:
    columns = list(zip(*orders, strict=True)) or [()] * len(schema)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    description = json.dumps({"source": source, "observed_until": "2024-06-10T00:00:00+00:00"})
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema.with_metadata({"orders": description})), path)
    return path


def shop(root: Path) -> Artefacts:
    """The orders file and the offline store below one folder."""
    return Artefacts.of({"ORDERS_PATH": str(root / "orders.parquet"), "OFFLINE_STORE_DIR": str(root / "store")}, root)


def files_of(folder: Path) -> dict[str, str]:
    """Path → hash of every file of the build in place."""
    build = folder / "current"
    return {
        str(file.relative_to(build)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(build.rglob("*"))
        if file.is_file()
    }


def midnight(month: int, day: int) -> datetime:
    return datetime(2024, month, day, tzinfo=UTC)


def test_snapshots_are_a_grid_back_from_the_last_observed_midnight_and_the_latest_midnights() -> None:
    times = snapshot_times(datetime(2024, 6, 5, 17, tzinfo=UTC), NOW, backfill_days=30, daily=3)

    assert [midnight(5, 6), midnight(6, 5), midnight(6, 8), midnight(6, 9), midnight(6, 10)] == times[-5:]
    assert sorted(set(times)) == times
    assert {timedelta(days=30)} == {b - a for a, b in pairwise(times[:-3])}
    assert times[0] < NOW - timedelta(days=3560)


def test_training_finds_the_same_grid_on_whatever_day_it_is_run() -> None:
    observed = midnight(6, 5)
    today, later = (set(snapshot_times(observed, NOW + timedelta(days=d), 30, daily=1)) for d in (0, 11))

    assert today - {midnight(6, 10)} == later - {midnight(6, 21)}


def test_no_snapshot_lies_after_now() -> None:
    assert NOW >= max(snapshot_times(NOW + timedelta(days=1), NOW, 30, daily=7))


def test_the_same_orders_give_the_same_files_byte_for_byte(tmp_path: Path) -> None:
    write_orders(tmp_path / "orders.parquet")

    build = build_features(shop(tmp_path), SETTINGS, NOW)
    first = files_of(tmp_path / "store")
    again = build_features(shop(tmp_path), SETTINGS, NOW)

    assert build == again == read_build(tmp_path / "store")
    assert first == files_of(tmp_path / "store")
    assert {"customer_lifetime", "customer_orders_windowed", "build.json"} == {Path(p).parts[0] for p in first}


def test_every_row_says_on_which_day_it_was_made(tmp_path: Path) -> None:
    write_orders(tmp_path / "orders.parquet")

    build = build_features(shop(tmp_path), SETTINGS, NOW)

    for view in build.rows:
        table = ds.dataset(tmp_path / "store" / "current" / view).to_table()
        assert pa.timestamp("us", tz="UTC") == table.schema.field("created_timestamp").type
        assert {midnight(6, 10)} == set(table["created_timestamp"].to_pylist())


def test_an_order_delivered_twice_counts_once(tmp_path: Path) -> None:
    write_orders(tmp_path / "orders.parquet", [*ORDERS, *ORDERS[::3]])
    twice = build_features(shop(tmp_path), SETTINGS, NOW), files_of(tmp_path / "store")

    write_orders(tmp_path / "orders.parquet", ORDERS)

    assert twice == (build_features(shop(tmp_path), SETTINGS, NOW), files_of(tmp_path / "store"))


def test_no_row_of_a_build_is_stamped_after_now_and_all_rows_are_counted(tmp_path: Path) -> None:
    write_orders(tmp_path / "orders.parquet")

    build = build_features(shop(tmp_path), SETTINGS, NOW)

    for view, rows in build.rows.items():
        written = ds.dataset(tmp_path / "store" / "current" / view).to_table()
        assert rows == written.num_rows > 0
        assert max(row["event_timestamp"] for row in written.to_pylist()) <= NOW
    assert midnight(6, 10).isoformat() == build.newest_snapshot


def test_a_customer_base_born_today_has_no_snapshot_yet(tmp_path: Path) -> None:
    write_orders(tmp_path / "orders.parquet", [("o", "1", NOW - timedelta(hours=1), 1.0, 1)])

    build = build_features(shop(tmp_path), SETTINGS, NOW)

    assert {"customer_lifetime": 1, "customer_orders_windowed": 0} == build.rows


def test_the_build_before_is_kept_for_its_readers_and_older_ones_are_not(tmp_path: Path) -> None:
    write_orders(tmp_path / "orders.parquet")
    targets = []
    for _ in range(3):
        build_features(shop(tmp_path), SETTINGS, NOW)
        targets.append((tmp_path / "store" / "current").resolve())

    assert sorted(targets[1:]) == sorted(p for p in (tmp_path / "store" / "builds").iterdir() if p.is_dir())


@pytest.mark.parametrize("broken", ["unreadable", "amount"])
def test_a_failing_build_leaves_the_old_one_whole(tmp_path: Path, broken: str) -> None:
    store = tmp_path / "store"
    orders = write_orders(tmp_path / "orders.parquet")
    build_features(shop(tmp_path), SETTINGS, NOW)
    before = files_of(store)

    if broken == "unreadable":
        orders.write_bytes(orders.read_bytes()[:-100])
    else:  # found only while the rows are computed
        write_orders(orders, [*ORDERS, ("o", "00001", ago(2), 1e300, 1)])
    with pytest.raises((JobError, duckdb.Error)):
        build_features(shop(tmp_path), SETTINGS, NOW)

    assert before == files_of(store)
    assert {"customer_lifetime", "customer_orders_windowed"} == read_build(store).rows.keys()


def test_what_an_interrupted_build_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "store" / "builds" / "20240101T000000000000.partial" / "customer_lifetime"
    left.mkdir(parents=True)
    (left / "half.parquet").write_bytes(b"PAR1")
    write_orders(tmp_path / "orders.parquet")

    build_features(shop(tmp_path), SETTINGS, NOW)

    assert [] == list((tmp_path / "store" / "builds").glob("*.partial"))


def test_a_second_build_at_the_same_time_is_refused(tmp_path: Path) -> None:
    write_orders(tmp_path / "orders.parquet")
    lock = tmp_path / "store" / "builds" / ".lock"
    lock.parent.mkdir(parents=True)

    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(JobError, match="another build is running"):
            build_features(shop(tmp_path), SETTINGS, NOW)

    assert build_features(shop(tmp_path), SETTINGS, NOW) == read_build(tmp_path / "store")


def refused(path: Path) -> str:
    with pytest.raises(JobError) as caught:
        build_features(shop(path.parent), SETTINGS, NOW)
    assert str(path) in str(caught.value)
    assert not (path.parent / "store").exists()
    return str(caught.value)


def test_absent_orders_are_refused_with_the_command_that_makes_them(tmp_path: Path) -> None:
    assert "no orders; run `make data` first" in refused(tmp_path / "orders.parquet")


@pytest.mark.parametrize("content", [b"", b"customer_id,amount\n", b"PAR1 half of it"])
def test_corrupt_orders_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "orders.parquet"
    path.write_bytes(content)

    assert "is not readable as Parquet" in refused(path)


def test_empty_orders_are_refused(tmp_path: Path) -> None:
    assert "holds no orders" in refused(write_orders(tmp_path / "orders.parquet", []))


def test_orders_of_another_schema_are_refused_with_the_columns_found(tmp_path: Path) -> None:
    other = ORDERS_SCHEMA.set(2, pa.field("event_timestamp", pa.timestamp("ns")))
    naive = [("o", "1", datetime(2024, 1, 1), 1.0, 1)]  # noqa: DTZ001

    assert "event_timestamp: timestamp[ns]" in refused(write_orders(tmp_path / "orders.parquet", naive, schema=other))


@pytest.mark.parametrize("metadata", [None, {"orders": "{}"}, {"orders": "not JSON"}])
def test_orders_without_their_description_are_refused(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    path = write_orders(tmp_path / "orders.parquet")
    pq.write_table(pq.read_table(path).replace_schema_metadata(metadata), path)

    assert "carries no description" in refused(path)


def test_orders_in_the_future_are_refused(tmp_path: Path) -> None:
    future = [*ORDERS, ("o", "1", NOW, 1.0, 1)]

    assert f"in the future of {NOW.isoformat()}" in refused(write_orders(tmp_path / "orders.parquet", future))


def test_a_build_names_another_source_when_the_source_changes_and_not_when_it_grows(tmp_path: Path) -> None:
    def dataset(orders: list[Order], source: str) -> str:
        write_orders(tmp_path / "orders.parquet", orders, source)
        build: Build = build_features(shop(tmp_path), SETTINGS, NOW)
        return build.source

    assert dataset(ORDERS[:100], "cdnow") == dataset(ORDERS[:200], "cdnow")
    assert dataset(ORDERS[:100], "cdnow") != dataset(ORDERS[:100], "own")


def test_a_store_without_a_build_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="run `make features` first"):
        read_build(tmp_path)
