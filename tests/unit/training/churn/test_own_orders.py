import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.models.orders import write_orders
from training.churn.own_orders import read_again, write_own
from training.churn.source.addresses import OrderAddresses
from training.churn.source.orders_file import find_orders
from training.errors import OrdersError

NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)
HEADER = "customer_id,event_timestamp,amount,items"
GOOD = "00042,2024-01-02,9.99,2"


def own_csv(folder: Path, *lines: str) -> Path:
    path = folder / "own.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def own_parquet(folder: Path, **columns: object) -> Path:
    """Two good rows, with the given columns in place of their own."""
    good: dict[str, Any] = {
        "order_id": ["A-1", "A-2"],
        "customer_id": ["00042", "7"],
        "event_timestamp": [datetime(2024, 1, 2, tzinfo=UTC), datetime(2024, 1, 3, 4, 5, 6, 7, tzinfo=UTC)],
        "amount": [9.99, 0.0],
        "items": [2, 0],
    }
    path = folder / "own.parquet"
    pq.write_table(pa.table(good | columns), path)
    return path


def refused(own: Path) -> str:
    """The message; existing orders stay as they are, and where there were none there are none."""
    kept = own.parent / "kept" / "orders.parquet"
    kept.parent.mkdir()
    kept.write_bytes(b"what was there before")
    with pytest.raises(OrdersError) as caught:
        write_own(kept, own, NOW)
    with pytest.raises(OrdersError):
        write_own(own.parent / "new" / "orders.parquet", own, NOW)
    assert b"what was there before" == kept.read_bytes()
    assert [kept] == list(kept.parent.iterdir())
    assert not (own.parent / "new").exists()
    assert str(own) in str(caught.value)
    return str(caught.value)


def times_written(folder: Path, own: Path) -> list[datetime]:
    write_own(folder / "orders.parquet", own, NOW)
    return [row["event_timestamp"] for row in pq.read_table(folder / "orders.parquet").to_pylist()]


def test_a_csv_is_written_as_it_is_and_described(tmp_path: Path) -> None:
    own = own_csv(tmp_path, HEADER, GOOD, "7,2024-03-01T08:09:10.000011Z,0,0", "00042,2024-01-02,9.99,2")

    written = write_own(tmp_path / "data" / "orders.parquet", own, NOW)

    first = {"customer_id": "00042", "event_timestamp": datetime(2024, 1, 2, tzinfo=UTC), "amount": 9.99, "items": 2}
    second = {
        "order_id": "1709280550000011-0-0-1",
        "customer_id": "7",
        "event_timestamp": datetime(2024, 3, 1, 8, 9, 10, 11, tzinfo=UTC),
        "amount": 0.0,
        "items": 0,
    }
    table = pq.read_table(written.path)
    ids = [f"1704153600000000-4621813488089437307-2-{number}" for number in (1, 2)]  # of two orders that are equal
    assert [{"order_id": ids[0], **first}, second, {"order_id": ids[1], **first}] == table.to_pylist()
    assert (3, 2, 0) == (written.rows, written.customers, written.shift_days)
    assert datetime(2024, 3, 2, tzinfo=UTC) == written.observed_until
    assert {
        "source": written.source,
        "shift_days": 0,
        "observed_until": "2024-03-02T00:00:00+00:00",
        "ids_of_content": True,
    } == json.loads(table.schema.metadata[b"orders"])


def test_a_parquet_file_is_written_as_it_is(tmp_path: Path) -> None:
    own = own_parquet(tmp_path, other_column=["ignored", "ignored"])

    write_own(tmp_path / "orders.parquet", own, NOW)

    expected = pq.read_table(own).drop_columns(["other_column"]).to_pylist()
    assert expected == pq.read_table(tmp_path / "orders.parquet").to_pylist()


def test_order_ids_of_a_csv_are_kept_so_that_an_order_may_be_in_it_twice(tmp_path: Path) -> None:
    own = own_csv(tmp_path, f"order_id,{HEADER}", f"0007,{GOOD}", f"0007,{GOOD}")

    written = write_own(tmp_path / "orders.parquet", own, NOW)

    assert ["0007", "0007"] == pq.read_table(written.path)["order_id"].to_pylist()


