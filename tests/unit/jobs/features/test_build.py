import fcntl
import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from artefacts.build_files import damage
from artefacts.cutoffs import CutoffSettings, lay_back
from artefacts.errors import SourceError
from jobs.__main__ import main
from jobs.errors import JobError
from jobs.features import build as build_features_module
from jobs.features import duckdb_engine
from jobs.features.build import build_features
from jobs.features.build_plan import reach, snapshot_times
from jobs.offline_store.builds import read_build, switching
from jobs.settings import JobsSettings
from tests.models.orders import CORRECTIONS, Order, files_in_place, rows_in_place, shop, some_orders, write_orders
from training.churn.source.orders_file import find_orders
from training.churn.source.orders_schema import ORDERS_SCHEMA

NOW = datetime(2024, 6, 10, 9, 30, tzinfo=UTC)
SETTINGS = JobsSettings(snapshot_backfill_days=30, daily_snapshots=7)
CUTOFFS = CutoffSettings()
ORDERS = some_orders(2_000, NOW)
VIEWS = ("customer_lifetime", "customer_orders_windowed")


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def midnight(month: int, day: int) -> datetime:
    return datetime(2024, month, day, tzinfo=UTC)


def test_snapshots_are_a_grid_back_from_the_last_observed_midnight_and_the_latest_midnights() -> None:
    observed = datetime(2024, 6, 5, 17, tzinfo=UTC)
    times = snapshot_times(observed, NOW, NOW, 30, 3, CUTOFFS)

    assert [midnight(5, 6), midnight(6, 5), midnight(6, 8), midnight(6, 9), midnight(6, 10)] == times[-5:]
    assert sorted(set(times)) == times
    grid = sorted(set(times[:-3]) - set(lay_back(observed, CUTOFFS).all))
    assert {timedelta(days=30)} == {b - a for a, b in pairwise(grid)}
    assert times[0] < NOW - timedelta(days=3560)


@pytest.mark.parametrize(("label_days", "hours"), [(90, "0-24"), (30, "0-24"), (45, "6-18"), (90, "0-0"), (7, "3-27")])
def test_training_has_a_snapshot_at_each_of_its_cutoffs(label_days: int, hours: str) -> None:
    cutoffs = CutoffSettings(label_days=label_days, request_hours=hours)
    observed = datetime(2024, 6, 5, 17, tzinfo=UTC)

    assert set(lay_back(observed, cutoffs).all) <= set(snapshot_times(observed, NOW, NOW, 30, 3, cutoffs))


def test_training_finds_the_same_grid_on_whatever_day_it_is_run() -> None:
    observed = midnight(6, 5)
    days = [NOW + timedelta(days=d) for d in (0, 11)]
    today, later = (set(snapshot_times(observed, day, day, 30, 1, CUTOFFS)) for day in days)

    assert today - {midnight(6, 10)} == later - {midnight(6, 21)}


def test_no_snapshot_lies_after_now() -> None:
    assert NOW >= max(snapshot_times(NOW + timedelta(days=1), NOW + timedelta(days=1), NOW, 30, 7, CUTOFFS))


def test_no_snapshot_lies_beyond_the_midnight_after_the_orders_end() -> None:
    for known, newest in (
        (midnight(6, 7), midnight(6, 7)),
        (midnight(6, 7) + timedelta(microseconds=1), midnight(6, 8)),
        (datetime(2024, 6, 7, 23, 59, tzinfo=UTC), midnight(6, 8)),
        (midnight(6, 10), midnight(6, 10)),
        (NOW, midnight(6, 10)),
    ):
        times = snapshot_times(midnight(6, 5), known, NOW, 30, 3, CUTOFFS)
        assert [newest - timedelta(days=d) for d in (2, 1, 0)] == times[-3:]


