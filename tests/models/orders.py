"""Orders files and what is built of them, for tests."""

import hashlib
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from artefacts.addresses import Artefacts
from training.churn.source.addresses import OrderAddresses
from training.churn.source.orders_schema import ORDERS_SCHEMA

Order = tuple[str, str, datetime, float, int]
"""order_id, customer_id, event_timestamp, amount, items."""


class Shop(NamedTuple):
    """An offline store, and the orders of which it is built."""

    artefacts: Artefacts
    orders: OrderAddresses


def shop(root: Path) -> Shop:
    """Orders, streamed orders and offline store below one folder."""
    return Shop(
        Artefacts.of({"OFFLINE_STORE_DIR": str(root / "store")}, root),
        OrderAddresses(orders=root / "orders.parquet", streamed_orders=root / "streamed"),
    )


def some_orders(count: int, before: datetime) -> list[Order]:
    """Of 97 customers in the 300 days until the day before; the same for the same arguments."""
    return [
        (f"o{n}", f"{n % 97:05d}", before - timedelta(days=1 + (n * 7919 % 30_000) / 100), (n * 31 % 5000) / 100, n % 5)
        for n in range(count)
    ]


def write_orders(path: Path, orders: list[Order], source: str = "test", schema: pa.Schema = ORDERS_SCHEMA) -> Path:
    """Described as observed until the midnight of 10 June 2024."""
    columns = list(zip(*orders, strict=True)) or [()] * len(schema)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    description = json.dumps({"source": source, "observed_until": "2024-06-10T00:00:00+00:00"})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema.with_metadata({"orders": description})), path)
    return path


CORRECTIONS: dict[str, Callable[[Order], list[Order]]] = {
    "amount": lambda o: [(o[0], o[1], o[2], o[3] + 1.25, o[4])],
    "items": lambda o: [(o[0], o[1], o[2], o[3], o[4] + 1)],
    "time within the day": lambda o: [(o[0], o[1], o[2].replace(hour=(o[2].hour + 1) % 24), o[3], o[4])],
    "time to the day before": lambda o: [(o[0], o[1], o[2] - timedelta(days=1), o[3], o[4])],
    "time to a later month": lambda o: [(o[0], o[1], o[2] + timedelta(days=40), o[3], o[4])],
    "time to an earlier month": lambda o: [(o[0], o[1], o[2] - timedelta(days=40), o[3], o[4])],
    "another customer": lambda o: [(o[0], "00003", *o[2:])],
    "a new customer": lambda o: [(o[0], "brand-new", *o[2:])],
    "amount and items change places": lambda o: [(o[0], o[1], o[2], float(o[4]), int(o[3]))],
    "another id": lambda o: [("other", *o[1:])],
    "removed": lambda _: [],
    "one more, late": lambda o: [o, ("late", *o[1:])],
    "two more that are alike": lambda o: [o, ("late-1", *o[1:]), ("late-2", *o[1:])],
}
"""What may become of an order that was built already."""


def corrected(orders: list[Order], kind: str) -> list[Order]:
    """The same orders but for one, of three months before the last; which kind of correction is in `CORRECTIONS`."""
    by_time = sorted(orders, key=lambda order: order[2])
    (chosen,) = [order for order in by_time[len(orders) // 2 :] if order[1] != "00003" and order[3] > 0][:1]
    return [order for order in orders if order != chosen] + CORRECTIONS[kind](chosen)


def rows_in_place(store: Path, view: str) -> pa.Table:
    """All rows of a view, sorted, but for when they were made."""
    rows = ds.dataset(store / "current" / view).to_table().drop_columns(["created_timestamp"])
    return rows.sort_by([("customer_id", "ascending"), ("event_timestamp", "ascending")]).combine_chunks()


def files_in_place(store: Path) -> dict[str, str]:
    """Path → hash of every file of rows of the build in place."""
    build = store / "current"
    return {
        str(file.relative_to(build)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(build.rglob("*.parquet"))
    }
