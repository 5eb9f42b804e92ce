"""Labels of rows that were asked about: what the orders of the days from a moment on tell."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from glob import escape
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from training.churn.order_history import CHURNED
from training.churn.source.addresses import OrderAddresses
from training.churn.source.orders_file import find_orders

_MEMORY = "400MB"


def order_outcomes(aggregate: str) -> Callable[[pd.DataFrame, Mapping[str, str], int], pd.DataFrame]:
    """Make the `outcomes` of a use case on orders, from the aggregate of its `order_labels`."""

    def outcomes(entities: pd.DataFrame, environ: Mapping[str, str], days: int) -> pd.DataFrame:
        return order_outcomes_of(entities, environ, days, aggregate)

    return outcomes


def order_outcomes_of(entities: pd.DataFrame, environ: Mapping[str, str], days: int, aggregate: str) -> pd.DataFrame:
    """Label customers at moments of theirs by their orders in [event_timestamp, event_timestamp + days).

    Orders count as they do for features: if rows share customer and order id, the orders file comes before streamed
    orders, and the earliest row counts.

    Args:
        entities: customer_id and event_timestamp (UTC), n rows.
        environ: where the orders are, see `OrderAddresses`.
        aggregate: SQL over the `amount` of orders that are `labelled`: those in the days. A customer without one has
            a single row that is not.

    Returns:
        The same rows with `label` (of pandas' type that can be null), null where the orders are not yet known until the
        days are over.

    Raises:
        SourceError: the orders cannot be used.
    """
    orders = find_orders(OrderAddresses.of(environ))
    with tempfile.TemporaryDirectory(prefix="labels-") as scratch, _connect(scratch) as connection:
        asked = entities[["customer_id", "event_timestamp"]].assign(place=np.arange(len(entities)))
        connection.register("asked", asked.astype({"customer_id": "string"}))
        connection.execute(
            "CREATE TABLE bought AS SELECT customer_id, counted.at AS bought_at, counted.amount AS amount FROM ("  # noqa: S608  # text of our own
            "SELECT customer_id, min({'streamed': streamed, 'at': event_timestamp, 'amount': amount}) AS counted "
            f"FROM ({_rows(orders.files)}) SEMI JOIN asked USING (customer_id) GROUP BY customer_id, order_id)",
            [[escape(str(file)) for file in files] for files in (orders.files[:1], orders.files[1:]) if files],
        )
        found = connection.execute(
            "WITH joined AS (SELECT place, event_timestamp + to_hours(24 * $days) <= $until AS due, amount, "  # noqa: S608  # SQL of use cases
            "bought_at IS NOT NULL AS labelled FROM asked LEFT JOIN bought ON asked.customer_id = bought.customer_id "
            "AND bought_at >= event_timestamp AND bought_at < event_timestamp + to_hours(24 * $days)) "
            f"SELECT CASE WHEN any_value(due) THEN {aggregate} END AS label FROM joined GROUP BY place ORDER BY place",
            {"days": days, "until": orders.observed_until},
        ).to_arrow_table()
    return entities.assign(label=pd.array(found["label"].to_pylist(), dtype=_type_of(found["label"].type)))


labels = order_outcomes(CHURNED)
"""Labels of churn: true for a customer without an order in the days."""


def _type_of(column: pa.DataType) -> Any:
    if pa.types.is_boolean(column):
        return "boolean"
    return "string" if pa.types.is_string(column) else "Float64"


def _connect(scratch: str) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config={"memory_limit": _MEMORY, "temp_directory": scratch})
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def _rows(files: Sequence[Path]) -> str:
    """SQL for the rows of all files; the first is the orders file, the others are the stream's."""
    columns = "customer_id, order_id, event_timestamp, amount"
    parts = [
        f"SELECT {columns}, {streamed} AS streamed FROM read_parquet(?, hive_partitioning = false)"  # noqa: S608
        for streamed in (0, 1)
    ]
    return " UNION ALL ".join(parts if files[1:] else parts[:1])
