"""Falls back to Feast's own materialization for views, offline stores and stored formats that ours does not support."""

import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from jobs.errors import JobError
from jobs.materialization.locks import FAILURES
from jobs.materialization.redis_store.encoding import OtherFormatError, StoredFormat
from jobs.materialization.redis_store.redis_writer import MOST_FIELDS
from jobs.offline_store.foreign_sources import first_line

if TYPE_CHECKING:
    from feast import FeatureStore, FeatureView

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


def why_not_here(store: "FeatureStore", view: "FeatureView") -> str | None:
    """The reason why only Feast's own run can materialize a view; None if there is none."""
    from scoring.feast.redis_layout import KEY_TYPES

    config, online = store.config, store.config.online_store
    # A registered view holds the types of its join keys as columns.
    keys = [str(column.dtype).lower() for column in getattr(view, "entity_columns", ())]
    reasons = (
        (getattr(config.offline_store, "type", "") not in ("duckdb", "file", "dask"), "the offline store is not files"),
        (engine_of(store) != "local", f"the compute engine is {engine_of(store)}"),
        ((no_files := why_no_files(view)) is not None, no_files),
        (not keys, "it has no join key"),
        (bool(other := set(keys) - KEY_TYPES.keys()), f"it has a join key of type {', '.join(sorted(other))}"),
        (bool(online.key_ttl_seconds), "key_ttl_seconds is set"),
        (config.entity_key_serialization_version != 3, "entity keys are not serialised in version 3"),
        (config.registry.enable_online_feature_view_versioning, "feature views are versioned online"),
        (len(view.features) > MOST_FIELDS, f"it has more than {MOST_FIELDS:,} features"),
    )
    for applies, reason in reasons:
        if applies:
            return reason
    try:
        StoredFormat.of(store, view)
    except OtherFormatError as error:
        return str(error)
    return None


def is_in_files(view: Any) -> bool:
    """True for a view whose source is files of any kind."""
    from feast import FileSource

    return isinstance(view.batch_source, FileSource)


def why_no_files(view: Any) -> str | None:
    """The reason why a view's rows are not in Parquet files as it declares them; None if they are."""
    from feast import FeatureView, FileSource
    from feast.data_format import ParquetFormat

    source = view.batch_source if isinstance(view, FeatureView) else None
    file = source if isinstance(source, FileSource) else None
    reasons = (
        (type(view) is not FeatureView, "it is not a plain feature view"),
        (file is None, "its rows are in no Parquet files"),
        (file is not None and not isinstance(file.file_format, ParquetFormat | None), "its files are not Parquet"),
        (file is not None and "://" in file.path, "its files are not on this machine"),
        (file is not None and bool(file.field_mapping), "its source renames columns"),
        (bool(getattr(view, "feature_transformation", None)), "it transforms its source"),
    )
    return next((reason for applies, reason in reasons if applies), None)


def materialize_by_feast(store: "FeatureStore", view: "FeatureView", until: datetime) -> None:
    """Run Feast's own materialization of one view, from 1970 on, because late events change rows of any age.

    Raises:
        JobError: it failed; quotes its error.
        redis.RedisError: Redis failed.
    """
    if hasattr(store.config.online_store, "skip_dedup"):
        store.config.online_store.skip_dedup = True  # Feast's option to overwrite stored rows
    if engine_of(store) == "spark.engine":
        _start_spark(store.config.batch_engine.spark_conf or {})
    try:
        store.materialize(start_date=BEGINNING, end_date=until, feature_views=[view.name])
    except FAILURES:
        raise
    except Exception as error:
        raise JobError(f"Feast's own run failed: {first_line(error)}") from None


def _start_spark(properties: dict[str, str]) -> None:
    """Start the session that Feast then uses: Feast's own code ignores the properties of `batch_engine`."""
    from pyspark.sql import SparkSession

    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # the tasks import feast
    builder = SparkSession.builder.appName("materialize")
    for name, value in properties.items():
        builder = builder.config(name, value)
    builder.getOrCreate()


def engine_of(store: "FeatureStore") -> str:
    """The type of Feast's compute engine."""
    engine = store.config.batch_engine
    return str(engine if isinstance(engine, str) else getattr(engine, "type", engine))
