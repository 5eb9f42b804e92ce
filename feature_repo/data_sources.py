"""Where the offline store keeps the rows that `make features` writes."""

import os
import re
from glob import escape
from pathlib import Path

from feast import FileSource
from feast.feature_logging import LoggingConfig
from feast.infra.offline_stores.file_source import FileLoggingDestination
from feast.infra.offline_stores.contrib.spark_offline_store.spark_source import SparkSource

_OFFLINE_STORE = Path(
    os.environ.get("OFFLINE_STORE_DIR") or Path(__file__).resolve().parents[1] / "var" / "offline_store"
)


_BY_SPARK = os.environ.get("OFFLINE_STORE_TYPE", "") == "spark"
"""Spark reads sources of its own kind only; production/feature_store.yaml."""


def _rows_of(feature_view: str) -> FileSource | SparkSource:
    # `current` is a link that `make features` moves in one step from one complete build to the next.
    # The path is a pattern: what stands for itself in the folder's name must not be taken for a part of it.
    folder = re.sub(r"([][{}*?\\])", r"\\\1", str(_OFFLINE_STORE)) if _BY_SPARK else escape(str(_OFFLINE_STORE))
    rows = str(Path(folder) / "current" / feature_view / "*" / "*.parquet")
    fields = {
        "name": feature_view,
        "timestamp_field": "event_timestamp",
        # Of two rows with the same customer and event timestamp the one created last counts: a late order changes
        # values under a timestamp that was written before.
        "created_timestamp_column": "created_timestamp",
    }
    return SparkSource(path=rows, file_format="parquet", **fields) if _BY_SPARK else FileSource(path=rows, **fields)


customer_lifetime_rows = _rows_of("customer_lifetime")
customer_orders_windowed_rows = _rows_of("customer_orders_windowed")


def log_of(feature_service: str) -> LoggingConfig:
    """Where `make publish-log` puts what was served, and `feast monitor` finds it."""
    return LoggingConfig(destination=FileLoggingDestination(path=str(_OFFLINE_STORE / "feature_log" / feature_service)))