def test_an_empty_order_id_is_refused(tmp_path: Path) -> None:
    message = refused(own_csv(tmp_path, f"order_id,{HEADER}", f"1,{GOOD}", f",{GOOD}"))

    assert "column order_id, row 3: expected an order id" in message


def test_the_jobs_accept_what_training_writes(tmp_path: Path) -> None:
    written = write_own(tmp_path / "orders.parquet", own_csv(tmp_path, HEADER, GOOD), NOW)

    orders = find_orders(OrderAddresses.of({"ORDERS_PATH": str(written.path)}, tmp_path))

    assert (written.source, written.observed_until) == (orders.source, orders.observed_until)
    assert (written.path,) == orders.files


def test_orders_of_today_are_observed_until_now(tmp_path: Path) -> None:
    own = own_csv(tmp_path, HEADER, "1,2024-06-01T11:00:00Z,1,1")

    assert NOW == write_own(tmp_path / "orders.parquet", own, NOW).observed_until


@pytest.mark.parametrize(
    ("column", "row", "expected"),
    [
        ("customer_id", ",2024-01-02,1,1", "a customer id"),
        ("customer_id", "  ,2024-01-02,1,1", "a customer id"),
        ("customer_id", f"{'7' * 257},2024-01-02,1,1", "a customer id of at most 256 characters"),
        ("event_timestamp", "1,yesterday,1,1", "an ISO 8601 date or time, found 'yesterday'"),
        ("event_timestamp", "1,31.12.2023,1,1", "an ISO 8601 date or time"),
        ("event_timestamp", "1,2024-02-30,1,1", "an ISO 8601 date or time"),
        ("event_timestamp", "1,,1,1", "an ISO 8601 date or time"),
        ("event_timestamp", "1,2024-06-01T12:00:01Z,1,1", "a time not after 2024-06-01 12:00 UTC"),
        ("event_timestamp", "1,1969-12-31,1,1", "a time after 1970-01-01"),
        (
            "amount",
            "1,2024-01-02,-0.01,1",
            "a number ≥ 0, found '-0.01'; returns are not orders: leave them out, or give",
        ),
        ("amount", "1,2024-01-02,nan,1", "a number ≥ 0"),
        ("amount", "1,2024-01-02,inf,1", "a number ≥ 0"),
        ("amount", "1,2024-01-02,9€,1", "a number ≥ 0"),
        ("amount", "1,2024-01-02,1e12,1", "an amount of at most 100,000,000,000"),
        ("items", "1,2024-01-02,1,1.5", "a whole number ≥ 0, found '1.5'"),
        ("items", "1,2024-01-02,1,-1", "a whole number ≥ 0, found '-1'; returns are not orders"),
        ("items", "1,2024-01-02,1,", "a whole number ≥ 0"),
        ("items", "1,2024-01-02,1", "a whole number ≥ 0"),
    ],
)
def test_a_bad_line_of_a_csv_is_refused_with_column_line_and_expectation(
    tmp_path: Path, column: str, row: str, expected: str
) -> None:
    message = refused(own_csv(tmp_path, HEADER, GOOD, row, row))

    assert f"column {column}, row 3: expected {expected}" in message


def test_the_line_named_is_right_after_an_empty_line(tmp_path: Path) -> None:
    assert "row 4:" in refused(own_csv(tmp_path, HEADER, "", GOOD, "1,2024-01-02,-1,1"))


@pytest.mark.parametrize(
    ("column", "values", "row", "expected"),
    [
        ("order_id", ["1", None], 2, "an order id"),
        ("customer_id", ["1", None], 2, "a customer id"),
        ("customer_id", ["1", ""], 2, "a customer id"),
        ("event_timestamp", [datetime(2024, 1, 1, tzinfo=UTC), None], 2, "an ISO 8601 date or time"),
        ("event_timestamp", [NOW, datetime(2024, 6, 2, tzinfo=UTC)], 2, "a time not after 2024-06-01 12:00 UTC"),
        ("amount", [1.0, float("nan")], 2, "a number ≥ 0"),
        ("amount", [float("inf"), 1.0], 1, "a number ≥ 0"),
        ("amount", [1.0, None], 2, "a number ≥ 0"),
        ("items", [1.0, 1.5], 2, "a whole number ≥ 0"),
        ("items", [1, -2], 2, "a whole number ≥ 0"),
        ("items", [None, 1], 1, "a whole number ≥ 0"),
    ],
)
def test_a_bad_row_of_a_parquet_file_is_refused_with_column_row_and_expectation(
    tmp_path: Path, column: str, values: list[object], row: int, expected: str
) -> None:
    message = refused(own_parquet(tmp_path, **{column: values}))

    assert f"column {column}, row {row}: expected {expected}" in message


