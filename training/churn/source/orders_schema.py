"""Files of orders, written by training and the stream, read by the jobs: columns, limits, and descriptions in them."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

ORDERS_SCHEMA = pa.schema(
    [
        ("order_id", pa.string()),
        ("customer_id", pa.string()),
        ("event_timestamp", pa.timestamp("us", tz="UTC")),
        ("amount", pa.float64()),
        ("items", pa.int64()),
    ]
)
"""Columns of every file of orders."""

EARLIEST = datetime(1970, 1, 2, tzinfo=UTC)
"""No order is older."""
MAX_ID_LENGTH = 256
"""Characters of an order id or a customer id, as in the HTTP API: a longer id could never be asked for."""
MAX_AMOUNT = 1e11
"""Largest amount; sums are exact up to it, see feature_repo/transformations.py."""
MAX_ITEMS = 2**31 - 1

DESCRIPTION = "orders"
"""Key of the description, as JSON, in the metadata of the orders file's schema."""
DATA_SET = "data_set"
"""Key of the data set's id in the metadata of a Parquet file of orders, of the stream's files, too."""


def description_in(metadata: Mapping[bytes, bytes] | None) -> dict[str, Any]:
    """What the orders file says of itself.

    Its members: `source`, `shift_days`, `observed_until` (ISO time), and those that `training.churn.orders.orders_file`
    was given besides.

    Args:
        metadata: of the file's schema.

    Raises:
        KeyError: it says nothing.
        ValueError: it is not JSON.
    """
    described: dict[str, Any] = json.loads((metadata or {})[DESCRIPTION.encode()])
    return described


def data_set_in(metadata: Mapping[bytes, bytes] | None) -> str:
    """The id of the data set; empty for a file of an earlier version.

    Args:
        metadata: of the Parquet file.
    """
    return (metadata or {}).get(DATA_SET.encode(), b"").decode()
