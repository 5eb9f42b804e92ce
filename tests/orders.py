"""Orders files and what is built of them, for tests."""

import hashlib
import json
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from contract.artefacts import Artefacts
from jobs.orders import ORDERS_SCHEMA

Order = tuple[str, str, datetime, float, int]
"""order_id, customer_id, event_timestamp, amount, items."""


def shop(root: Path) -> Artefacts:
    """Orders, streamed orders and offline store below one folder."""
    return Artefacts.of(
        {
            "ORDERS_PATH": str(root / "orders.parquet"),
            "STREAMED_ORDERS_DIR": str(root / "streamed"),
            "OFFLINE_STORE_DIR": str(root / "store"),
        },
        root,
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
