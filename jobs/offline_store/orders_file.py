"""Finds the orders: the file that `training/data/orders.py` wrote, and the stream's batches since."""

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from artefacts.addresses import Artefacts
from artefacts.orders_schema import ORDERS_SCHEMA, data_set_in, description_in
from jobs.errors import JobError

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
    """All orders, as checked files, and their description.

    files: Parquet of `ORDERS_SCHEMA`; the orders file, then the stream's files.
    streamed_batches: numbers of the stream's batches in `files`, ascending.
    observed_until: the orders file has every order before this time, except late ones; UTC.
    source: where the orders came from, for people.
    data_set: id of the data; it changes when they are replaced, not when they grow or are renamed.
    ids_of_content: the orders came without ids, see `artefacts.order_ids`.
    left_out: numbers of the stream's batches of another data set.
    """

    files: tuple[Path, ...]
    streamed_batches: tuple[int, ...]
    observed_until: datetime
    source: str
    data_set: str = ""
    ids_of_content: bool = False
    left_out: tuple[int, ...] = ()


def find_orders(artefacts: Artefacts) -> Orders:
    """Find and check the orders file and the current batches of streamed orders.

    Raises:
        JobError: the orders file is absent, empty or has no description, or a file is corrupt or of another schema.
    """
    delivered = orders_file(artefacts)
    batches = streamed_batches(artefacts.streamed_orders)
    left_out = {
        number
        for number, files in batches.items()
        if any(data_set_of(_checked(file)) != delivered.data_set for file in files)
    }
    streamed = [file for number in sorted(batches.keys() - left_out) for file in batches[number]]
    return replace(
        delivered,
        files=(*delivered.files, *streamed),
        streamed_batches=tuple(sorted(batches.keys() - left_out)),
        left_out=tuple(sorted(left_out)),
    )


def orders_file(artefacts: Artefacts) -> Orders:
    """Check and describe the orders file alone, without streamed orders; raises as `find_orders`."""
    path = artefacts.orders
    if not path.exists():
        raise JobError(f"{path}: no orders; run `make data` first")
    described = _checked(path)
    if described.metadata.num_rows == 0:
        raise JobError(f"{path}: holds no orders")
    try:
        description = description_in(described.schema_arrow.metadata)
        observed_until = datetime.fromisoformat(description["observed_until"])
        source = str(description["source"])
        ids_of_content = bool(description.get("ids_of_content"))
    except (AttributeError, KeyError, TypeError, ValueError):
        raise JobError(f"{path}: has no description of its orders; run `make data` again") from None
    return Orders((path,), (), observed_until, source, data_set_of(described), ids_of_content)


def data_set_of(orders: pq.ParquetFile) -> str:
    """Id of the data set of a file of orders; empty if an earlier version wrote it."""
    return data_set_in(orders.metadata.metadata)


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
