"""Reads the sources that feature views are filled from: how much is there, and the times of its rows.

Parquet files are read by DuckDB, PostgreSQL counts its own rows, and every other source is read through Feast.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow as pa
from feast import FeatureStore, FeatureView, FileSource
from feast.data_format import ParquetFormat

from scoring.errors import FeatureSourceError

_MOST_LETTERS = 300
"""Of what a store says."""
_EVER = datetime(1970, 1, 1, tzinfo=UTC), datetime(2262, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class SourceState:
    """How far a source is filled.

    newest: event time of its newest row, UTC; None without a row.
    rows: number of its rows.
    """

    newest: datetime | None
    rows: int


def state_of(store: FeatureStore, view: FeatureView) -> SourceState:
    """How far the source of a view is filled.

    Raises:
        FeatureSourceError: it cannot be read; names view and source.
    """
    source: Any = view.batch_source
    try:
        newest, rows = _counted(store, view, source)
    except Exception as error:  # of whatever reads the source
        raise _unreadable(view, error) from None
    return SourceState(newest.astimezone(UTC) if newest else None, int(rows))


def times_of(store: FeatureStore, view: FeatureView) -> pa.Table:
    """The view's join keys, named as in the view, and `since`, the event time in unix microseconds, of all rows.

    Raises:
        FeatureSourceError: as `state_of`.
    """
    source: Any = view.batch_source
    columns = {_column(source, key): key for key in view.join_keys}
    try:
        found = _rows(store, source, [*columns])
        at = found[source.timestamp_field].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
        return pa.table({**{key: found[column] for column, key in columns.items()}, "since": at})
    except Exception as error:  # of whatever reads the source
        raise _unreadable(view, error) from None


def parquet_path(source: Any) -> str | None:
    """Path or pattern of a source's Parquet files on this machine; None if it is something else."""
    if not isinstance(source, FileSource) or not isinstance(source.file_format or ParquetFormat(), ParquetFormat):
        return None
    path = str(source.path)
    return None if "://" in path else path


def _counted(store: FeatureStore, view: FeatureView, source: Any) -> Any:
    at = f'"{source.timestamp_field}"'
    if path := parquet_path(source):
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            return connection.execute(
                f"SELECT max({at})::TIMESTAMPTZ, count(*) FROM read_parquet(?, hive_partitioning = false)",  # noqa: S608
                [path],
            ).fetchone()
    if count := _COUNTS.get(type(source).__name__):
        return count(store, source, at)
    times = times_of(store, view)["since"]
    newest = max(times.to_pylist(), default=None)
    return (None if newest is None else datetime.fromtimestamp(newest / 1e6, UTC)), len(times)


def _counted_by_postgres(store: FeatureStore, source: Any, at: str) -> Any:
    from scoring.feast.postgres import connected

    with connected(store.config.offline_store) as connection:
        query = f"SELECT max({at})::timestamptz, count(*) FROM {source.get_table_query_string()} AS counted"  # noqa: S608
        return connection.execute(query.encode()).fetchone()


_COUNTS: dict[str, Callable[[FeatureStore, Any, str], Any]] = {"PostgreSQLSource": _counted_by_postgres}
"""Class of a source → how its store counts."""


def _rows(store: FeatureStore, source: Any, columns: list[str]) -> pa.Table:
    """Some columns and the event time of all rows."""
    if path := parquet_path(source):
        names = ", ".join(f'"{name}"' for name in [*columns, source.timestamp_field])
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            return connection.execute(
                f"SELECT {names} FROM read_parquet(?, hive_partitioning = false)",  # noqa: S608
                [path],
            ).to_arrow_table()
    return store.provider.offline_store.pull_all_from_table_or_query(
        config=store.config,
        data_source=source,
        join_key_columns=[],
        feature_name_columns=columns,
        timestamp_field=source.timestamp_field,
        start_date=_EVER[0],  # without both, Feast 0.67 writes a WHERE without a condition for PostgreSQL
        end_date=_EVER[1],
    ).to_arrow()


def _column(source: Any, name: str) -> str:
    """A field's column in the source."""
    return next((column for column, field in source.field_mapping.items() if field == name), name)


def _unreadable(view: FeatureView, error: Exception) -> FeatureSourceError:
    said = " ".join(str(error).split())[:_MOST_LETTERS] or type(error).__name__
    whose = f"feature view {view.name!r}: its source {view.batch_source.name!r}"
    return FeatureSourceError(f"{whose} cannot be read: {said}")
