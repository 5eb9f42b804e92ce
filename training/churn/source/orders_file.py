"""Finds the orders: the file that `training/churn/orders.py` wrote, and the stream's batches since."""

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from artefacts.build_files import streamed_batches
from artefacts.errors import SourceError
from training.churn.source.addresses import OrderAddresses
from training.churn.source.orders_schema import ORDERS_SCHEMA, data_set_in, description_in

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
    ids_of_content: the orders came without ids, see `training.churn.source.order_ids`.
    left_out: numbers of the stream's batches of another data set.
    """

    files: tuple[Path, ...]
    streamed_batches: tuple[int, ...]
    observed_until: datetime
    source: str
    data_set: str = ""
    ids_of_content: bool = False
    left_out: tuple[int, ...] = ()


def find_orders(addresses: OrderAddresses) -> Orders:
    """Find and check the orders file and the current batches of streamed orders.

    Raises:
        SourceError: the orders file is absent, empty or has no description, or a file is corrupt or of another schema.
    """
    delivered = orders_file(addresses)
    batches = streamed_batches(addresses.streamed_orders)
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


def orders_file(addresses: OrderAddresses) -> Orders:
    """Check and describe the orders file alone, without streamed orders; raises as `find_orders`."""
    path = addresses.orders
    if not path.exists():
        raise SourceError(f"{path}: no orders; run `make data` first")
    described = _checked(path)
    if described.metadata.num_rows == 0:
        raise SourceError(f"{path}: holds no orders")
    try:
        description = description_in(described.schema_arrow.metadata)
        observed_until = datetime.fromisoformat(description["observed_until"])
        source = str(description["source"])
        ids_of_content = bool(description.get("ids_of_content"))
    except (AttributeError, KeyError, TypeError, ValueError):
        raise SourceError(f"{path}: has no description of its orders; run `make data` again") from None
    return Orders((path,), (), observed_until, source, data_set_of(described), ids_of_content)


def data_set_of(orders: pq.ParquetFile) -> str:
    """Id of the data set of a file of orders; empty if an earlier version wrote it."""
    return data_set_in(orders.metadata.metadata)


def _checked(path: Path) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise SourceError(f"{path}: is not readable as Parquet ({error})") from None
    if not file.schema_arrow.equals(ORDERS_SCHEMA):
        columns = ", ".join(f"{f.name}: {f.type}" for f in file.schema_arrow)
        raise SourceError(f"{path}: columns are [{columns}]; run `make data` to write them as expected")
    return file
