"""Data sources: the offline store's files, written by `make features`."""

import os
import re
from glob import escape
from pathlib import Path

from feast import FileSource
from feast.data_format import ParquetFormat
from feast.feature_logging import LoggingConfig
from feast.infra.offline_stores.file_source import FileLoggingDestination
from feast.infra.offline_stores.contrib.spark_offline_store.spark_source import SparkSource

_OFFLINE_STORE = Path(
    os.environ.get("OFFLINE_STORE_DIR") or Path(__file__).resolve().parents[1] / "var" / "offline_store"
)


_USES_SPARK = os.environ.get("OFFLINE_STORE_TYPE", "") == "spark"
"""Feast's Spark offline store reads only a `SparkSource`; see production/feature_store.yaml."""


def _source_of(feature_view: str) -> FileSource | SparkSource:
    # `current` is a link that `make features` moves in one step from one complete build to the next.
    # The path is a glob, so special characters in the folder's name are escaped.
    folder = re.sub(r"([][{}*?\\])", r"\\\1", str(_OFFLINE_STORE)) if _USES_SPARK else escape(str(_OFFLINE_STORE))
    rows = str(Path(folder) / "current" / feature_view / "*" / "*.parquet")
    fields = {
        "name": feature_view,
        "timestamp_field": "event_timestamp",
        # A late order changes values under a timestamp that was already written. Of two rows with the same customer and
        # event timestamp, the one created last counts.
        "created_timestamp_column": "created_timestamp",
    }
    if _USES_SPARK:
        return SparkSource(path=rows, file_format="parquet", **fields)
    return FileSource(path=rows, file_format=ParquetFormat(), **fields)  # `feast monitor` asks for the format


customer_lifetime_rows = _source_of("customer_lifetime")
customer_orders_windowed_rows = _source_of("customer_orders_windowed")


def logging_of(feature_service: str) -> LoggingConfig:
    """Destination of `make publish-log`; `feast monitor` reads the logged features there."""
    return LoggingConfig(destination=FileLoggingDestination(path=str(_OFFLINE_STORE / "feature_log" / feature_service)))