def test_a_missing_column_is_refused_with_those_expected_and_found(tmp_path: Path) -> None:
    message = refused(own_csv(tmp_path, "customer_id,event_timestamp,price,items", GOOD))

    assert "column amount is missing; expected customer_id, event_timestamp, amount, items, found" in message
    assert "price" in message


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("own.csv", b"", "cannot be read as csv"),
        ("own.csv", HEADER.encode(), "no rows; expected at least one order"),
        ("own.csv", f"{HEADER}\nM\xfcller,2024-01-02,1,1\n".encode("latin-1"), "cannot be read as csv"),
        ("own.csv", f"{HEADER}\n{GOOD}\n{GOOD},1,2\n".encode(), "cannot be read as csv"),
        ("own.csv", f"{HEADER}\n{GOOD},\n{GOOD},1\n".encode(), "row 3 has more values than there are columns"),
        ("own.csv", f"{HEADER};x\n{GOOD}\n".replace(",", ";").encode(), "separate columns by commas"),
        ("own.csv", f"{HEADER},amount\n{GOOD},1\n".encode(), "column amount occurs twice"),
        ("own.csv", b"\n" + f"{HEADER}\n{GOOD}\n".encode(), "expected a first line with the column names"),
        ("own.parquet", b"", "cannot be read as parquet"),
        ("own.parquet", f"{HEADER}\n{GOOD}\n".encode(), "cannot be read as parquet"),
        ("own.xlsx", b"PK", "expected a .csv or .parquet file"),
    ],
)
def test_a_file_that_holds_no_orders_is_refused(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    own = tmp_path / name
    own.write_bytes(content)

    assert expected in refused(own)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "own.csv")


def test_times_are_utc_unless_they_say_otherwise(tmp_path: Path) -> None:
    own = own_csv(
        tmp_path,
        HEADER,
        "1,2024-01-02,1,1",
        "1,2024-01-02 01:00:00,1,1",
        "1,2024-01-02T01:00:00+02:00,1,1",
        "1,2024-01-02T01:00:00Z,1,1",
    )

    at = [(2, 0), (2, 1), (1, 23), (2, 1)]
    assert [datetime(2024, 1, day, hour, tzinfo=UTC) for day, hour in at] == times_written(tmp_path, own)


def test_naive_times_of_a_parquet_file_are_utc(tmp_path: Path) -> None:
    naive = [datetime(2024, 1, 2, 3), datetime(2024, 1, 3)]  # noqa: DTZ001

    own = own_parquet(tmp_path, event_timestamp=pa.array(naive, pa.timestamp("us")))

    assert [at.replace(tzinfo=UTC) for at in naive] == times_written(tmp_path, own)


def test_times_of_another_zone_are_converted_and_days_end_at_midnight_utc(tmp_path: Path) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    local = [datetime(2024, 1, 2, tzinfo=berlin), datetime(2024, 1, 3, 0, 30, tzinfo=berlin)]
    own = own_parquet(tmp_path, event_timestamp=pa.array(local, pa.timestamp("us", tz="Europe/Berlin")))

    written = write_own(tmp_path / "orders.parquet", own, NOW)

    assert [datetime(2024, 1, 1, 23, tzinfo=UTC), datetime(2024, 1, 2, 23, 30, tzinfo=UTC)] == (
        pq.read_table(written.path)["event_timestamp"].to_pylist()
    )
    assert "2024-01-03T00:00:00+00:00" == written.observed_until.isoformat()


LINED = f"order_id,{HEADER}"


def written_rows(folder: Path, own: Path, lines: bool = False) -> list[tuple[str, str, float, int]]:
    written = write_own(folder / "orders.parquet", own, NOW, lines)
    return [
        (row["order_id"], row["customer_id"], row["amount"], row["items"])
        for row in pq.read_table(written.path).to_pylist()
    ]


