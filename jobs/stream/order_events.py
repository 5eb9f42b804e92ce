"""Reads and checks orders from a stream; refuses bad ones with a reason."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from training.churn.source.order_ids import content_ids
from training.churn.source.orders_schema import EARLIEST, MAX_AMOUNT, MAX_ID_LENGTH, MAX_ITEMS, ORDERS_SCHEMA


@dataclass(frozen=True)
class RefusedEvent:
    """An event that is no valid order.

    event: its text; the path, if a file cannot be read.
    """

    event: str
    reason: str


Event = dict[str, Any] | RefusedEvent
"""An order by the columns of `ORDERS_SCHEMA`, or a refused event."""


def read_json(text: str, now: datetime, with_ids: bool = True) -> Event:
    """Read one JSON object; ignores members that are no columns of an order.

    Args:
        now: UTC; an order at or after it is refused.
        with_ids: orders must have ids; else `split_events` makes them.
    """
    try:
        order = json.loads(text)
    except (ValueError, RecursionError) as error:
        return RefusedEvent(text, f"is not JSON: {error}")
    if not isinstance(order, dict):
        return RefusedEvent(text, "is not a JSON object")
    try:
        return _order(order, now, with_ids)
    except ValueError as error:
        return RefusedEvent(text, str(error))


def read_parquet(path: Path, now: datetime, with_ids: bool = True) -> Iterator[Event]:
    """Read a Parquet file of orders; each value is checked, the schema is not. Arguments as for `read_json`."""
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        yield RefusedEvent(str(path), f"is not readable as Parquet: {str(error).splitlines()[0]}")
        return
    columns = [name for name in ORDERS_SCHEMA.names if with_ids or name != "order_id"]
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        yield RefusedEvent(str(path), f"has no column {missing[0]}")
        return
    for order in table.select(columns).to_pylist():
        try:
            yield _order(order, now, with_ids)
        except ValueError as error:
            yield RefusedEvent(json.dumps(order, default=str), str(error))


def split_events(events: Iterable[Event], with_ids: bool = True) -> tuple[pa.Table, list[RefusedEvent]]:
    """Split events into orders, a table of `ORDERS_SCHEMA`, and refused events.

    Args:
        with_ids: as for `read_json`. Equal orders without ids count as one delivered twice, because a stream repeats
            unconfirmed deliveries. If they are two orders, the next orders file corrects it.
    """
    orders, refused = [], []
    for event in events:
        if isinstance(event, RefusedEvent):
            refused.append(event)
        else:
            orders.append(event)
    table = pa.Table.from_pylist(orders, schema=ORDERS_SCHEMA)
    return table if with_ids else table.set_column(0, "order_id", content_ids(table, numbered=False)), refused


def _order(order: Mapping[str, Any], now: datetime, with_ids: bool) -> dict[str, Any]:
    return {
        "order_id": _text(order, "order_id") if with_ids else "",
        "customer_id": _text(order, "customer_id"),
        "event_timestamp": _time(order, now),
        "amount": _number(order, "amount", MAX_AMOUNT),
        "items": int(_number(order, "items", MAX_ITEMS, whole=True)),
    }


def _text(order: Mapping[str, Any], name: str) -> str:
    value = order.get(name)
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_ID_LENGTH:
        raise ValueError(f"{name}: expected text of 1 to {MAX_ID_LENGTH} characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name}: expected text, found half a character") from None
    return value


def _time(order: Mapping[str, Any], now: datetime) -> datetime:
    value = order.get("event_timestamp")
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            value = None
    if not isinstance(value, datetime):
        raise ValueError("event_timestamp: expected an ISO 8601 time")
    at = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    if at < EARLIEST:
        raise ValueError("event_timestamp: expected a time after 1970-01-01")
    if at >= now:
        raise ValueError("event_timestamp: lies in the future")
    return at


def _number(order: Mapping[str, Any], name: str, most: float, whole: bool = False) -> float:
    value = order.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name}: expected a number")
    if not 0 <= value <= most or (whole and value != int(value)):
        raise ValueError(f"{name}: expected a {'whole ' if whole else ''}number from 0 to {most:,.0f}")
    return float(value)
