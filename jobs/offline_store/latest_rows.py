"""The latest row of every customer in a feature view, read from the Parquet files of the offline store.

Customers are read in ranges of their ids, so that a job's memory does not grow with the number of customers: the files
are sorted by customer, and a range opens only the row groups that it needs.
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
"""Customers that stand for a range while its borders are chosen: ranges come out within a few percent of their size."""

_MEMORY = "400MB"


def _whole(found: pa.DataType) -> bool:
    """True for what holds whole numbers; DuckDB's sums of integers are decimals without a fraction."""
    return bool(pa.types.is_integer(found) or (pa.types.is_decimal(found) and found.scale == 0))


_TYPES: dict[str, tuple[Callable[[pa.DataType], bool], str]] = {
    "float64": (pa.types.is_float64, "DOUBLE"),
    "float32": (pa.types.is_float32, "FLOAT"),
    "int64": (_whole, "BIGINT"),
    "int32": (_whole, "INTEGER"),
    "bool": (pa.types.is_boolean, "BOOLEAN"),
    "string": (lambda found: pa.types.is_string(found) or pa.types.is_large_string(found), "VARCHAR"),
    "unixtimestamp": (pa.types.is_timestamp, "TIMESTAMPTZ"),
}
"""Feast's type → what Parquet may hold, and what DuckDB reads it as. What is not listed is read as it is."""


@dataclass(frozen=True)
class KeyRange:
    """Customers from `low` on and before `high`, in the order of their ids' UTF-8 bytes; None is an open end."""

    low: str | None = None
    high: str | None = None


@dataclass(frozen=True)
class ViewSource:
    """Where the rows of a feature view lie, and as what.

    path: a glob of Parquet files.
    columns: the features, in the view's order.
    dtypes: the type of each in Feast's words, lower case.
    only: these files; without them, all that `path` finds at the time.
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
        """Read it from a view with one join key over a FileSource of Parquet."""
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
        """Every file there is now, sorted.

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
    """A DuckDB of this job's own: times in UTC, memory bounded."""
    connection = duckdb.connect(config={"memory_limit": _MEMORY, "threads": 2})
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def check_columns(source: ViewSource) -> None:
    """Hold every file against what the feature view declares.

    Raises:
        JobError: a file is not Parquet, or a column is missing or of another type; both are named.
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


def customer_ranges(
    connection: duckdb.DuckDBPyConnection, sources: Sequence[ViewSource], rows_per_chunk: int
) -> list[KeyRange]:
    """Ranges of about `rows_per_chunk` customers each that together cover every id there is or may come.

    The same files give the same ranges. Reads the ids of all files once, in bounded memory.

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


def changed_customers(
    connection: duckdb.DuckDBPyConnection, changed: ViewSource, until: datetime, key_range: KeyRange
) -> pa.Array:
    """Ids in the range that have a row in these files with an event time ≤ `until`.

    Raises:
        JobError: files cannot be read.
    """
    conditions, parameters = _within(changed, key_range)
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
    customers: pa.Array | None = None,
) -> pa.Table:
    """One row per customer: the one with the greatest event time ≤ `at` and, of several, the one created last.

    Rows without an id or an event time are nobody's.

    Args:
        at: UTC.
        customers: ids; of these only.

    Returns:
        join key (string), event time (timestamp us UTC), the view's columns as it declares them; sorted by customer.

    Raises:
        JobError: files cannot be read.
    """
    key, event_time = quoted(source.join_key), quoted(source.timestamp_field)
    columns = [quoted(column) for column in source.columns]
    created = quoted(source.created_timestamp_field) if source.created_timestamp_field else "NULL"
    conditions, parameters = _within(source, key_range)
    if customers is not None:
        connection.register("wanted_customers", pa.table({"k": customers}))
        conditions.append(f"{key} IN (SELECT k FROM wanted_customers)")  # noqa: S608
    # In two steps, because the first reads two columns only; the second finds most files too old for all of the range.
    # What is left equal in both times is ordered by a hash of its values, so that every run takes the same row; ordered
    # by the values themselves, DuckDB would give 0.0 for -0.0.
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
    """The greatest event time among rows; None without rows."""
    newest: datetime | None = pc.max(rows[source.timestamp_field]).as_py()
    return newest


def _within(source: ViewSource, key_range: KeyRange | None) -> tuple[list[str], list[Any]]:
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
    """The view's columns for a SELECT, each read as the type that the view declares."""
    columns = [quoted(column) for column in source.columns]
    return ", ".join(
        f"{column}::{_TYPES[dtype][1]} AS {column}" if dtype in _TYPES else column
        for column, dtype in zip(columns, source.dtypes, strict=True)
    )


def run_query(
    connection: duckdb.DuckDBPyConnection, sources: Sequence[ViewSource], query: str, parameters: list[Any]
) -> pa.Table:
    """What a query over these views' files says.

    Raises:
        JobError: files cannot be read.
    """
    try:
        return connection.execute(query, parameters).to_arrow_table()
    except duckdb.Error as error:
        views = ", ".join(source.name for source in sources)
        raise JobError(f"the rows of {views} cannot be read: {_first_line(error)}") from None


def rows_of(files: Sequence[str], file_column: str | None = None) -> str:
    """The rows of Parquet files, for a FROM; where wanted with a column that names each one's file."""
    names = ", ".join(map(read_path, files))
    named = f", filename = '{file_column}'" if file_column else ""
    return f"read_parquet([{names}], hive_partitioning = false{named})"


def read_path(file: str) -> str:
    """The path of one file as SQL text; DuckDB would take `[1]`, `*` and `?` in it for a pattern."""
    return text(escape(file))


def text(value: str) -> str:
    """A value as SQL text."""
    return "'" + value.replace("'", "''") + "'"


def quoted(name: str) -> str:
    """A column's name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