@pytest.mark.parametrize(
    "other", ["2024-01-02,20,2", "2024-01-03,9.99,2", "2024-01-02,9.99,3"], ids=["amount", "time", "items"]
)
def test_rows_of_one_order_that_differ_are_refused_with_both_ways_out(tmp_path: Path, other: str) -> None:
    message = refused(own_csv(tmp_path, LINED, f"A,{GOOD}", f"B,{GOOD}", f"A,{GOOD}", f"A,00042,{other}"))

    assert "column order_id, row 5: expected one order per id" in message
    assert "LINES=1 sums them" in message
    assert "keep only its last row" in message


def test_customers_may_have_orders_of_the_same_id(tmp_path: Path) -> None:
    own = own_csv(tmp_path, LINED, f"1,{GOOD}", "1,7,2024-01-02,5,1")

    assert [("1", "00042", 9.99, 2), ("1", "7", 5.0, 1)] == written_rows(tmp_path, own)


def test_by_choice_rows_of_one_id_are_lines_and_the_order_is_their_sum_at_the_time_of_the_first(tmp_path: Path) -> None:
    lines = ["A,1,2024-01-02T10:00:00Z,100,1", "B,1,2024-01-05,0.1,1", "A,1,2024-01-02T09:00:00Z,5,1"]
    own = own_csv(
        tmp_path, LINED, *lines, "A,1,2024-01-02T11:00:00Z,20,3", "A,2,2024-01-02,7,1", "B,1,2024-01-05,0.2,1"
    )

    rows = written_rows(tmp_path, own, lines=True)

    assert [("A", "1", 125.0, 5), ("B", "1", 0.3, 2), ("A", "2", 7.0, 1)] == rows
    first = pq.read_table(tmp_path / "orders.parquet")["event_timestamp"][0].as_py()
    assert datetime(2024, 1, 2, 9, tzinfo=UTC) == first


def test_lines_that_are_equal_both_count(tmp_path: Path) -> None:
    assert [("A", "00042", 19.98, 4)] == written_rows(
        tmp_path, own_csv(tmp_path, LINED, f"A,{GOOD}", f"A,{GOOD}"), True
    )


def test_a_returned_line_is_taken_off_its_order(tmp_path: Path) -> None:
    own = own_csv(
        tmp_path, LINED, "A,1,2024-01-02,100,2", "A,1,2024-01-09,-30,-1", "B,1,2024-01-02,5,1", "B,1,2024-01-03,-5,-1"
    )

    assert [("A", "1", 70.0, 1), ("B", "1", 0.0, 0)] == written_rows(tmp_path, own, lines=True)


@pytest.mark.parametrize(("line", "what"), [("-101,0", "amount"), ("-1,-3", "items")])
def test_an_order_of_less_than_nothing_is_refused(tmp_path: Path, line: str, what: str) -> None:
    own = own_csv(tmp_path, LINED, "A,1,2024-01-02,100,2", f"A,1,2024-01-09,{line}")

    with pytest.raises(OrdersError, match=f"order 'A', of which row 3 is the last, add up to less than 0 in {what}"):
        write_own(tmp_path / "orders.parquet", own, NOW, lines=True)


def test_lines_need_order_ids(tmp_path: Path) -> None:
    with pytest.raises(OrdersError, match="LINES=1 needs the column order_id"):
        write_own(tmp_path / "orders.parquet", own_csv(tmp_path, HEADER, GOOD), NOW, lines=True)


def test_a_comma_at_the_end_of_every_row_says_nothing(tmp_path: Path) -> None:
    own = own_csv(tmp_path, HEADER, f"{GOOD},", "7,2024-01-03,1,1,")

    ids = ("1704153600000000-4621813488089437307-2-1", "1704240000000000-4607182418800017408-1-1")
    assert [(ids[0], "00042", 9.99, 2), (ids[1], "7", 1.0, 1)] == written_rows(tmp_path, own)


@pytest.mark.parametrize(
    "ids",
    [
        pa.array([42, 7]),
        pa.array([42, 7], pa.uint32()),
        pa.array(["42", "7"], pa.large_string()),
        pa.array(["42", "7"], pa.string_view()),
        pa.array(["42", "7"]).dictionary_encode(),
        pa.array([42, 7]).dictionary_encode(),
    ],
    ids=lambda ids: str(ids.type),
)
def test_ids_of_a_parquet_file_are_taken_as_text_whatever_they_are_stored_as(tmp_path: Path, ids: pa.Array) -> None:
    own = own_parquet(tmp_path, customer_id=ids, order_id=ids)

    assert [("42", "42", 9.99, 2), ("7", "7", 0.0, 0)] == written_rows(tmp_path, own)


