"""Reads a CSV file into a typed Parquet file, with times in UTC."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from artefacts.errors import SourceError
from artefacts.process.atomic_files import replaced_file
from scoring.erased_keys import ErasedKeys
from training.errors import DatasetError
from training.tables.labels import check_rows
from training.tables.table import quoted

NO_TIME = "event_timestamp"
"""Column of a table that came without a time: the file's own."""

_NULLS = ["", "NA", "N/A", "NaN", "nan", "NULL", "null", "None"]
_TYPES = {
    # Ids keep their leading zeros: they are text.
    "BIGINT": r"[+-]?(0|[1-9][0-9]*)",
    "DOUBLE": r"[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?",
    "BOOLEAN": r"(?i)true|false",
    "TIMESTAMPTZ": r"[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}.*)?",
}
"""Type → what all texts of such a column look like; the first that fits is taken."""
_ZONED = r":[0-9]{2}.*([zZ]|[+-][0-9]{2}(:?[0-9]{2})?)$"


def identifier(name: str) -> str:
    """The name of a CSV file's column as one that code can use: `Monthly charge ($)` → `Monthly_charge`."""
    letters = re.sub(r"\W+", "_", name.strip(), flags=re.ASCII).strip("_") or "column"
    return f"c_{letters}" if letters[0].isdigit() else letters


def headers_of(file: Path) -> list[str]:
    """Names of a CSV file's columns, as they stand in it.

    Raises:
        DatasetError: the file cannot be read.
    """
    with _opened(file) as connection:
        return [str(row[0]) for row in connection.execute("DESCRIBE texts").fetchall()]


def types_of(file: Path) -> dict[str, str]:
    """Type of each column of a CSV file by all of its texts; DuckDB's names of types.

    Raises:
        DatasetError: the file cannot be read, or two columns have one name.
    """
    with _opened(file) as connection:
        names = [str(row[0]) for row in connection.execute("DESCRIBE texts").fetchall()]
        taken: dict[str, str] = {}
        for name in names:
            if other := taken.setdefault(identifier(name).lower(), name) if identifier(name).lower() in taken else "":
                raise DatasetError(f"{file}: columns {other!r} and {name!r} would both be called {identifier(name)!r}")
            taken[identifier(name).lower()] = name
        return {name: _type_of(connection, name) for name in names}


def zoneless(file: Path, column: str) -> str | None:
    """A time of the column that names no zone; None if all do."""
    with _opened(file) as connection:
        found = connection.execute(
            f"SELECT {quoted(column)} FROM texts WHERE NOT regexp_matches({quoted(column)}, ?) LIMIT 1",  # noqa: S608
            [_ZONED],
        ).fetchone()
    return None if found is None else str(found[0])


def no_time_in(file: Path, column: str) -> str:
    """The first value of the column that is no ISO time, in words."""
    with _opened(file) as connection:
        found = connection.execute(
            f"SELECT row, value FROM (SELECT row_number() OVER () AS row, {quoted(column)} AS value FROM texts) "  # noqa: S608
            "WHERE TRY_CAST(value AS TIMESTAMPTZ) IS NULL OR NOT regexp_full_match(value, ?) "
            "ORDER BY value IS NULL, row LIMIT 1",
            [_TYPES["TIMESTAMPTZ"]],
        ).fetchone()
    if found is None or found[1] is None:
        return "has no value, which is no ISO time"
    return f"has {str(found[1])!r}, which is no ISO time, in row {found[0]:,}"


def not_whole_in(file: Path, column: str) -> tuple[str, int] | None:
    """The first text of a column of ids that is no whole number of 64 bits, and its row; None if most are texts."""
    with _opened(file) as connection:
        numbers, texts = connection.execute(
            f"SELECT count(TRY_CAST({quoted(column)} AS BIGINT)), count({quoted(column)}) FROM texts"  # noqa: S608
        ).fetchone() or (0, 0)
        if 2 * numbers < texts:
            return None
        found = connection.execute(
            f"SELECT value, row FROM (SELECT row_number() OVER () AS row, {quoted(column)} AS value FROM texts) "  # noqa: S608
            "WHERE value IS NOT NULL AND TRY_CAST(value AS BIGINT) IS NULL ORDER BY row LIMIT 1"
        ).fetchone()
    return None if found is None else (str(found[0]), int(found[1]))


def is_empty(file: Path) -> bool:
    """True without a row below the header."""
    if not file.stat().st_size:
        return True
    with _opened(file) as connection:
        return connection.execute("FROM texts LIMIT 1").fetchone() is None


