"""Keys of the entities that have rows in the offline store."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.errors import JobError
from jobs.offline_store.latest_rows import quoted, rows_of

_AT_ONCE = 100_000


def stored_keys(connection: duckdb.DuckDBPyConnection, offline_store: Path, join_key: str) -> Iterator[pa.Array]:
    """Values of a join key in the build in place, in any order and each once; in arrays of up to 100,000.

    Raises:
        JobError: no view has rows under this key, or files cannot be read.
    """
    query = _query(offline_store, join_key)
    try:
        with connection.cursor() as cursor:
            for batch in cursor.execute(query).to_arrow_reader(_AT_ONCE):
                yield batch["k"]
    except duckdb.Error as error:
        raise _unreadable(offline_store, error) from None


def some_key(connection: duckdb.DuckDBPyConnection, offline_store: Path, join_key: str) -> Any:
    """One of them to show: the 42nd, or the last if they are fewer; raises as `stored_keys`."""
    return _some(connection, offline_store, _query(offline_store, join_key), "k")[0]


def some_entity(connection: duckdb.DuckDBPyConnection, offline_store: Path, join_keys: Sequence[str]) -> dict[str, Any]:
    """An entity to show, by all of its join keys: of a view that has them all, or else of one view for each.

    Raises:
        JobError: as `stored_keys`.
    """
    files = _files(offline_store, *join_keys)
    if len(join_keys) == 1 or not files:
        return {name: some_key(connection, offline_store, name) for name in join_keys}
    columns = ", ".join(map(quoted, join_keys))
    query = f"SELECT DISTINCT {columns} FROM {rows_of(files)} WHERE ({columns}) IS NOT NULL"  # noqa: S608
    return dict(zip(join_keys, _some(connection, offline_store, query, columns), strict=True))


def _some(connection: duckdb.DuckDBPyConnection, offline_store: Path, query: str, columns: str) -> tuple[Any, ...]:
    last_first = ", ".join(f"{column} DESC" for column in columns.split(", "))
    try:
        found = connection.execute(
            f"FROM ({query} ORDER BY {columns} LIMIT 42) ORDER BY {last_first} LIMIT 1"
        ).fetchone()
    except duckdb.Error as error:
        raise _unreadable(offline_store, error) from None
    if found is None:
        raise JobError(f"{offline_store}: holds no rows")
    shown: tuple[Any, ...] = found
    return shown


def _query(offline_store: Path, join_key: str) -> str:
    files = _files(offline_store, join_key)
    if not files:
        raise JobError(f"{offline_store}: no features by {join_key!r}; run `make features` first")
    key = quoted(join_key)
    return f"SELECT DISTINCT {key} AS k FROM {rows_of(files)} WHERE {key} IS NOT NULL"  # noqa: S608


def _unreadable(offline_store: Path, error: Exception) -> JobError:
    return JobError(f"{offline_store}: keys cannot be read: {str(error).splitlines()[0]}")


def _files(offline_store: Path, *join_keys: str) -> list[str]:
    """Files of the views that have all of these keys."""
    views = sorted(view for view in (offline_store / "current").glob("*/") if view.is_dir())
    by_view = [sorted(view.glob("*/*.parquet")) for view in views]
    return [
        str(file) for files in by_view if files and {*join_keys} <= {*pq.read_schema(files[0]).names} for file in files
    ]