def test_an_id_beyond_what_a_float_can_hold_keeps_every_digit_beside_a_missing_one(tmp_path: Path) -> None:
    own = own_parquet(tmp_path, order_id=pa.array([2**53 + 1, 2**63 - 1]))
    assert ["9007199254740993", "9223372036854775807"] == [row[0] for row in written_rows(tmp_path, own)]

    assert "column order_id, row 2: expected an order id" in refused(
        own_parquet(tmp_path, order_id=pa.array([1, None]))
    )


@pytest.mark.parametrize("ids", [pa.array([1.0, 2.0]), pa.array([True, False]), pa.array([b"1", b"2"])], ids=str)
def test_ids_that_are_neither_text_nor_whole_are_refused(tmp_path: Path, ids: pa.Array) -> None:
    assert f"column customer_id is {ids.type}; expected text or whole numbers" in refused(
        own_parquet(tmp_path, customer_id=ids)
    )


def test_what_pandas_made_the_index_is_a_column_like_any_other(tmp_path: Path) -> None:
    table = pq.read_table(own_parquet(tmp_path))
    own = tmp_path / "own.parquet"
    table.to_pandas().set_index("customer_id").to_parquet(own)
    assert [("A-1", "00042", 9.99, 2), ("A-2", "7", 0.0, 0)] == written_rows(tmp_path, own)

    bad = table.to_pandas().assign(amount=[1.0, -1.0])
    bad.index = pd.Index(["first", "second"])
    bad.to_parquet(own)
    assert "column amount, row 2: expected a number ≥ 0" in refused(own)


def test_the_file_given_last_is_read_again_as_it_was_read_then(tmp_path: Path) -> None:
    own = own_csv(tmp_path, LINED, "A,1,2024-01-02,100,1", "A,1,2024-01-02,5,1")
    path = write_own(tmp_path / "orders.parquet", own, NOW, lines=True).path
    own_csv(tmp_path, LINED, "A,1,2024-01-02,100,1", "A,1,2024-01-02,5,1", "B,2,2024-01-09,7,1")

    again = read_again(path, NOW)

    assert again is not None
    assert (2, f"own:{own}") == (again.rows, again.source)
    assert [105.0, 7.0] == pq.read_table(path)["amount"].to_pylist()


def at(day: int, hour: int = 0) -> datetime:
    return datetime(2024, 5, day, hour, tzinfo=UTC)