@pytest.mark.parametrize("days", [30, 200])
def test_orders_that_ended_days_ago_get_no_snapshot_of_later_and_the_grid_stays(tmp_path: Path, days: int) -> None:
    now = NOW + timedelta(days=days)
    write_orders(tmp_path / "orders.parquet", ORDERS)  # known until 10 June
    fresh = build_features(*shop(tmp_path), SETTINGS, NOW)

    build = build_features(*shop(tmp_path), SETTINGS, now)

    assert (midnight(6, 10).isoformat(),) * 2 == (build.newest_snapshot, build.known_until)
    assert fresh.partitions[VIEWS[1]].keys() == build.partitions[VIEWS[1]].keys()
    assert f"because the orders end at 2024-06-10 00:00 UTC, {days} days ago" in reach(build, now)
    assert f"features up to {midnight(6, 10).isoformat()}" == reach(fresh, NOW)


def test_orders_of_the_stream_alone_keep_the_snapshots_up_to_date(tmp_path: Path) -> None:
    now = NOW + timedelta(days=30)
    write_orders(tmp_path / "orders.parquet", ORDERS)
    streamed = write_orders(
        tmp_path / "streamed" / "batch=0" / "part-0.parquet", [("s", "1", now - timedelta(hours=1), 1.0, 1)]
    )

    assert now.replace(hour=0, minute=0).isoformat() == build_features(*shop(tmp_path), SETTINGS, now).newest_snapshot
    write_orders(streamed, [("s", "1", now - timedelta(days=5), 1.0, 1)])
    late = build_features(*shop(tmp_path), SETTINGS, now)
    assert midnight(7, 6).isoformat() == late.newest_snapshot
    assert "because the orders end at 2024-07-05 09:30 UTC, 5 days ago" in reach(late, now)


@pytest.mark.parametrize("kind", ["amount", "items", "time to the day before", "time to a later month", "less"])
def test_what_the_orders_file_says_of_an_order_counts_whatever_the_stream_said_before(
    tmp_path: Path, kind: str
) -> None:
    streamed = ("s", "00001", NOW - timedelta(days=60), 20.0, 2)
    says: Order = ("s", "00001", streamed[2], 1.0, 1) if kind == "less" else CORRECTIONS[kind](streamed)[0]
    for name in ("both", "file"):
        write_orders(tmp_path / name / "orders.parquet", [*ORDERS, says])
    write_orders(tmp_path / "both" / "streamed" / "batch=0" / "part-0.parquet", [streamed])

    for name in ("both", "file"):
        build_features(*shop(tmp_path / name), SETTINGS, NOW)

    for view in VIEWS:
        assert rows_in_place(tmp_path / "file" / "store", view).equals(rows_in_place(tmp_path / "both" / "store", view))


def test_the_same_orders_settings_and_day_give_the_same_files_byte_for_byte(tmp_path: Path) -> None:
    write_orders(tmp_path / "orders.parquet", ORDERS)

    build_features(*shop(tmp_path), SETTINGS, NOW)
    first = files_in_place(tmp_path / "store")
    build_features(*shop(tmp_path), SETTINGS, NOW + timedelta(hours=3), full=True)

    assert first == files_in_place(tmp_path / "store")
    assert {"customer_lifetime", "customer_orders_windowed"} == {Path(p).parts[0] for p in first}


def test_orders_beyond_the_memory_are_taken_by_ranges_of_customers_with_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, ranges = tmp_path / "whole", tmp_path / "ranges"
    for place in (whole, ranges):
        write_orders(place / "orders.parquet", ORDERS)
    built = build_features(*shop(whole), SETTINGS, NOW)

    monkeypatch.setattr(duckdb_engine, "ORDERS_PER_MB", 0.5)  # half of the orders, with 1,024 MB
    monkeypatch.setattr(duckdb_engine, "SAMPLE_EVERY", 5)
    built_by_ranges = build_features(*shop(ranges), SETTINGS, NOW)

    assert built.rows == built_by_ranges.rows
    assert {name: day["rows"] for name, day in built.partitions[VIEWS[1]].items()} == {
        name: day["rows"] for name, day in built_by_ranges.partitions[VIEWS[1]].items()
    }
    for view in VIEWS:
        assert rows_in_place(whole / "store", view).equals(rows_in_place(ranges / "store", view))
    assert {"part-0.parquet"} == {Path(file).name for file in files_in_place(whole / "store")}
    assert "part-3.parquet" in {Path(file).name for file in files_in_place(ranges / "store")}


