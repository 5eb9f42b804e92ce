"""Reads the latest row of every entity in a feature view from the offline store's Parquet files.

Entities are read in ranges of keys, so memory does not grow with their number. The files are sorted by key, so a
range reads only the row groups that it needs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from glob import escape, glob
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from artefacts.offline_place import is_built
from contract.keys import Key, key_of, key_values
from jobs.errors import JobError
from jobs.offline_store.column_types import COLUMN_TYPES

if TYPE_CHECKING:
    from feast import FeatureView

_SAMPLES_PER_RANGE = 256
"""Sampled keys per range when borders are chosen; range sizes are then right within a few percent."""

_MEMORY = "400MB"


@dataclass(frozen=True)
class KeyRange:
    """Keys in [low, high); None is an open end.

    Text is ordered by its UTF-8 bytes, several values by the first that differs.
    """

    low: Key | None = None
    high: Key | None = None


@dataclass(frozen=True)
class ViewSource:
    """Files and columns of a feature view.

    path: a glob of Parquet files.
    join_keys, key_dtypes: the names and Feast's types of the keys, in the view's order.
    columns: the features, in the view's order.
    dtypes: Feast's type of each, lower case.
    only: these files; empty: all files that match `path` at the time.
    is_built: this project's builds write the rows; else somebody else fills the source.
    """

    name: str
    path: str
    join_keys: tuple[str, ...]
    key_dtypes: tuple[str, ...]
    timestamp_field: str
    created_timestamp_field: str | None
    columns: tuple[str, ...]
    dtypes: tuple[str, ...]
    only: tuple[str, ...] = ()
    is_built: bool = True

    @classmethod
    def of(cls, feature_view: "FeatureView", repo: Path | None = None) -> "ViewSource":
        """Make it from a registered view; its FileSource names a file, a glob, or a folder with its subfolders.

        Args:
            repo: folder of the Feast repository, in which relative paths lie; None is the working directory.
        """
        source = feature_view.batch_source
        path = Path(repo or "", getattr(source, "path", ""))  # other sources have none
        return cls(
            name=feature_view.name,
            path=str(path / "**" / "*.parquet" if path.is_dir() else path),
            join_keys=tuple(column.name for column in feature_view.entity_columns),
            key_dtypes=tuple(str(column.dtype).lower() for column in feature_view.entity_columns),
            timestamp_field=source.timestamp_field,
            created_timestamp_field=source.created_timestamp_column or None,
            columns=tuple(field.name for field in feature_view.features),
            dtypes=tuple(str(field.dtype).lower() for field in feature_view.features),
            is_built=is_built(feature_view),
        )

    def ordered_as(self, join_keys: Sequence[str]) -> "ViewSource":
        """The same view with its keys in the order in which `join_keys` has them."""
        order = sorted(range(len(self.join_keys)), key=lambda at: join_keys.index(self.join_keys[at]))
        names, dtypes = ([of[at] for at in order] for of in (self.join_keys, self.key_dtypes))
        return replace(self, join_keys=tuple(names), key_dtypes=tuple(dtypes))

    def read_by(self, join_key: str) -> "ViewSource":
        """The same rows by one of the view's join keys; a value may then have rows of several entities."""
        return replace(self, join_keys=(join_key,), key_dtypes=(self.key_dtypes[self.join_keys.index(join_key)],))

    @property
    def join_key(self) -> str:
        """The name of the only join key; raises ValueError where there are several."""
        (only,) = self.join_keys
        return only

    def files(self) -> list[str]:
        """List all files, sorted.

        Raises:
            JobError: there is none.
        """
        if self.only:
            return list(self.only)
        found = sorted(glob(self.path, recursive=True))  # noqa: PTH207  # Path.glob takes no absolute pattern
        if not found and self.is_built:
            raise JobError(f"{self.path}: no rows of the view {self.name}; run `make features` first")
        if not found:
            raise JobError(f"{self.path}: no such Parquet file; the source of the view {self.name} names it")
        return found


def connect() -> duckdb.DuckDBPyConnection:
    """Open a DuckDB in memory: times in UTC, memory bounded."""
    connection = duckdb.connect(config={"memory_limit": _MEMORY, "threads": 2})
    connection.execute("SET TimeZone = 'UTC'")
    return connection


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
        f"SELECT {_key_columns(source)} FROM {rows_of(source.files())} WHERE {_has_key(source)}"  # noqa: S608
        for source in sources  # names are quoted
    )
    names = ", ".join(map(quoted, sources[0].join_keys))
    query = f"SELECT DISTINCT {names} FROM ({keys}) WHERE hash({names}) % {every} = 0 ORDER BY {names}"  # noqa: S608
    columns = run_query(connection, sources, query, []).columns
    sampled = list(map(key_of, zip(*(column.to_pylist() for column in columns), strict=True)))
    step = rows_per_chunk // every
    return [KeyRange(low, high) for low, high in pairwise([None, *sampled[step::step], None])]


