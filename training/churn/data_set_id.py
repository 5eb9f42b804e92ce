"""The data set id of an orders file. A file that grew or was corrected keeps it; a file of other orders gets a new one.

Streamed orders belong to the data set that was in place when they came. A file that gains or loses its order ids also
gets a new id: otherwise a streamed order would count twice, under two ids.
"""

import hashlib
from contextlib import suppress
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from training.churn.source.orders_schema import data_set_in, description_in

_SAMPLED_ORDERS = 200_000
"""About how many orders are compared: all orders of a sample of customers."""
_LEAST_SHARE_KEPT = 0.5
"""A file that still holds this share of the earlier orders belongs to the same data set."""


class DataSetId:
    """Derives an orders file's data set id while the file is written, by comparing it with the file it replaces.

    Args:
        path: the file that will be replaced; it may be absent.
        ids_of_content: the orders came without ids, see `training.churn.source.order_ids`.
    """

    def __init__(self, path: Path, ids_of_content: bool = False) -> None:
        self._digest = hashlib.sha256()
        self._id, self._before = _orders_before(path)
        self._customers = pc.unique(self._before["customer_id"])
        self._after: list[pa.Table] = []
        # Unknown for files of an earlier version, which have no id.
        self._other_ids = bool(self._id) and _ids_of_content(path) != ids_of_content

    def add(self, orders: pa.Table) -> None:
        """Add orders of the new file."""
        for batch in orders.to_batches(max_chunksize=65_536):
            self._digest.update(batch.serialize())
        if len(self._customers):
            self._after.append(orders.filter(pc.is_in(orders["customer_id"], self._customers)))

    def id(self) -> str:
        """The id of the replaced file, or a new one: the start of a sha256 of all orders."""
        if self._before.num_rows and not self._other_ids:
            with duckdb.connect() as connection:
                connection.register("before", self._before)
                connection.register("after", pa.concat_tables(self._after) if self._after else self._before.slice(0, 0))
                kept = connection.execute(
                    "SELECT count(*) FROM before WHERE "
                    # An order may be corrected, moved in time (CDNOW) or without an id.
                    "(customer_id, order_id, event_timestamp) IN "
                    "(SELECT (customer_id, order_id, event_timestamp) FROM after) OR "
                    "(customer_id, order_id, amount) IN (SELECT (customer_id, order_id, amount) FROM after) OR "
                    "(customer_id, event_timestamp, amount, items) IN "
                    "(SELECT (customer_id, event_timestamp, amount, items) FROM after)"
                ).fetchall()[0][0]
            if kept >= _LEAST_SHARE_KEPT * self._before.num_rows:
                return self._id
        return self._digest.hexdigest()[:16]


def _orders_before(path: Path) -> tuple[str, pa.Table]:
    """Data set id of an orders file, empty if it has none, and its distinct orders of a sample of customers."""
    nothing = pa.table({"customer_id": pa.array([], pa.string())})
    try:
        rows = pq.read_metadata(path).num_rows
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.read_parquet(str(path)).create_view("rows")
            orders = connection.execute(
                "SELECT * FROM rows WHERE hash(customer_id) % ? = 0 QUALIFY row_number() OVER "
                "(PARTITION BY customer_id, order_id ORDER BY event_timestamp, amount, items) = 1",
                [max(1, rows // _SAMPLED_ORDERS)],
            ).to_arrow_table()
        return _id_of(path), orders
    except (OSError, pa.ArrowInvalid, duckdb.Error):
        return "", nothing


def count_other_batches(orders: Path, streamed_orders: Path) -> int:
    """Count the batches of streamed orders that belong to another data set than the orders file; they are not read."""
    batches = {file.parent: file for file in sorted(streamed_orders.glob("batch=*/part-*.parquet"))}
    return sum(_id_of(file) != _id_of(orders) for file in batches.values())


def _ids_of_content(file: Path) -> bool:
    with suppress(KeyError):
        return bool(description_in(pq.read_metadata(file).metadata).get("ids_of_content"))
    return False


def _id_of(file: Path) -> str:
    return data_set_in(pq.read_metadata(file).metadata)
