"""Reading the orders that `training/orders.py` wrote."""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.errors import JobError

ORDERS_SCHEMA = pa.schema(
    [
        ("order_id", pa.string()),
        ("customer_id", pa.string()),
        ("event_timestamp", pa.timestamp("us", tz="UTC")),
        ("amount", pa.float64()),
        ("items", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Orders:
    """All orders, and what was recorded about them.

    rows: order_id, customer_id, event_unix_us, amount, items, as `feature_repo.transformations` takes them.
    observed_until: every order before this time is in the file; UTC.
    source: which data these are; it changes when they are replaced, not when they grow.
    """

    rows: pa.Table
    observed_until: datetime
    source: str


def read_orders(path: Path) -> Orders:
    """Read and check the orders file.

    Raises:
        JobError: the file is absent, corrupt, empty, of another schema or without its description.
    """
    if not path.exists():
        raise JobError(f"{path}: no orders; run `make data` first")
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise JobError(f"{path}: is not readable as Parquet ({error})") from None
    if not table.schema.equals(ORDERS_SCHEMA):
        found = ", ".join(f"{f.name}: {f.type}" for f in table.schema)
        raise JobError(f"{path}: columns are [{found}]; run `make data` to write them as expected")
    if table.num_rows == 0:
        raise JobError(f"{path}: holds no orders")
    try:
        description = json.loads((table.schema.metadata or {}).get(b"orders", b"{}"))
        observed_until = datetime.fromisoformat(description["observed_until"])
        source = str(description["source"])
    except (KeyError, TypeError, ValueError):
        raise JobError(f"{path}: carries no description of its orders; run `make data` again") from None
    rows = pa.table(
        {
            "order_id": table["order_id"],
            "customer_id": table["customer_id"],
            "event_unix_us": table["event_timestamp"].cast(pa.int64()),
            "amount": table["amount"],
            "items": table["items"],
        }
    )
    return Orders(rows=rows, observed_until=observed_until, source=source)