def changed_keys(
    connection: duckdb.DuckDBPyConnection, changed: ViewSource, until: datetime, key_range: KeyRange
) -> pa.Table:
    """Keys in the range that have a row in these files with an event time ≤ `until`: a column per join key.

    Raises:
        JobError: files cannot be read.
    """
    conditions, parameters = _key_conditions(changed, key_range)
    query = f"""
        SELECT DISTINCT {_key_columns(changed)} FROM {rows_of(changed.files())}
        WHERE {event_time(changed)} <= ? AND {" AND ".join(conditions)}
    """  # noqa: S608  # names are quoted, values are parameters
    return run_query(connection, [changed], query, [until, *parameters])


def latest_rows(
    connection: duckdb.DuckDBPyConnection,
    source: ViewSource,
    at: datetime,
    key_range: KeyRange | None = None,
    keys: pa.Table | None = None,
) -> pa.Table:
    """One row per entity: the one with the greatest event time ≤ `at`; of several, the one created last.

    Rows without a key or an event time are ignored.

    Args:
        at: UTC.
        keys: only these, a column per join key; None is all.

    Returns:
        join keys as the view declares them, event time (timestamp us UTC), the view's columns as it declares them;
        sorted by key.

    Raises:
        JobError: files cannot be read.
    """
    key, at_column = ", ".join(map(quoted, source.join_keys)), quoted(source.timestamp_field)
    columns = [quoted(column) for column in source.columns]
    created = quoted(source.created_timestamp_field) if source.created_timestamp_field else "NULL"
    conditions, parameters = _key_conditions(source, key_range)
    if keys is not None:
        connection.register("wanted_keys", keys)
        conditions.append(f"({key}) IN (SELECT {key} FROM wanted_keys)")  # noqa: S608
    # In two steps: the first reads two columns only, the second skips most files as too old for the whole range.
    # Rows equal in both times are ordered by a hash of their values, so every run takes the same one. Ordered by the
    # values themselves, DuckDB would give 0.0 for -0.0.
    aliases = [quoted(f" key {n}") for n in range(len(source.join_keys))]  # names that no column of a table has
    aliased = ", ".join(f"{quoted(name)} AS {alias}" for name, alias in zip(source.join_keys, aliases, strict=True))
    same_key = " AND ".join(f"{quoted(name)} = {alias}" for name, alias in zip(source.join_keys, aliases, strict=True))
    query = f"""
        WITH seen AS NOT MATERIALIZED (
            SELECT * FROM {rows_of(source.files())} WHERE {event_time(source)} <= ? AND {" AND ".join(conditions)}
        ), newest AS (
            SELECT {aliased}, max({at_column}) AS " newest" FROM seen GROUP BY {key}
        )
        SELECT {_key_columns(source)}, {event_time(source)} AS {at_column}, {declared(source)}
        FROM seen JOIN newest ON {same_key} AND {at_column} = " newest"
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
    conditions, parameters = [_has_key(source)], list[Any]()
    low, high = (key_range.low, key_range.high) if key_range is not None else (None, None)
    for border, below, beside in ((low, ">", ">="), (high, "<", "<")):
        if border is not None:
            condition, values = _beyond(source.join_keys, key_values(border), below, beside)
            conditions.append(condition)
            parameters += values
    return conditions, parameters


def _beyond(names: Sequence[str], border: Sequence[Any], strictly: str, at_last: str) -> tuple[str, list[Any]]:
    """The condition that a key lies on one side of a border: `strictly`, or in its last value `at_last`."""
    name, value = quoted(names[0]), border[0]
    if len(names) == 1:
        return f"{name} {at_last} ?", [value]
    condition, values = _beyond(names[1:], border[1:], strictly, at_last)
    # The first part says nothing new, but by it whole files and row groups are skipped.
    return f"({name} {strictly}= ? AND ({name} {strictly} ? OR {condition}))", [value, value, *values]


def _has_key(source: ViewSource) -> str:
    return " AND ".join(f"{quoted(name)} IS NOT NULL" for name in source.join_keys)


def _key_columns(source: ViewSource) -> str:
    """The join keys for a SELECT, each cast to the type that the view declares."""
    pairs = zip(map(quoted, source.join_keys), source.key_dtypes, strict=True)
    return ", ".join(f"{name}::{COLUMN_TYPES[dtype][1]} AS {name}" for name, dtype in pairs)


def event_time(source: ViewSource) -> str:
    """The event time in SQL; a time without a zone is UTC."""
    return f"{quoted(source.timestamp_field)}::TIMESTAMPTZ"


def declared(source: ViewSource) -> str:
    """The view's columns for a SELECT, each cast to the type that the view declares."""
    columns = [quoted(column) for column in source.columns]
    return ", ".join(
        f"{column}::{COLUMN_TYPES[dtype][1]} AS {column}" if dtype in COLUMN_TYPES else column
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