def test_every_row_says_on_which_day_it_was_made_and_columns_have_the_types_of_the_views(tmp_path: Path) -> None:
    write_orders(tmp_path / "orders.parquet", ORDERS)

    build = build_features(*shop(tmp_path), SETTINGS, NOW)

    for view in build.rows:
        rows = ds.dataset(tmp_path / "store" / "current" / view).to_table()
        assert {midnight(6, 10)} == set(rows["created_timestamp"].to_pylist())
        types = {field.name: field.type for field in rows.schema}
        assert {pa.timestamp("us", tz="UTC")} == {types.pop("event_timestamp"), types.pop("created_timestamp")}
        assert {pa.string(), pa.int64(), pa.float64()} == set(types.values())


def test_an_order_delivered_twice_counts_once(tmp_path: Path) -> None:
    for name, orders in (("once", ORDERS), ("twice", [*ORDERS[::3], *ORDERS])):
        write_orders(tmp_path / name / "orders.parquet", orders)
        build_features(*shop(tmp_path / name), SETTINGS, NOW)

    assert files_in_place(tmp_path / "once" / "store") == files_in_place(tmp_path / "twice" / "store")


def test_no_row_of_a_build_is_stamped_after_now_and_all_rows_are_counted(tmp_path: Path) -> None:
    write_orders(tmp_path / "orders.parquet", ORDERS)

    build = build_features(*shop(tmp_path), SETTINGS, NOW)

    assert build == read_build(tmp_path / "store")
    for view, rows in build.rows.items():
        written = rows_in_place(tmp_path / "store", view)
        assert rows == written.num_rows > 0
        assert max(written["event_timestamp"].to_pylist()) <= NOW
    assert midnight(6, 10).isoformat() == build.newest_snapshot


def test_a_partition_holds_the_rows_of_its_month_or_day_sorted_by_customer_and_time(tmp_path: Path) -> None:
    last_moment = datetime(2024, 4, 30, 23, 59, 59, 999_999, tzinfo=UTC)  # its row is stamped in May
    write_orders(tmp_path / "orders.parquet", [*ORDERS, ("last", "00001", last_moment, 1.0, 1)])

    build = build_features(*shop(tmp_path), SETTINGS, NOW)

    for view, pattern in (("customer_lifetime", "%Y-%m"), ("customer_orders_windowed", "%Y-%m-%d")):
        for partition, held in build.partitions[view].items():
            (file,) = (tmp_path / "store" / "current" / view / partition).iterdir()
            rows = pq.read_table(file)
            keys = list(zip(rows["customer_id"].to_pylist(), rows["event_timestamp"].to_pylist(), strict=True))
            assert sorted(set(keys)) == keys
            assert {partition} == {f"{at:{pattern}}" for _, at in keys}
            assert held == {"rows": len(keys), "build": build.name}


def test_a_customer_base_born_today_has_no_snapshot_yet(tmp_path: Path) -> None:
    write_orders(tmp_path / "orders.parquet", [("o", "1", NOW - timedelta(hours=1), 1.0, 1)])

    build = build_features(*shop(tmp_path), SETTINGS, NOW)

    assert {"customer_lifetime": 1, "customer_orders_windowed": 0} == build.rows
    assert 0 == rows_in_place(tmp_path / "store", "customer_orders_windowed").num_rows


def test_the_build_before_is_kept_for_its_readers_and_older_ones_are_not(tmp_path: Path) -> None:
    write_orders(tmp_path / "orders.parquet", ORDERS)
    targets = []
    for _ in range(3):
        build_features(*shop(tmp_path), SETTINGS, NOW)
        targets.append((tmp_path / "store" / "current").resolve())

    assert sorted(targets[1:]) == sorted(p for p in (tmp_path / "store" / "builds").iterdir() if p.is_dir())


