"""Reads tables of PostgreSQL, through psycopg; the environment says where, by PostgreSQL's own variables."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import psycopg
import pyarrow as pa
from psycopg import sql
from psycopg.conninfo import make_conninfo

from training.errors import DatasetError

VARIABLES = {
    "PGHOST": "host",
    "PGPORT": "port",
    "PGDATABASE": "dbname",
    "PGUSER": "user",
    "PGPASSWORD": "password",
}
"""PostgreSQL's own variables → parameters of a connection."""
_SECONDS = 10


@contextmanager
def connected(environ: Mapping[str, str]) -> Iterator["psycopg.Connection[tuple[object, ...]]"]:
    """A connection that only reads, with times in UTC.

    Raises:
        DatasetError: the server cannot be reached, or refuses; without the password.
    """
    given = {parameter: environ[name] for name, parameter in VARIABLES.items() if environ.get(name)}
    where = f"{given.get('host', 'localhost')}:{given.get('port', 5432)}/{given.get('dbname', '')}"
    try:
        opened = psycopg.connect(make_conninfo(connect_timeout=_SECONDS, options="-c TimeZone=UTC", **given))
    except psycopg.OperationalError as error:
        said = " ".join(str(error).split())
        raise DatasetError(f"PostgreSQL at {where} (PGHOST, PGPORT, PGDATABASE, PGUSER, PGPASSWORD): {said}") from None
    with opened:
        opened.read_only = True
        yield opened


def name_of(table: str) -> sql.Identifier:
    """A table's name, with or without its schema's."""
    return sql.Identifier(*table.split("."))


def read_rows(table: str, columns: Sequence[str], environ: Mapping[str, str], most: int | None = None) -> pa.Table:
    """The columns of a table's rows; all columns where none is named.

    Args:
        most: rows; None for all.

    Raises:
        DatasetError: the server cannot be reached, the table is not there, or lacks a column.
    """
    names = sql.SQL(", ").join(map(sql.Identifier, columns)) if columns else sql.SQL("*")
    query = sql.SQL("SELECT {} FROM {}").format(names, name_of(table))
    if most is not None:
        query += sql.SQL(" LIMIT {}").format(most)
    with connected(environ) as connection:
        try:
            cursor = connection.execute(query)
        except psycopg.errors.UndefinedTable:
            raise DatasetError(f"PostgreSQL has no table {table!r}, or hides it from PGUSER") from None
        except psycopg.errors.UndefinedColumn as error:
            said = str(error).splitlines()[0]
            raise DatasetError(f"PostgreSQL's table {table!r}: {said}") from None
        except psycopg.Error as error:
            raise DatasetError(f"PostgreSQL's table {table!r}: {str(error).splitlines()[0]}") from None
        found = [(column.name, column.type_code) for column in cursor.description or ()]
        rows = cursor.fetchall()
    columns_of = zip(*rows, strict=True) if rows else ([] for _ in found)
    arrays = [_array(list(values), code) for values, (_, code) in zip(columns_of, found, strict=True)]
    return pa.table(arrays, names=[name for name, _ in found])


_ARROW = {
    "bool": pa.bool_(),
    "int2": pa.int16(),
    "int4": pa.int32(),
    "int8": pa.int64(),
    "float4": pa.float32(),
    "float8": pa.float64(),
    "text": pa.string(),
    "varchar": pa.string(),
    "bpchar": pa.string(),
    "uuid": pa.string(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", tz="UTC"),
    "float4[]": pa.list_(pa.float32()),
    "float8[]": pa.list_(pa.float64()),
}


def _array(values: list[object], code: int) -> pa.Array:
    """A column; one of another type than those of `_ARROW` is what its text is."""
    info = psycopg.adapters.types.get(code)
    name = "" if info is None else info.name + ("[]" if code == info.array_oid else "")
    kind = _ARROW.get(name)
    if name == "numeric":
        return pa.array([None if value is None else float(str(value)) for value in values], pa.float64())
    if kind is None or name == "uuid":
        return pa.array([None if value is None else str(value) for value in values], pa.string())
    return pa.array(values, kind)
