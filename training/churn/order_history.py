"""Customers at each cut-off with a simulated request time and their label, by SQL over the orders file."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pandas as pd

from artefacts.cutoffs import CutoffSettings
from training.data.request_times import time_of_day_sql

ACTIVE_DAYS = 180
"""Customers with an order in this many days are active."""
CHURNED = "NOT bool_or(labelled)"
"""SQL: no order in the label window."""
SAME_DAY = "bool_or(ordered_us < request_us AND ordered_us >= cutoff_us)"
"""SQL: an order between the cut-off and the request time, which windowed features do not include."""

_HOUR_US = 3_600_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class OrderHistory:
    """The distinct orders of an orders file.

    Of several rows with one customer and order_id, the earliest counts (docs/features.md).
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, orders: Path) -> None:
        self._connection = connection
        connection.execute("SET TimeZone = 'UTC'")
        connection.read_parquet(str(orders)).create_view("rows")
        connection.execute(
            "CREATE TEMP TABLE ordered AS SELECT customer_id, epoch_us(min(event_timestamp)) AS ordered_us, "
            "arg_min(amount, (event_timestamp, amount)) AS amount FROM rows GROUP BY customer_id, order_id"
        )

    @property
    def first_order(self) -> datetime | None:
        """Time of the first order, UTC; None without orders."""
        ((found,),) = self._connection.execute("SELECT min(ordered_us) FROM ordered").fetchall()
        return None if found is None else _EPOCH + timedelta(microseconds=found)

    def customers_at(self, cutoff: datetime, splits: CutoffSettings, seed: int, **columns: str) -> pd.DataFrame:
        """Every customer with an order before their request time, which is drawn from the hours after the cut-off.

        The request time depends only on seed, customer and cut-off.

        Args:
            columns: further columns: SQL aggregates over a customer's orders. They may use `ordered_us`, `amount`,
                `request_us`, `cutoff_us`, and `labelled`: the order is in the label window that begins at the request.

        Returns:
            customer_id, sorted; event_timestamp, the request time (datetime64[us, UTC]); and the columns.
        """
        query = f"{_customers_sql(cutoff, splits, seed, columns)} ORDER BY customer_id"
        customers: pd.DataFrame = self._connection.execute(query).df()
        request_times = pd.to_datetime(customers.pop("request_us"), unit="us", utc=True).astype("datetime64[us, UTC]")
        customers.insert(1, "event_timestamp", request_times)
        return customers

    def class_counts(
        self, cutoff: datetime, splits: CutoffSettings, seed: int, active_days: float
    ) -> tuple[int, int, int, int]:
        """Count `customers_at`: (churned, stayed, active and churned, active and stayed)."""
        active_us = round(active_days * 24 * _HOUR_US)
        columns = {
            "churned": CHURNED,
            "active": f"bool_or(ordered_us < request_us AND ordered_us >= request_us - {active_us})",
        }
        query = (
            "SELECT count(*) FILTER (churned), count(*) FILTER (NOT churned), count(*) FILTER (active AND churned), "  # noqa: S608  # as below
            f"count(*) FILTER (active AND NOT churned) FROM ({_customers_sql(cutoff, splits, seed, columns)})"
        )
        ((churned, stayed, active_churned, active_stayed),) = self._connection.execute(query).fetchall()
        return churned, stayed, active_churned, active_stayed


@contextmanager
def open_order_history(orders: Path) -> Iterator[OrderHistory]:
    """The history in an orders file, open during the block."""
    with duckdb.connect() as connection:
        yield OrderHistory(connection, orders)


def _customers_sql(cutoff: datetime, splits: CutoffSettings, seed: int, columns: Mapping[str, str]) -> str:
    cutoff_us = round(cutoff.timestamp()) * 1_000_000
    label_us = splits.label_days * 24 * _HOUR_US
    request_us = f"{cutoff_us} + {time_of_day_sql(splits.hours, f'{seed}|{cutoff_us}|', 'customer_id')}"
    further = "".join(f", {aggregate} AS {name}" for name, aggregate in columns.items())
    return (
        f"WITH requests AS (SELECT customer_id, {request_us} AS request_us, min(ordered_us) AS first_us FROM ordered "  # noqa: S608  # numbers, and SQL of use cases
        "GROUP BY customer_id), joined AS ("
        f"SELECT *, {cutoff_us} AS cutoff_us, ordered_us >= request_us AND "
        f"ordered_us < request_us + {label_us} AS labelled "
        "FROM ordered JOIN requests USING (customer_id) WHERE first_us < request_us) "
        f"SELECT customer_id, any_value(request_us) AS request_us{further} FROM joined GROUP BY customer_id"
    )
