"""What of a stream is an order, and why the rest is none."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.stream.order_events import RefusedEvent, read_json, read_parquet, split_events
from training.churn.source.orders_schema import ORDERS_SCHEMA

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
GOOD: dict[str, Any] = {
    "order_id": "o-1",
    "customer_id": "00042",
    "event_timestamp": "2026-05-01T10:00:00+02:00",
    "amount": 12.5,
    "items": 2,
}


def event(**changed: Any) -> str:
    return json.dumps({**GOOD, **changed})


def test_an_order_is_read_with_its_time_in_utc_and_its_id_as_text() -> None:
    assert {**GOOD, "event_timestamp": datetime(2026, 5, 1, 8, tzinfo=UTC)} == read_json(event(), NOW)


@pytest.mark.parametrize("at", ["2026-05-01T08:00:00Z", "2026-05-01T08:00:00", "2026-05-01 08:00"])
def test_a_time_without_a_zone_is_utc(at: str) -> None:
    order = read_json(event(event_timestamp=at), NOW)

    assert isinstance(order, dict)
    assert datetime(2026, 5, 1, 8, tzinfo=UTC) == order["event_timestamp"]


def test_members_that_no_order_has_are_let_be() -> None:
    assert read_json(event(), NOW) == read_json(event(coupon="SPRING"), NOW)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"order_id": None}, "order_id: expected text"),
        ({"order_id": "  "}, "order_id: expected text"),
        ({"customer_id": 42}, "customer_id: expected text"),
        ({"customer_id": "x" * 257}, "customer_id: expected text of 1 to 256"),
        ({"customer_id": "\ud800"}, "customer_id: expected text, found half a character"),
        ({"event_timestamp": "yesterday"}, "event_timestamp: expected an ISO 8601 time"),
        ({"event_timestamp": 1_700_000_000}, "event_timestamp: expected an ISO 8601 time"),
        ({"event_timestamp": NOW.isoformat()}, "event_timestamp: lies in the future"),
        ({"event_timestamp": (NOW + timedelta(days=1)).isoformat()}, "event_timestamp: lies in the future"),
        ({"event_timestamp": "1969-12-31T00:00:00Z"}, "event_timestamp: expected a time after 1970-01-01"),
        ({"amount": "12"}, "amount: expected a number"),
        ({"amount": True}, "amount: expected a number"),
        ({"amount": float("nan")}, "amount: expected a number"),
        ({"amount": -0.01}, "amount: expected a number from 0"),
        ({"amount": 10**400}, "amount: expected a number from 0"),
        ({"amount": 1e12}, "amount: expected a number from 0"),
        ({"items": 1.5}, "items: expected a whole number"),
        ({"items": -1}, "items: expected a whole number"),
        ({"items": 2**31}, "items: expected a whole number"),
        ({"items": None}, "items: expected a number"),
    ],
)
def test_what_cannot_be_an_order_is_refused_with_the_column(changed: dict[str, Any], reason: str) -> None:
    refused = read_json(event(**changed), NOW)

    assert isinstance(refused, RefusedEvent)
    assert refused.reason.startswith(reason)
    assert event(**changed) == refused.event


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "is not a JSON object"),
        ("1", "is not a"),
    ],
)
def test_what_is_no_json_object_is_refused(text: str, reason: str) -> None:
    refused = read_json(text, NOW)

    assert isinstance(refused, RefusedEvent)
    assert reason in refused.reason


def test_orders_and_others_are_sorted_out_and_none_is_lost() -> None:
    events = [read_json(text, NOW) for text in (event(), "{", event(order_id="o-2"), event(items=-1))]

    orders, refused = split_events(events)

    assert ORDERS_SCHEMA == orders.schema
    assert ["o-1", "o-2"] == orders["order_id"].to_pylist()
    assert 2 == len(refused)


def test_nothing_is_an_empty_table_of_orders() -> None:
    assert (0, ORDERS_SCHEMA) == ((table := split_events([])[0]).num_rows, table.schema)


def test_a_parquet_file_is_read_row_by_row(tmp_path: Path) -> None:
    rows = [{**GOOD, "event_timestamp": NOW - timedelta(hours=1)}, {**GOOD, "event_timestamp": NOW}]
    pq.write_table(pa.Table.from_pylist(rows, schema=ORDERS_SCHEMA), tmp_path / "a.parquet")

    orders, (refused,) = split_events(read_parquet(tmp_path / "a.parquet", NOW))

    assert 1 == orders.num_rows
    assert "event_timestamp: lies in the future" == refused.reason
    assert "00042" in refused.event


@pytest.mark.parametrize("content", [b"", b"PAR1 nonsense PAR1", None])
def test_a_parquet_file_that_cannot_be_used_is_refused_whole_by_its_path(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "a.parquet"
    if content is None:
        pq.write_table(pa.table({"order_id": ["o-1"]}), file)
    else:
        file.write_bytes(content)

    orders, (refused,) = split_events(read_parquet(file, NOW))

    assert (0, str(file)) == (orders.num_rows, refused.event)
    assert "Parquet" in refused.reason or "has no column customer_id" in refused.reason
