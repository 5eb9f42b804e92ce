"""Addresses of the orders: a file that is delivered, and a folder that the stream fills."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from artefacts.addresses import PROJECT_ROOT


class OrderAddresses(BaseModel):
    """Addresses from the environment; by default below the project's `var/` folder.

    The first word in backticks of each docstring is the environment variable: docs/settings.md is made of them.
    """

    model_config = ConfigDict(frozen=True)

    orders: Path
    """`ORDERS_PATH`, the Parquet file of orders."""

    streamed_orders: Path
    """`STREAMED_ORDERS_DIR`, folder to which the stream appends orders, as `batch=<n>/part-*.parquet` with the same
    columns. Features are built from both together (docs/features.md).
    """

    @classmethod
    def of(cls, environ: Mapping[str, str], root: Path = PROJECT_ROOT) -> "OrderAddresses":
        """Read the addresses from `environ`; the others default to paths below `root`/var."""
        data = root / "var" / "data"
        return cls(
            orders=Path(environ.get("ORDERS_PATH") or data / "orders.parquet"),
            streamed_orders=Path(environ.get("STREAMED_ORDERS_DIR") or data / "streamed_orders"),
        )
