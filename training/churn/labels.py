"""Labels of churn: who orders nothing in the days from a moment on."""

import tempfile
from collections.abc import Mapping, Sequence
from glob import escape
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from training.churn.source.addresses import OrderAddresses
from training.churn.source.orders_file import find_orders

_MEMORY = "400MB"


def labels(entities: pd.DataFrame, environ: Mapping[str, str], days: int) -> pd.DataFrame:
    """Label customers as churned or not at moments of theirs.

    Orders count as they do for features: if rows share customer and order id, the orders file comes before streamed
    orders, and the earliest row counts.

    Args:
        entities: customer_id and event_timestamp (UTC), n rows.
        environ: where the orders are, see `OrderAddresses`.
        days: a customer without an order in [event_timestamp, event_timestamp + days) has churned.

    Returns:
        The same rows with `label` (boolean), null where the orders are not yet known until the days are over.

    Raises:
        SourceError: the orders cannot be used.
    """
    orders = find_orders(OrderAddresses.of(environ))
    with tempfile.TemporaryDirectory(prefix="labels-") as scratch, _connect(scratch) as connection:
        asked = entities[["customer_id", "event_timestamp"]].assign(place=np.arange(len(entities)))
        connection.register("asked", asked.astype({"customer_id": "string"}))
        connection.execute(
            "CREATE TABLE bought AS SELECT customer_id, "  # noqa: S608  # text of our own
            "struct_extract(min({'streamed': streamed, 'at': event_timestamp}), 'at') AS bought_at "
            f"FROM ({_rows(orders.files)}) SEMI JOIN asked USING (customer_id) GROUP BY customer_id, order_id",
            [[escape(str(file)) for file in files] for files in (orders.files[:1], orders.files[1:]) if files],
        )
        found = connection.execute(
            "SELECT CASE WHEN event_timestamp + to_hours(24 * $days) <= $until "
            "THEN coalesce(bought_at >= event_timestamp + to_hours(24 * $days), true) END AS label "
            "FROM asked ASOF LEFT JOIN bought "
            "ON asked.customer_id = bought.customer_id AND asked.event_timestamp <= bought.bought_at ORDER BY place",
            {"days": days, "until": orders.observed_until},
        ).to_arrow_table()
    return entities.assign(label=pd.array(found["label"].to_pylist(), dtype="boolean"))


def _connect(scratch: str) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config={"memory_limit": _MEMORY, "temp_directory": scratch})
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def _rows(files: Sequence[Path]) -> str:
    """SQL for the rows of all files; the first is the orders file, the others are the stream's."""
    columns = "customer_id, order_id, event_timestamp"
    parts = [
        f"SELECT {columns}, {streamed} AS streamed FROM read_parquet(?, hive_partitioning = false)"  # noqa: S608
        for streamed in (0, 1)
    ]
    return " UNION ALL ".join(parts if files[1:] else parts[:1])