def described(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(pq.read_schema(path).metadata[b"orders"])
    return found


def touched(own: Path, when: datetime) -> Path:
    os.utime(own, (when.timestamp(), when.timestamp()))
    return own


def test_a_shop_that_sells_nothing_says_until_when_its_file_is_complete(tmp_path: Path) -> None:
    path, own = tmp_path / "orders.parquet", own_csv(tmp_path, HEADER, "1,2024-05-02T10:00:00Z,1,1")

    assert at(3) == write_own(path, own, NOW).observed_until
    for until in (at(2, 10), at(9), at(9, 7), NOW):
        assert until == write_own(path, own, NOW, until=until).observed_until
    with pytest.raises(OrdersError, match="UNTIL=2024-06-01T13:00 is in the future; it is 2024-06-01T12:00 UTC"):
        write_own(path, own, NOW, until=NOW + timedelta(hours=1))
    with pytest.raises(OrdersError, match="UNTIL=2024-05-02T09:00 is before the last order, 2024-05-02T10:00:00 UTC"):
        write_own(path, own, NOW, until=at(2, 9))
    assert NOW.isoformat() == described(path)["observed_until"]  # what was refused changed nothing


def test_a_complete_file_is_known_until_the_midnight_before_it_was_written(tmp_path: Path) -> None:
    path, own = tmp_path / "orders.parquet", own_csv(tmp_path, HEADER, "1,2024-05-02T10:00:00Z,1,1")

    for written, until in ((at(20, 5), at(20)), (at(2, 11), at(3)), (NOW + timedelta(days=9), at(1).replace(month=6))):
        assert until == write_own(path, touched(own, written), NOW, complete=True).observed_until


def test_a_daily_file_stays_complete_by_one_word_and_grows_old_when_it_is_delivered_no_more(tmp_path: Path) -> None:
    path, own = tmp_path / "orders.parquet", own_csv(tmp_path, HEADER, "1,2024-05-02T10:00:00Z,1,1")
    write_own(path, touched(own, at(4, 5)), at(4, 6))

    def daily(now: datetime, **said: bool | datetime) -> datetime:
        again = read_again(path, now, **said)  # type: ignore[arg-type]
        assert again is not None
        return again.observed_until

    assert at(3) == daily(at(4, 6))
    assert at(4) == daily(at(4, 6), complete=True)
    touched(own, at(5, 5))
    assert at(5) == daily(at(5, 6))
    assert at(5) == daily(at(25, 6))
    assert at(25, 4) == daily(at(25, 6), until=at(25, 4))  # holds for this one
    assert at(5) == daily(at(25, 6))


def test_a_copied_checkout_reads_its_own_copy_of_a_file_that_lies_in_it(tmp_path: Path) -> None:
    original, copy = tmp_path / "original", tmp_path / "copy"
    (original / "var" / "data").mkdir(parents=True)
    outside = own_csv(tmp_path, HEADER, GOOD)
    own = own_csv(original, HEADER, GOOD)
    write_own(original / "var" / "data" / "orders.parquet", own, NOW)
    shutil.copytree(original, copy)
    own_csv(copy, HEADER, GOOD, GOOD)

    for again in (
        read_again(copy / "var" / "data" / "orders.parquet", NOW),
        read_again(copy / "var" / "data" / "orders.parquet", NOW),
    ):
        assert again is not None
        assert (2, f"own:{copy / 'own.csv'}") == (again.rows, again.source)
    assert write_own(copy / "var" / "data" / "orders.parquet", outside, NOW).source == f"own:{outside}"
    still = read_again(copy / "var" / "data" / "orders.parquet", NOW)
    assert still is not None
    assert f"own:{outside}" == still.source


def test_orders_that_do_not_grow_are_not_read_again(tmp_path: Path) -> None:
    path = write_orders(tmp_path / "orders.parquet", [("A", "1", datetime(2024, 1, 2, tzinfo=UTC), 1.0, 1)])

    assert read_again(path, NOW) is None
    with pytest.raises(OrdersError, match="no orders yet; run `make data ORDERS=…` first"):
        read_again(tmp_path / "nothing.parquet", NOW)


def test_a_file_that_is_gone_leaves_the_orders_as_they_were(tmp_path: Path) -> None:
    own = own_csv(tmp_path, HEADER, GOOD)
    path = write_own(tmp_path / "orders.parquet", own, NOW).path
    before = path.read_bytes()
    own.unlink()

    with pytest.raises(OrdersError, match="no such file"):
        read_again(path, NOW)
    assert before == path.read_bytes()


def test_values_that_are_two_or_more_beyond_the_columns_are_not_left_out_in_silence(tmp_path: Path) -> None:
    message = refused(own_csv(tmp_path, HEADER, f"{GOOD},,1000"))

    assert "more values than there are columns" in message


def test_a_line_of_half_a_ten_thousandth_is_rounded_as_features_round_it(tmp_path: Path) -> None:
    own = own_csv(
        tmp_path, f"order_id,{HEADER}", "A,c,2024-01-02,0.00025,1", "B,c,2024-01-02,1,1", "B,c,2024-01-02,-0.00025,1"
    )

    write_own(tmp_path / "orders.parquet", own, NOW, lines=True)

    assert [0.0003, 0.9997] == pq.read_table(tmp_path / "orders.parquet")["amount"].to_pylist()


def test_an_order_whose_lines_come_to_more_than_can_be_summed_exactly_is_refused(tmp_path: Path) -> None:
    own = own_csv(tmp_path, LINED, *["A,1,2024-01-02,1e11,1"] * 2)

    with pytest.raises(OrdersError, match="the lines of order 'A' add up to more than 100,000,000,000"):
        write_own(tmp_path / "orders.parquet", own, NOW, lines=True)
