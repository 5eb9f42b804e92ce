"""Ids of orders that come without: the same for the same orders, whichever way they come."""

import random
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from training.churn.source.order_ids import content_ids

AT = datetime(2024, 1, 2, 3, 4, 5, 6, UTC)
Row = tuple[str, datetime, float, int]


def ids(rows: list[Row], numbered: bool = True) -> list[str]:
    columns = list(zip(*rows, strict=True)) or [()] * 4
    types = (pa.string(), pa.timestamp("us", tz="UTC"), pa.float64(), pa.int64())
    names = ["customer_id", "event_timestamp", "amount", "items"]
    orders = pa.table([pa.array(column, kind) for column, kind in zip(columns, types, strict=True)], names=names)
    found: list[str] = content_ids(orders, numbered).to_pylist()
    return found


def test_equal_orders_are_counted_through_and_the_order_of_rows_does_not_matter() -> None:
    rows: list[Row] = [(f"c{n % 3}", AT + timedelta(days=n % 2), float(n % 2), n % 2) for n in range(60)]
    shuffled = random.Random(7).sample(rows, len(rows))

    found = sorted(zip(rows, ids(rows), strict=True))

    assert 60 == len(set(found))
    assert found == sorted(zip(shuffled, ids(shuffled), strict=True))
    assert {str(n) for n in range(1, 11)} == {id_.rpartition("-")[2] for _, id_ in found}


def test_unless_they_are_numbered_equal_orders_are_the_first_of_them() -> None:
    row: Row = ("c", AT, 10.5, 2)

    assert [ids([row])[0]] * 3 == ids([row] * 3, numbered=False)
    assert ids([row, row])[1] not in ids([row] * 3, numbered=False)


@pytest.mark.parametrize(
    "other",
    [("c", AT + timedelta(microseconds=1), 10.5, 2), ("c", AT, 10.500000000000002, 2), ("c", AT, 10.5, 3)],
)
def test_orders_that_differ_in_anything_have_other_ids(other: Row) -> None:
    assert ids([("c", AT, 10.5, 2)]) != ids([other])


def test_ids_stay_what_they_are() -> None:
    assert ["1704164645000006-4622100592565682176-2-1"] == ids([("c", AT, 10.5, 2)])
    assert ids([("c", AT, 0.0, 0)]) == ids([("c", AT, -0.0, 0)])
    assert [] == ids([])