@pytest.mark.parametrize("broken", ["footer", "page", "amount"])
def test_a_failing_build_says_why_and_leaves_the_old_one_whole(tmp_path: Path, broken: str) -> None:
    store = tmp_path / "store"
    orders = write_orders(tmp_path / "orders.parquet", ORDERS)
    build_features(*shop(tmp_path), SETTINGS, NOW)
    before, old = files_in_place(store), read_build(store)

    whole = orders.read_bytes()
    if broken == "footer":
        orders.write_bytes(whole[:-100])
    elif broken == "page":  # found only while the orders are read
        orders.write_bytes(whole[:4] + bytes(5000) + whole[5004:])
    else:  # found only while the rows are computed
        write_orders(orders, [*ORDERS, ("o", "00001", ago(2), 1e300, 1)])
    with pytest.raises((JobError, SourceError)) as caught:
        build_features(*shop(tmp_path), SETTINGS, NOW)

    assert "\n" not in str(caught.value)
    assert (before, old) == (files_in_place(store), read_build(store))
    assert [] == list((store / "builds").glob("*.partial"))


def test_what_a_killed_build_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "store" / "builds" / "20240101T000000000000.partial" / "customer_lifetime"
    left.mkdir(parents=True)
    (left / "half.parquet").write_bytes(b"PAR1")
    write_orders(tmp_path / "orders.parquet", ORDERS)

    build_features(*shop(tmp_path), SETTINGS, NOW)

    assert [] == list((tmp_path / "store" / "builds").glob("*.partial"))


def test_a_second_build_at_the_same_time_is_refused(tmp_path: Path) -> None:
    write_orders(tmp_path / "orders.parquet", ORDERS)
    lock = tmp_path / "store" / "builds" / ".lock"
    lock.parent.mkdir(parents=True)

    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(JobError, match="another build is running"):
            build_features(*shop(tmp_path), SETTINGS, NOW)

    assert build_features(*shop(tmp_path), SETTINGS, NOW) == read_build(tmp_path / "store")


def refused(path: Path) -> str:
    with pytest.raises((JobError, SourceError)) as caught:
        build_features(*shop(path.parent), SETTINGS, NOW)
    assert str(path) in str(caught.value)
    assert [] == list((path.parent / "store").glob("**/*.json")) + list((path.parent / "store").glob("**/*.parquet"))
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
    naive: list[Order] = [("o", "1", datetime(2024, 1, 1), 1.0, 1)]  # noqa: DTZ001

    assert "event_timestamp: timestamp[ns]" in refused(write_orders(tmp_path / "orders.parquet", naive, schema=other))


@pytest.mark.parametrize("metadata", [None, {"orders": "{}"}, {"orders": "not JSON"}])
def test_orders_without_their_description_are_refused(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    path = write_orders(tmp_path / "orders.parquet", ORDERS)
    pq.write_table(pq.read_table(path).replace_schema_metadata(metadata), path)

    assert "has no description" in refused(path)


@pytest.mark.parametrize("column", ORDERS_SCHEMA.names)
def test_an_order_without_a_value_is_refused_and_the_column_named(tmp_path: Path, column: str) -> None:
    path = write_orders(tmp_path / "orders.parquet", ORDERS)
    orders = pq.read_table(path)
    values = [None, *orders[column].to_pylist()[1:]]
    position = orders.schema.get_field_index(column)
    pq.write_table(orders.set_column(position, column, pa.array(values, orders.schema.field(column).type)), path)

    assert f"has no {column}" in refused(path)


def test_orders_in_the_future_are_refused(tmp_path: Path) -> None:
    future: list[Order] = [*ORDERS, ("o", "1", NOW, 1.0, 1)]

    assert f"lies in the future; now is {NOW.isoformat()}" in refused(write_orders(tmp_path / "orders.parquet", future))


def test_an_engine_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    write_orders(tmp_path / "orders.parquet", ORDERS)

    with pytest.raises(JobError, match="engine 'flink' is not one of duckdb, spark"):
        build_features(*shop(tmp_path), SETTINGS, NOW, engine="flink")


def test_a_scratch_folder_that_is_not_there_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JOBS_SCRATCH_DIR", "/nowhere/at/all")

    assert 1 == main(["features"])
    assert capsys.readouterr().err.startswith("error: JOBS_SCRATCH_DIR")


def test_a_build_names_another_source_when_the_source_changes_and_not_when_it_grows(tmp_path: Path) -> None:
    def source(orders: list[Order], name: str) -> str:
        write_orders(tmp_path / "orders.parquet", orders, name)
        return build_features(*shop(tmp_path), SETTINGS, NOW).source

    assert source(ORDERS[:100], "cdnow") == source(ORDERS[:200], "cdnow")
    assert source(ORDERS[:100], "cdnow") != source(ORDERS[:100], "own")


def test_a_store_without_a_build_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="run `make features` first"):
        read_build(tmp_path)


