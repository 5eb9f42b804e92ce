"""Which data set an orders file is of: a file that grew or was corrected is of the same, one of other orders is not.

Orders that were streamed belong to the data set that was there when they came. Under ids of another kind they would
count a second time beside those of the file, so a file that gains or loses its ids is of another data set, too.
"""

import hashlib
import json
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

DATA_SET = "data_set"
"""Key of the id in a Parquet file's own metadata; the stream's files have it, too."""
_ABOUT = 200_000
"""Orders that are compared, all those of some customers."""
_KEPT = 0.5
"""Share of the earlier orders that a file of the same data set still holds."""


class DataSet:
    """Compares an orders file with the one in its place, while it is being written.

    Args:
        path: of the file that will be replaced; it may be absent.
        ids_of_content: the orders came without ids, see `artefacts.order_ids`.
    """

    def __init__(self, path: Path, ids_of_content: bool = False) -> None:
        self._digest = hashlib.sha256()
        self._id, self._before = _orders_before(path)
        self._customers = pc.unique(self._before["customer_id"])
        self._now: list[pa.Table] = []
        # Of a file of an earlier version, which has no id, it is not known.
        self._other_ids = bool(self._id) and _ids_of_content(path) != ids_of_content

    def add(self, orders: pa.Table) -> None:
        """Take notice of some orders of the new file."""
        for batch in orders.to_batches(max_chunksize=65_536):
            self._digest.update(batch.serialize())
        if len(self._customers):
            self._now.append(orders.filter(pc.is_in(orders["customer_id"], self._customers)))

    def name(self) -> str:
        """The id of the file's data set: that of the file before, or a new one, made of all orders."""
        if self._before.num_rows and not self._other_ids:
            with duckdb.connect() as connection:
                connection.register("before", self._before)
                connection.register(
                    "orders_now", pa.concat_tables(self._now) if self._now else self._before.slice(0, 0)
                )
                kept = connection.execute(
                    "SELECT count(*) FROM before WHERE "
                    # Corrected in one of the two, moved in time as CDNOW is, or come without an id.
                    "(customer_id, order_id, event_timestamp) IN "
                    "(SELECT (customer_id, order_id, event_timestamp) FROM orders_now) OR "
                    "(customer_id, order_id, amount) IN (SELECT (customer_id, order_id, amount) FROM orders_now) OR "
                    "(customer_id, event_timestamp, amount, items) IN "
                    "(SELECT (customer_id, event_timestamp, amount, items) FROM orders_now)"
                ).fetchall()[0][0]
            if kept >= _KEPT * self._before.num_rows:
                return self._id
        return self._digest.hexdigest()[:16]


def _orders_before(path: Path) -> tuple[str, pa.Table]:
    """Id of the data set of an orders file, empty for one of an earlier version; and distinct orders of it."""
    nothing = pa.table({"customer_id": pa.array([], pa.string())})
    try:
        rows = pq.read_metadata(path).num_rows
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.read_parquet(str(path)).create_view("rows")
            orders = connection.execute(
                "SELECT * FROM rows WHERE hash(customer_id) % ? = 0 QUALIFY row_number() OVER "
                "(PARTITION BY customer_id, order_id ORDER BY event_timestamp, amount, items) = 1",
                [max(1, rows // _ABOUT)],
            ).to_arrow_table()
        return _id_of(path), orders
    except (OSError, pa.ArrowInvalid, duckdb.Error):
        return "", nothing


def left_out(orders: Path, streamed_orders: Path) -> int:
    """How many batches of streamed orders are of another data set than the orders file, and are therefore not read."""
    batches = {file.parent: file for file in sorted(streamed_orders.glob("batch=*/part-*.parquet"))}
    return sum(_id_of(file) != _id_of(orders) for file in batches.values())


def _ids_of_content(file: Path) -> bool:
    described = json.loads((pq.read_metadata(file).metadata or {}).get(b"orders", b"{}"))
    return bool(described.get("ids_of_content"))


def _id_of(file: Path) -> str:
    found: bytes = (pq.read_metadata(file).metadata or {}).get(DATA_SET.encode(), b"")
    return found.decode()
