"""Until when a delivered orders file is complete, and how sample orders move with the calendar."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from artefacts.cutoffs import midnight
from training.churn.orders import OrdersWritten, description_of, orders_file


def infer_observed_until(
    last: datetime, now: datetime, until: datetime | None, complete_at: datetime | None
) -> datetime:
    """The time (UTC) before which a delivered file holds every order.

    By default the end of the last order's day, because later orders may not have been delivered yet.

    Args:
        last: time of the last order.
        until: the user's own answer.
        complete_at: when the file was written, if the user declares it complete until the midnight before. A file that
            is no longer delivered does not get younger by being read again.

    Raises:
        ValueError: `until` is in the future, or before the last order.
    """
    if until is not None:
        if until > now:
            raise ValueError(f"UNTIL={until:%Y-%m-%dT%H:%M} is in the future; it is {now:%Y-%m-%dT%H:%M} UTC")
        if until < last:
            raise ValueError(f"UNTIL={until:%Y-%m-%dT%H:%M} is before the last order, {last:%Y-%m-%dT%H:%M:%S} UTC")
        return until
    by_orders = min(midnight(last) + timedelta(days=1), now)
    return by_orders if complete_at is None else max(by_orders, midnight(min(complete_at, now)))


def path_in_checkout(path: Path, own: Path) -> str:
    """The user's file relative to the checkout of the orders file `path`; empty if it is outside.

    A relative path stays valid if the checkout is moved or copied.
    """
    root = _checkout(path)
    return str(own.resolve().relative_to(root)) if root and own.resolve().is_relative_to(root) else ""


def resolve_in_checkout(path: Path, inside: str) -> Path | None:
    """The file at a path from `path_in_checkout`, in the checkout where the orders file is now; None if it is empty."""
    root = _checkout(path)
    return root / inside if root and inside else None


def _checkout(path: Path) -> Path | None:
    where = path.resolve().parts
    return Path(*where[:-3]) if where[-3:-1] == ("var", "data") else None


def follow_today(path: Path, today: date) -> OrdersWritten | None:
    """Shift sample orders by whole days so that they end yesterday.

    Returns:
        What was written; None if the orders do not follow the calendar, or already end yesterday.

    Raises:
        OrdersError: there are no orders, or the file has no description.
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
