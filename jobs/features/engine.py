"""Interface of the engines that compute features: DuckDB (one machine) and Spark (larger data)."""

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol

import ibis.expr.types as ir
import pyarrow as pa

Period = Literal["month", "day"]
ISO_DATE_LENGTH: dict[Period, int] = {"month": len("2024-06"), "day": len("2024-06-10")}
"""Length of the ISO date that names a row's partition."""

Features = Callable[[ir.Table], ir.Table]
"""Orders → feature rows with `event_unix_us`."""

TIMESTAMP = pa.timestamp("us", tz="UTC")


def stored_schema(rows: ir.Table) -> pa.Schema:
    """Schema of feature rows in the offline store, from an expression with `event_unix_us`."""
    stored = rows.drop("event_unix_us").schema().to_pyarrow()
    return stored.append(pa.field("event_timestamp", TIMESTAMP)).append(pa.field("created_timestamp", TIMESTAMP))


class Engine(Protocol):
    """Runs Ibis expressions over orders without holding all of them in memory.

    identity: name and version. A build by another identity is not continued, because rounding and hashes may differ.
    """

    identity: str

    def orders(self, files: Sequence[Path]) -> ir.Table:
        """All rows of the orders file (the first of `files`) and of the stream's files.

        Returns:
            `training.churn.source.orders_file.ORDER_COLUMNS`; `streamed` (int64), 0 for the orders file, else 1; and
            `order_hash` (int64), one hash over all `ORDER_COLUMNS`.
        """

    def keep(self, name: str, rows: ir.Table) -> ir.Table:
        """Compute rows once, store them in the scratch folder, and return them as a table."""

    def fetch(self, rows: ir.Table) -> list[dict[str, Any]]:
        """Compute rows into memory; they must be few."""

    def write(
        self, features: Features, orders: ir.Table, folder: Path, period: Period, created: datetime
    ) -> dict[str, int]:
        """Write feature rows as `stored_schema` to folder/<period>/part-*.parquet, sorted by customer and time.

        Args:
            features: treats customers independently, so it may be called for some of them at a time.
            period: of the event timestamp; one partition for each.
            created: the rows' `created_timestamp`.

        Returns:
            Rows per partition.
        """