def test_streamed_orders_are_built_together_with_the_file(tmp_path: Path) -> None:
    write_orders(tmp_path / "all" / "orders.parquet", ORDERS)
    write_orders(tmp_path / "some" / "orders.parquet", ORDERS[:1000])
    write_orders(tmp_path / "some" / "streamed" / "batch=2" / "part-0.parquet", ORDERS[900:1500])
    write_orders(tmp_path / "some" / "streamed" / "batch=10" / "part-0.parquet", ORDERS[1500:])

    builds = [build_features(*shop(tmp_path / which), SETTINGS, NOW) for which in ("all", "some")]

    assert [[], [2, 10]] == [build.streamed_batches for build in builds]
    assert files_in_place(tmp_path / "all" / "store") == files_in_place(tmp_path / "some" / "store")


def test_a_corrupt_batch_of_streamed_orders_is_refused_and_named(tmp_path: Path) -> None:
    write_orders(tmp_path / "orders.parquet", ORDERS)
    batch = write_orders(tmp_path / "streamed" / "batch=0" / "part-0.parquet", ORDERS[:3])
    batch.write_bytes(batch.read_bytes()[:-5])

    with pytest.raises(SourceError, match=r"batch=0/part-0\.parquet: is not readable"):
        build_features(*shop(tmp_path), SETTINGS, NOW)


def test_streamed_rows_stay_until_a_build_includes_their_orders_and_go_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    write_orders(tmp_path / "orders.parquet", ORDERS)
    build_features(*shop(tmp_path), SETTINGS, NOW)
    rows = next((store / "current" / "customer_lifetime").glob("*/*.parquet")).read_bytes()
    streamed = store / "current" / "customer_lifetime" / "streamed"
    with switching(store):
        streamed.mkdir()
        for batch in (3, 7, 12):
            (streamed / f"batch-{batch}.parquet").write_bytes(rows)
    write_orders(tmp_path / "streamed" / "batch=3" / "part-0.parquet", ORDERS[:5])
    found = find_orders(shop(tmp_path).orders)
    write_orders(tmp_path / "streamed" / "batch=12" / "part-0.parquet", ORDERS[5:8])  # came while the build ran
    monkeypatch.setattr(build_features_module, "find_orders", lambda _: found)

    build_features(*shop(tmp_path), SETTINGS, NOW)

    assert ["batch-12.parquet"] == [file.name for file in streamed.iterdir()]  # there are no orders of batch 7
    assert rows == (streamed / "batch-12.parquet").read_bytes()


@pytest.mark.usefixtures("printed_logs")
def test_streamed_orders_of_another_data_set_are_left_out_with_their_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    write_orders(tmp_path / "orders.parquet", ORDERS)
    build_features(*shop(tmp_path), SETTINGS, NOW)
    without = files_in_place(store)
    rows = next((store / "current" / "customer_lifetime").glob("*/*.parquet"))
    streamed = store / "current" / "customer_lifetime" / "streamed" / "batch-3.parquet"
    streamed.parent.mkdir()
    streamed.write_bytes(rows.read_bytes())
    batch = tmp_path / "streamed" / "batch=3"
    write_orders(batch / "part-0.parquet", [("s", "stranger", NOW - timedelta(days=3), 5.0, 1)])
    former = pq.ParquetFile(batch / "part-0.parquet").read().replace_schema_metadata({"data_set": "former"})
    pq.write_table(former, batch / "part-0.parquet")
    (batch / "rows.json").write_text(json.dumps({"customer_lifetime": [1, "of a file that is no longer there"]}))

    build = build_features(*shop(tmp_path), SETTINGS, NOW)

    assert "1 batches of streamed orders belong to other data and are left out" in capsys.readouterr().out
    assert ([], [3], without) == (build.streamed_batches, build.left_out, files_in_place(store))
    assert damage((store / "current").resolve()) is None
