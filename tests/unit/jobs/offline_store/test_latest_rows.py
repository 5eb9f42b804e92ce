"""Ranges of customers, and the latest row of each, from Parquet files laid out as in the offline store."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.errors import JobError
from jobs.offline_store.column_types import check_columns
from jobs.offline_store.latest_rows import KeyRange, ViewSource, connect, key_ranges, latest_rows

T0 = datetime(2026, 1, 1, tzinfo=UTC)
TIMESTAMP = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema(
    [
        ("customer_id", pa.string()),
        ("count", pa.int64()),
        ("spend", pa.float64()),
        ("event_timestamp", TIMESTAMP),
        ("created_timestamp", TIMESTAMP),
    ]
)
Row = dict[str, Any]


def day(days: float) -> datetime:
    return T0 + timedelta(days=days)


def row(customer: str, at: float, count: int | None = 1, created: float = 100) -> Row:
    return {
        "customer_id": customer,
        "count": count,
        "spend": None if count is None else count / 2,
        "event_timestamp": day(at),
        "created_timestamp": day(created),
    }


def source(folder: Path, created: str | None = "created_timestamp") -> ViewSource:
    return ViewSource(
        name="orders_seen",
        path=str(folder / "*" / "*.parquet"),
        join_keys=("customer_id",),
        key_dtypes=("string",),
        timestamp_field="event_timestamp",
        created_timestamp_field=created,
        columns=("count", "spend"),
        dtypes=("int64", "float64"),
    )


def write(folder: Path, part: str, rows: list[Row], schema: pa.Schema = SCHEMA) -> Path:
    file = folder / part / "part-0.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    ordered = sorted(rows, key=lambda r: str(r["customer_id"]))
    pq.write_table(pa.Table.from_pylist(ordered, schema), file, row_group_size=50)
    return file


def keys(*customers: str) -> pa.Table:
    return pa.table({"customer_id": customers})


def counts(rows: pa.Table) -> dict[str, int]:
    return dict(zip(rows["customer_id"].to_pylist(), rows["count"].to_pylist(), strict=True))


def test_the_latest_row_is_the_newest_at_that_time(tmp_path: Path) -> None:
    write(tmp_path, "2026-01", [row("a", 1, 1), row("a", 3, 2), row("b", 2, 3)])
    write(tmp_path, "2026-02", [row("a", 40, 4), row("c", 41, 5)])
    view, connection = source(tmp_path), connect()

    assert {"a": 4, "b": 3, "c": 5} == counts(latest_rows(connection, view, day(50)))
    assert {"a": 2, "b": 3} == counts(latest_rows(connection, view, day(39)))
    assert {"a": 1} == counts(latest_rows(connection, view, day(1)))
    assert 0 == latest_rows(connection, view, day(0.5)).num_rows


def test_of_rows_with_one_event_time_the_one_created_last_counts(tmp_path: Path) -> None:
    write(tmp_path, "2026-01", [row("a", 1, 1, created=10), row("b", 1, 5, created=30), row("b", 2, 6, created=1)])
    write(tmp_path, "streamed", [row("a", 1, 2, created=20), row("a", 0.5, 9, created=90)])

    assert {"a": 2, "b": 6} == counts(latest_rows(connect(), source(tmp_path), day(5)))


def test_rows_come_typed_as_declared_and_sorted_by_customer(tmp_path: Path) -> None:
    sums = SCHEMA.set(1, pa.field("count", pa.decimal128(38, 0)))  # how DuckDB writes a sum of integers
    write(tmp_path, "2026-01", [row("Ω", 1, 1), row("a", 1, None), row("Z", 1, 3), row("é", 1, 4)], sums)

    rows = latest_rows(connect(), source(tmp_path, created=None), day(5))

    assert ["Z", "a", "é", "Ω"] == rows["customer_id"].to_pylist()
    assert pa.schema([SCHEMA.field(name) for name in ("customer_id", "event_timestamp", "count", "spend")]).equals(
        rows.schema
    )
    assert [3, None, 4, 1] == rows["count"].to_pylist()


def test_equal_times_and_no_creation_time_give_the_same_row_whatever_the_order_of_files(tmp_path: Path) -> None:
    for folder, order in (("one", (7, 8)), ("other", (8, 7))):
        for part, count in zip("xy", order, strict=True):
            write(tmp_path / folder, part, [row("a", 1, count)])
    both = [latest_rows(connect(), source(tmp_path / name, None), day(5)) for name in ("one", "other")]

    assert both[0].equals(both[1])
    assert 1 == both[0].num_rows


def test_only_the_customers_asked_for_are_read(tmp_path: Path) -> None:
    write(tmp_path, "2026-01", [row(c, 1) for c in "abcde"])
    view, connection = source(tmp_path), connect()

    assert {"b", "e"} == counts(latest_rows(connection, view, day(5), keys=keys("b", "e", "x"))).keys()
    in_range = latest_rows(connection, view, day(5), KeyRange("b", "e"), keys("a", "d", "e"))
    assert {"d"} == counts(in_range).keys()


@pytest.mark.parametrize("per_chunk", [30, 100, 1_000, 5_000])
def test_ranges_cover_everybody_once_and_are_about_as_large_as_asked(tmp_path: Path, per_chunk: int) -> None:
    ids = [f"{n:05d}" for n in range(2_000)] + ["", "Ω", "zz"]
    random.Random(5).shuffle(ids)
    for month in ("2026-01", "2026-02"):
        write(tmp_path, month, [row(c, 1) for c in ids[: 2_000 if month == "2026-01" else None]])
    view, connection = source(tmp_path), connect()

    ranges = key_ranges(connection, [view], per_chunk)

    parts = [latest_rows(connection, view, day(5), key_range) for key_range in ranges]
    assert sorted(ids) == [c for part in parts for c in part["customer_id"].to_pylist()]
    assert ranges == key_ranges(connect(), [view], per_chunk)
    assert (ranges[0].low, ranges[-1].high) == (None, None)
    assert max(part.num_rows for part in parts) <= 2 * per_chunk


def test_an_empty_store_is_one_range_without_rows(tmp_path: Path) -> None:
    write(tmp_path, "none", [])
    view, connection = source(tmp_path), connect()

    assert [KeyRange()] == key_ranges(connection, [view], 100)
    assert 0 == latest_rows(connection, view, day(5), KeyRange()).num_rows


def test_rows_without_a_key_are_in_no_range(tmp_path: Path) -> None:
    write(tmp_path, "2026-01", [*(row(f"{n:03}", 1) for n in range(300)), {**row("x", 1), "customer_id": None}])
    view, connection = source(tmp_path), connect()

    for per_chunk in (1, 7, 300):
        ranges = key_ranges(connection, [view], per_chunk)
        parts = [latest_rows(connection, view, day(5), key_range).num_rows for key_range in ranges]
        assert 300 == sum(parts)


def test_ranges_of_several_keys_cover_everybody_once(tmp_path: Path) -> None:
    pairs = [(a, b) for a in range(-3, 4) for b in ("", "9", "10", "Ω")]
    table = {
        "a": [a for a, _ in pairs],
        "b": [b for _, b in pairs],
        "at": [day(1)] * len(pairs),
        "v": [True] * len(pairs),
    }
    pq.write_table(pa.table(table), tmp_path / "rows.parquet")
    path, types = str(tmp_path / "rows.parquet"), ("int64", "string")
    view = ViewSource("pairs", path, ("a", "b"), types, "at", None, ("v",), ("bool",))

    for per_chunk in (1, 3, 100):
        ranges = key_ranges(connect(), [view], per_chunk)
        rows = pa.concat_tables(latest_rows(connect(), view, day(5), key_range) for key_range in ranges)
        assert sorted(pairs) == list(zip(rows["a"].to_pylist(), rows["b"].to_pylist(), strict=True))
    assert len(pairs) > len(key_ranges(connect(), [view], 3)) > 3


def test_a_column_may_be_named_as_anything_and_times_may_be_without_zone(tmp_path: Path) -> None:
    naive = pa.array([day(1).replace(tzinfo=None), day(2).replace(tzinfo=None)], pa.timestamp("ns"))
    table = pa.table({"k": ["a", "a"], "t": [1.0, 2.0], "newest": naive, "seen": [True, False]})
    pq.write_table(table, tmp_path / "rows.parquet")
    columns = ("t", "seen")
    path, types = str(tmp_path / "rows.parquet"), ("float64", "bool")
    view = ViewSource("odd", path, ("k",), ("string",), "newest", None, columns, types)

    rows = latest_rows(connect(), view, day(5), KeyRange("a", "b"), pa.table({"k": ["a"]}))

    assert [{"k": "a", "newest": day(2), "t": 2.0, "seen": False}] == rows.to_pylist()


def test_no_files_are_named_as_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"no rows of the view orders_seen; run `make features` first"):
        latest_rows(connect(), source(tmp_path), day(5))


def test_a_file_that_is_not_parquet_is_named(tmp_path: Path) -> None:
    write(tmp_path, "2026-01", [row("a", 1)])
    damaged = write(tmp_path, "2026-02", [row("a", 2)])
    damaged.write_bytes(damaged.read_bytes()[:-20])

    with pytest.raises(JobError, match=r"2026-02/part-0.parquet: is not readable as Parquet"):
        check_columns(source(tmp_path))
    with pytest.raises(JobError, match=r"orders_seen cannot be read: .*2026-02/part-0.parquet"):
        latest_rows(connect(), source(tmp_path), day(5))


def test_a_missing_column_is_named_with_its_file(tmp_path: Path) -> None:
    write(tmp_path, "2026-01", [row("a", 1)])
    write(tmp_path, "2026-02", [row("a", 2)], SCHEMA.remove(SCHEMA.get_field_index("spend")))

    with pytest.raises(JobError, match=r"2026-02/part-0.parquet: has no column 'spend', which the view orders_seen"):
        check_columns(source(tmp_path))


def test_a_column_of_another_type_is_named_with_its_file(tmp_path: Path) -> None:
    write(tmp_path, "2026-01", [{**row("a", 1), "spend": "1.5"}], SCHEMA.set(2, pa.field("spend", pa.string())))

    with pytest.raises(JobError, match=r"column 'spend' is string; the view orders_seen declares float64"):
        check_columns(source(tmp_path))
