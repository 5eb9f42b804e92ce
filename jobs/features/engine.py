"""What computes features: DuckDB on one machine, Spark beyond it, behind one small interface."""

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol

import ibis.expr.types as ir
import pyarrow as pa

Period = Literal["month", "day"]
ISO_DATE_LENGTH: dict[Period, int] = {"month": len("2024-06"), "day": len("2024-06-10")}
"""How much of a row's date names its partition."""

Features = Callable[[ir.Table], ir.Table]
"""Orders → feature rows with `event_unix_us`."""

TIMESTAMP = pa.timestamp("us", tz="UTC")


def stored_schema(rows: ir.Table) -> pa.Schema:
    """The columns of feature rows in the offline store, for an expression with `event_unix_us`."""
    stored = rows.drop("event_unix_us").schema().to_pyarrow()
    return stored.append(pa.field("event_timestamp", TIMESTAMP)).append(pa.field("created_timestamp", TIMESTAMP))


class Engine(Protocol):
    """Runs Ibis expressions over orders, never holding all of them in memory.

    identity: name and version; another one may round or hash differently, so it never continues a build.
    """

    identity: str

    def orders(self, files: Sequence[Path]) -> ir.Table:
        """All rows of the orders file, which comes first, and of the stream's.

        Returns:
            `jobs.offline_store.orders_file.ORDER_COLUMNS`; `streamed` (int64), 0 of the orders file, else 1; and an
            `order_hash` (int64) of `ORDER_COLUMNS` all together.
        """

    def keep(self, name: str, rows: ir.Table) -> ir.Table:
        """The same rows, computed once and laid down in the scratch folder."""

    def fetch(self, rows: ir.Table) -> list[dict[str, Any]]:
        """A result small enough for memory."""

    def write(
        self, features: Features, orders: ir.Table, folder: Path, period: Period, created: datetime
    ) -> dict[str, int]:
        """Write feature rows as `stored_schema` to folder/<period>/part-*.parquet, sorted by customer and time.

        Args:
            features: takes each customer by itself, so it may be asked for some of them at a time.
            period: of the event timestamp; each is a partition.
            created: the rows' `created_timestamp`.

        Returns:
            Rows per partition.
        """
