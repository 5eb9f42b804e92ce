"""Where the orders are: the file that `training/orders.py` wrote, and what the stream has taken since."""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from contract.artefacts import Artefacts
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
"""Of every file of orders."""

ORDER_COLUMNS = {
    "order_id": "string",
    "customer_id": "string",
    "event_unix_us": "int64",
    "amount": "float64",
    "items": "int64",
}
"""Orders as `feature_repo.transformations` takes them."""


@dataclass(frozen=True)
class Orders:
    """All orders, checked but not read, and what was recorded about them.

    files: Parquet of `ORDERS_SCHEMA`; the orders file, then those of the stream.
    streamed_batches: numbers of the stream's batches that `files` includes, ascending.
    observed_until: every order before this time is in the orders file, unless it comes late; UTC.
    source: which data these are; it changes when they are replaced, not when they grow.
    """

    files: tuple[Path, ...]
    streamed_batches: tuple[int, ...]
    observed_until: datetime
    source: str


def find_orders(artefacts: Artefacts) -> Orders:
    """Find and check the orders file and the batches of streamed orders that are there now.

    Raises:
        JobError: the orders file is absent, empty or undescribed, or a file is corrupt or of another schema.
    """
    path = artefacts.orders
    if not path.exists():
        raise JobError(f"{path}: no orders; run `make data` first")
    described = _checked(path)
    if described.metadata.num_rows == 0:
        raise JobError(f"{path}: holds no orders")
    try:
        description = json.loads((described.schema_arrow.metadata or {}).get(b"orders", b"{}"))
        observed_until = datetime.fromisoformat(description["observed_until"])
        source = str(description["source"])
    except (KeyError, TypeError, ValueError):
        raise JobError(f"{path}: carries no description of its orders; run `make data` again") from None
    batches = streamed_batches(artefacts.streamed_orders)
    streamed = [file for number in sorted(batches) for file in batches[number]]
    for file in streamed:
        _checked(file)
    return Orders((path, *streamed), tuple(sorted(batches)), observed_until, source)


def streamed_batches(folder: Path) -> dict[int, list[Path]]:
    """Number of each batch of streamed orders → its Parquet files."""
    return {
        int(batch.name.removeprefix("batch=")): sorted(batch.glob("part-*.parquet"))
        for batch in folder.glob("batch=*")
        if batch.name.removeprefix("batch=").isdecimal()
    }


def _checked(path: Path) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise JobError(f"{path}: is not readable as Parquet ({error})") from None
    if not file.schema_arrow.equals(ORDERS_SCHEMA):
        columns = ", ".join(f"{f.name}: {f.type}" for f in file.schema_arrow)
        raise JobError(f"{path}: columns are [{columns}]; run `make data` to write them as expected")
    return file