def import_csv(
    file: Path,
    out: Path,
    columns: Mapping[str, str],
    zone: str = "UTC",
    stamped: bool = False,
    *,
    keys: Sequence[str] = (),
    time: str = "",
    now: datetime | None = None,
    check: Callable[[pa.Table], None] = lambda _: None,
) -> int:
    """Write a CSV file as Parquet.

    Args:
        columns: header → type, as `types_of` gives them.
        zone: of times that name none.
        stamped: the file has no time: every row gets that of the file, as `event_timestamp`.
        out: in the folder of the offline store; rows of keys that were erased there are left out.
        keys, time, now: check that every row has its key and its time, once, and none is later than `now`.
        check: refuses the rows by a DatasetError.

    Returns:
        Number of rows.

    Raises:
        DatasetError: the file cannot be read, lacks a column, holds a value of another type, or rows fail the check; it
            is named, and what was written before stays.
    """
    with _opened(file, zone) as connection:
        for name, kind in columns.items():
            _check_column(connection, file, name, kind)
        selected = [f"{quoted(name)}::{kind} AS {quoted(identifier(name))}" for name, kind in columns.items()]
        if stamped:
            at = datetime.fromtimestamp(int(file.stat().st_mtime), UTC).isoformat()
            selected.append(f"'{at}'::TIMESTAMPTZ AS {NO_TIME}")
        rows = connection.execute(f"SELECT {', '.join(selected)} FROM texts").to_arrow_table()  # noqa: S608
    if keys:
        check_rows(str(file), rows, keys, time)
        latest = pc.max(rows[time]).as_py()
        if now is not None and latest > now:
            raise DatasetError(
                f"{file}: time {time!r} goes until {latest.isoformat()}, after now; "
                "a row says what was known at its time"
            )
    check(rows)
    try:
        rows = ErasedKeys.of(out.parent).without(rows)
    except SourceError as error:
        raise DatasetError(str(error)) from None
    out.parent.mkdir(parents=True, exist_ok=True)
    with replaced_file(out) as made:
        pq.write_table(rows.cast(_in_utc(rows.schema)), made)
    return int(rows.num_rows)


def _in_utc(schema: pa.Schema) -> pa.Schema:
    utc = pa.timestamp("us", tz="UTC")
    return pa.schema([field.with_type(utc) if pa.types.is_timestamp(field.type) else field for field in schema])


def _check_column(connection: duckdb.DuckDBPyConnection, file: Path, name: str, kind: str) -> None:
    column = quoted(name)
    try:
        found = connection.execute(
            f"SELECT {column} FROM texts WHERE {column} IS NOT NULL AND TRY_CAST({column} AS {kind}) IS NULL LIMIT 1"  # noqa: S608
        ).fetchone()
    except duckdb.BinderException:
        raise DatasetError(f"{file}: has no column {name!r}") from None
    if found is not None:
        raise DatasetError(f"{file}: column {name!r} has {found[0]!r}, which is no {kind}")


def _type_of(connection: duckdb.DuckDBPyConnection, name: str) -> str:
    column = quoted(name)
    for kind, pattern in _TYPES.items():
        alike, fitting, given = connection.execute(
            f"SELECT count_if(regexp_full_match({column}, ?)), count(TRY_CAST({column} AS {kind})), count({column}) "  # noqa: S608
            "FROM texts",
            [pattern],
        ).fetchone() or (0, 0, 0)
        if given and alike == given:
            return kind if fitting == given else "VARCHAR"  # numbers that no integer holds are ids
    return "VARCHAR"


@contextmanager
def _opened(file: Path, zone: str = "UTC") -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB with all of the file as the view `texts`."""
    if not file.exists():
        raise DatasetError(f"{file}: does not exist; `make data TABLE=…` names another file")
    with duckdb.connect() as connection:
        try:
            connection.execute("SET TimeZone = ?", [zone])
        except duckdb.Error:
            raise DatasetError(f"ZONE: {zone!r} is no time zone; write one as UTC or Europe/Berlin") from None
        try:
            connection.read_csv(
                str(file), header=True, all_varchar=True, na_values=_NULLS, strict_mode=True
            ).create_view("texts")
            connection.execute("SELECT count(*) FROM texts").fetchone()
        except duckdb.Error as error:
            said = next(iter(str(error).strip().splitlines()), "")
            raise DatasetError(f"{file}: cannot be read as CSV in UTF-8: {said}") from None
        yield connection
