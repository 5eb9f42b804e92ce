"""Reads the latest row of every entity in a feature view from the offline store's Parquet files.

Entities are read in ranges of keys, so memory does not grow with their number. The files are sorted by key, so a
range reads only the row groups that it needs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from glob import escape, glob
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.errors import JobError

if TYPE_CHECKING:
    from feast import FeatureView

_SAMPLES_PER_RANGE = 256
"""Sampled keys per range when borders are chosen; range sizes are then right within a few percent."""

_MEMORY = "400MB"


def _is_whole(found: pa.DataType) -> bool:
    """True for types of whole numbers; DuckDB's integer sums are decimals without a fraction."""
    return bool(pa.types.is_integer(found) or (pa.types.is_decimal(found) and found.scale == 0))


_TYPES: dict[str, tuple[Callable[[pa.DataType], bool], str]] = {
    "float64": (pa.types.is_float64, "DOUBLE"),
    "float32": (pa.types.is_float32, "FLOAT"),
    "int64": (_is_whole, "BIGINT"),
    "int32": (_is_whole, "INTEGER"),
    "bool": (pa.types.is_boolean, "BOOLEAN"),
    "string": (lambda found: pa.types.is_string(found) or pa.types.is_large_string(found), "VARCHAR"),
    "unixtimestamp": (pa.types.is_timestamp, "TIMESTAMPTZ"),
}
"""Feast's type → check of the Parquet type, and the DuckDB type it is read as. Other types are read unchanged."""


@dataclass(frozen=True)
class KeyRange:
    """Keys in [low, high), in the order of their UTF-8 bytes; None is an open end."""

    low: str | None = None
    high: str | None = None


@dataclass(frozen=True)
class ViewSource:
    """Files and columns of a feature view.

    path: a glob of Parquet files.
    columns: the features, in the view's order.
    dtypes: Feast's type of each, lower case.
    only: these files; empty: all files that match `path` at the time.
    """

    name: str
    path: str
    join_key: str
    timestamp_field: str
    created_timestamp_field: str | None
    columns: tuple[str, ...]
    dtypes: tuple[str, ...]
    only: tuple[str, ...] = ()

    @classmethod
    def of(cls, feature_view: "FeatureView") -> "ViewSource":
        """Make it from a view with one join key over a FileSource of Parquet."""
        source = feature_view.batch_source
        (join_key,) = feature_view.join_keys
        return cls(
            name=feature_view.name,
            path=source.path,
            join_key=join_key,
            timestamp_field=source.timestamp_field,
            created_timestamp_field=source.created_timestamp_column or None,
            columns=tuple(field.name for field in feature_view.features),
            dtypes=tuple(str(field.dtype).lower() for field in feature_view.features),
        )

    def files(self) -> list[str]:
        """List all files, sorted.

        Raises:
            JobError: there is none.
        """
        if self.only:
            return list(self.only)
        found = sorted(glob(self.path))  # noqa: PTH207  # an absolute pattern, which Path.glob does not take
        if not found:
            raise JobError(f"{self.path}: no rows of the view {self.name}; run `make features` first")
        return found


def connect() -> duckdb.DuckDBPyConnection:
    """Open a DuckDB in memory: times in UTC, memory bounded."""
    connection = duckdb.connect(config={"memory_limit": _MEMORY, "threads": 2})
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def check_columns(source: ViewSource) -> None:
    """Check every file's schema against the feature view.

    Raises:
        JobError: a file is not Parquet, or a column is missing or of another type; names both.
    """
    wanted: dict[str, tuple[str, Callable[[pa.DataType], bool]]] = {
        source.join_key: ("string", _TYPES["string"][0]),
        source.timestamp_field: ("a timestamp", pa.types.is_timestamp),
    }
    if source.created_timestamp_field:
        wanted[source.created_timestamp_field] = ("a timestamp", pa.types.is_timestamp)
    for column, dtype in zip(source.columns, source.dtypes, strict=True):
        wanted[column] = (dtype, _TYPES[dtype][0] if dtype in _TYPES else lambda _: True)
    for file in source.files():
        try:
            schema = pq.read_schema(file)
        except (pa.ArrowInvalid, OSError) as error:
            raise JobError(f"{file}: is not readable as Parquet ({_first_line(error)})") from None
        for column, (dtype, fits) in wanted.items():
            if column not in schema.names:
                raise JobError(f"{file}: has no column {column!r}, which the view {source.name} declares")
            if not fits(found := schema.field(column).type):
                raise JobError(f"{file}: column {column!r} is {found}; the view {source.name} declares {dtype}")


