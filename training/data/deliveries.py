"""How far orders reach: until when a delivered file is complete, and sample orders that move with the calendar."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from artefacts.cutoffs import midnight
from training.data.orders import OrdersWritten, description_of, orders_file


def known_until(last: datetime, now: datetime, until: datetime | None, complete_at: datetime | None) -> datetime:
    """Before when every order is in a delivered file; UTC.

    Without a word of the user that is the end of the last order's day: a later order may just not have been delivered.

    Args:
        last: time of the last order.
        until: the user says so.
        complete_at: when the file was written, if the user says that it holds every order before the midnight before
            that. A file that is no longer delivered grows old with that time, whenever it is read.

    Raises:
        ValueError: `until` lies in the future, or before the last order.
    """
    if until is not None:
        if until > now:
            raise ValueError(f"UNTIL={until:%Y-%m-%dT%H:%M} lies in the future; it is {now:%Y-%m-%dT%H:%M} UTC")
        if until < last:
            raise ValueError(f"UNTIL={until:%Y-%m-%dT%H:%M} is before the last order, {last:%Y-%m-%dT%H:%M:%S} UTC")
        return until
    by_orders = min(midnight(last) + timedelta(days=1), now)
    return by_orders if complete_at is None else max(by_orders, midnight(min(complete_at, now)))


def in_checkout(path: Path, own: Path) -> str:
    """A user's file as seen from the checkout that it and the orders file lie in; empty: it lies elsewhere.

    A checkout may be moved or copied, and its file is in the new place then.
    """
    root = _checkout(path)
    return str(own.resolve().relative_to(root)) if root and own.resolve().is_relative_to(root) else ""


def of_checkout(path: Path, inside: str) -> Path | None:
    """The file that `in_checkout` named, where the orders file lies now; None: it named none."""
    root = _checkout(path)
    return root / inside if root and inside else None


def _checkout(path: Path) -> Path | None:
    where = path.resolve().parts
    return Path(*where[:-3]) if where[-3:-1] == ("var", "data") else None


def follow_today(path: Path, today: date) -> OrdersWritten | None:
    """Move sample orders that were made to end with a day so that they end with yesterday: whole days, nothing else.

    Returns:
        What was written; None where the orders do not follow the calendar, or need not move.

    Raises:
        OrdersError: there are no orders, or the file does not say what it was made of.
    """
    with description_of(path, "make data") as described:
        file = pq.ParquetFile(path)
        until = datetime.fromisoformat(described["observed_until"])
        source, shift = str(described["source"]), int(described.get("shift_days", 0))
    days = (datetime(today.year, today.month, today.day, tzinfo=UTC) - until).days
    if not described.get("follows_today") or days <= 0:
        return None
    column = file.schema_arrow.names.index("event_timestamp")
    customers: set[str] = set()
    with orders_file(path, source, shift + days, until + timedelta(days=days), follows_today=True) as write:
        for group in range(file.num_row_groups):
            orders = file.read_row_group(group)
            later = pc.add(orders["event_timestamp"], pa.scalar(timedelta(days=days), pa.duration("us")))
            write(orders.set_column(column, "event_timestamp", later))
            customers.update(pc.unique(orders["customer_id"]).to_pylist())
    return OrdersWritten(
        path=path,
        source=source,
        rows=file.metadata.num_rows,
        customers=len(customers),
        shift_days=shift + days,
        observed_until=until + timedelta(days=days),
    )