def key_ranges(
    connection: duckdb.DuckDBPyConnection, sources: Sequence[ViewSource], rows_per_chunk: int
) -> list[KeyRange]:
    """Ranges of about `rows_per_chunk` keys each; together they cover every possible key.

    The same files give the same ranges. Reads the keys of all files once, in bounded memory.

    Raises:
        JobError: files cannot be read.
    """
    every = max(1, rows_per_chunk // _SAMPLES_PER_RANGE)
    keys = " UNION ALL ".join(
        f"SELECT {quoted(source.join_key)} AS k FROM {rows_of(source.files())}"  # noqa: S608  # names are quoted
        for source in sources
    )
    query = f"SELECT DISTINCT k FROM ({keys}) WHERE hash(k) % {every} = 0 ORDER BY k"  # noqa: S608
    sampled = run_query(connection, sources, query, [])["k"].to_pylist()
    step = rows_per_chunk // every
    return [KeyRange(low, high) for low, high in pairwise([None, *sampled[step::step], None])]


def changed_keys(
    connection: duckdb.DuckDBPyConnection, changed: ViewSource, until: datetime, key_range: KeyRange
) -> pa.Array:
    """Keys in the range that have a row in these files with an event time ≤ `until`.

    Raises:
        JobError: files cannot be read.
    """
    conditions, parameters = _key_conditions(changed, key_range)
    query = f"""
        SELECT DISTINCT {quoted(changed.join_key)} AS k FROM {rows_of(changed.files())}
        WHERE {quoted(changed.timestamp_field)} <= ? AND {" AND ".join(conditions)}
    """  # noqa: S608  # names are quoted, values are parameters
    return run_query(connection, [changed], query, [until, *parameters])["k"].combine_chunks()


def latest_rows(
    connection: duckdb.DuckDBPyConnection,
    source: ViewSource,
    at: datetime,
    key_range: KeyRange | None = None,
    keys: pa.Array | None = None,
) -> pa.Table:
    """One row per entity: the one with the greatest event time ≤ `at`; of several, the one created last.

    Rows without a key or an event time are ignored.

    Args:
        at: UTC.
        keys: only these; None is all.

    Returns:
        join key (string), event time (timestamp us UTC), the view's columns as it declares them; sorted by key.

    Raises:
        JobError: files cannot be read.
    """
    key, event_time = quoted(source.join_key), quoted(source.timestamp_field)
    columns = [quoted(column) for column in source.columns]
    created = quoted(source.created_timestamp_field) if source.created_timestamp_field else "NULL"
    conditions, parameters = _key_conditions(source, key_range)
    if keys is not None:
        connection.register("wanted_keys", pa.table({"k": keys}))
        conditions.append(f"{key} IN (SELECT k FROM wanted_keys)")  # noqa: S608
    # In two steps: the first reads two columns only, the second skips most files as too old for the whole range.
    # Rows equal in both times are ordered by a hash of their values, so every run takes the same one. Ordered by the
    # values themselves, DuckDB would give 0.0 for -0.0.
    query = f"""
        WITH seen AS NOT MATERIALIZED (
            SELECT * FROM {rows_of(source.files())} WHERE {event_time} <= ? AND {" AND ".join(conditions)}
        ), newest AS (
            SELECT {key} AS k, max({event_time}) AS t FROM seen GROUP BY {key}
        )
        SELECT {key}, {event_time}::TIMESTAMPTZ AS {event_time}, {declared(source)}
        FROM seen JOIN newest ON {key} = k AND {event_time} = t
        QUALIFY row_number() OVER (
            PARTITION BY {key} ORDER BY {created} DESC NULLS LAST, hash({", ".join(columns)})
        ) = 1
        ORDER BY {key}
    """  # noqa: S608  # names are quoted, values are parameters
    return run_query(connection, [source], query, [at, *parameters])


def newest_time(source: ViewSource, rows: pa.Table) -> datetime | None:
    """The greatest event time in a table; None without rows."""
    newest: datetime | None = pc.max(rows[source.timestamp_field]).as_py()
    return newest


def _key_conditions(source: ViewSource, key_range: KeyRange | None) -> tuple[list[str], list[Any]]:
    key = quoted(source.join_key)
    conditions, parameters = [f"{key} IS NOT NULL"], []
    if key_range is not None and key_range.low is not None:
        conditions.append(f"{key} >= ?")
        parameters.append(key_range.low)
    if key_range is not None and key_range.high is not None:
        conditions.append(f"{key} < ?")
        parameters.append(key_range.high)
    return conditions, parameters


def declared(source: ViewSource) -> str:
    """The view's columns for a SELECT, each cast to the type that the view declares."""
    columns = [quoted(column) for column in source.columns]
    return ", ".join(
        f"{column}::{_TYPES[dtype][1]} AS {column}" if dtype in _TYPES else column
        for column, dtype in zip(columns, source.dtypes, strict=True)
    )


def run_query(
    connection: duckdb.DuckDBPyConnection, sources: Sequence[ViewSource], query: str, parameters: list[Any]
) -> pa.Table:
    """Run a query over these views' files.

    Raises:
        JobError: files cannot be read.
    """
    try:
        return connection.execute(query, parameters).to_arrow_table()
    except duckdb.Error as error:
        views = ", ".join(source.name for source in sources)
        raise JobError(f"the rows of {views} cannot be read: {_first_line(error)}") from None


def rows_of(files: Sequence[str], file_column: str | None = None) -> str:
    """SQL for the rows of Parquet files, for a FROM; optionally with a column that holds each row's file."""
    names = ", ".join(map(read_path, files))
    named = f", filename = '{file_column}'" if file_column else ""
    return f"read_parquet([{names}], hive_partitioning = false{named})"


def read_path(file: str) -> str:
    """The path of one file as an SQL string, escaped because DuckDB takes `[1]`, `*` and `?` as a pattern."""
    return text(escape(file))


def text(value: str) -> str:
    """A value as an SQL string."""
    return "'" + value.replace("'", "''") + "'"


def quoted(name: str) -> str:
    """A column's name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
