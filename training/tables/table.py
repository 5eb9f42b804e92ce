"""Where a table is, and how its columns are read: Parquet files, or PostgreSQL."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Protocol

import duckdb
import pyarrow as pa

from artefacts.addresses import PROJECT_ROOT, Artefacts
from training.errors import DatasetError


class Table(Protocol):
    """A table somewhere."""

    def read(self, columns: Sequence[str], environ: Mapping[str, str]) -> pa.Table:
        """The columns of all rows; all columns if none is named.

        Args:
            environ: environment variables; they may hold the address.

        Raises:
            DatasetError: the table is not there, lacks a column, or cannot be read.
        """
        ...


@dataclass(frozen=True)
class ParquetTable:
    """A Parquet file, or a folder of them with all below it."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def glob(self) -> str:
        """Pattern of the files, for DuckDB and for Feast's FileSource."""
        return f"{escape(str(self.path))}/**/*.parquet" if self.path.is_dir() else escape(str(self.path))

    def read(self, columns: Sequence[str], environ: Mapping[str, str], most: int | None = None) -> pa.Table:
        """See `Table`.

        Args:
            columns: all if none is named.
            environ: of no use here.
            most: rows; None for all.
        """
        del environ
        names = ", ".join(map(quoted, columns)) or "*"
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            try:
                found = connection.execute(
                    f"SELECT {names} FROM read_parquet(?, hive_partitioning = false, union_by_name = true) LIMIT ?",  # noqa: S608
                    [self.glob, most],
                )
                return found.to_arrow_table()
            except duckdb.BinderException as error:
                raise DatasetError(_missing(self, columns, str(error))) from None
            except duckdb.Error as error:
                raise DatasetError(f"{self}: no Parquet file that can be read: {str(error).splitlines()[0]}") from None


@dataclass(frozen=True)
class ImportedTable:
    """A Parquet file beside the offline store, which `data.py` writes."""

    name: str = "table.parquet"

    def __str__(self) -> str:
        return self.name

    def path(self, environ: Mapping[str, str], root: Path = PROJECT_ROOT) -> Path:
        """Where the environment has the offline store."""
        return Artefacts.of(environ, root).offline_store / self.name

    def read(self, columns: Sequence[str], environ: Mapping[str, str]) -> pa.Table:
        """See `Table`."""
        path = self.path(environ)
        if not path.exists():
            raise DatasetError(f"{path}: is not there; `make data` brings it")
        return ParquetTable(path).read(columns, environ)


@dataclass(frozen=True)
class PostgresTable:
    """A table or view in PostgreSQL, with or without its schema's name.

    PGHOST, PGPORT, PGDATABASE, PGUSER and PGPASSWORD say where, as for every program of PostgreSQL.
    """

    name: str

    def __str__(self) -> str:
        return f"PostgreSQL's table {self.name}"

    def read(self, columns: Sequence[str], environ: Mapping[str, str]) -> pa.Table:
        """See `Table`."""
        from training.tables.postgres import read_rows

        return read_rows(self.name, columns, environ)


def quoted(name: str) -> str:
    """A name as SQL takes it."""
    return '"' + name.replace('"', '""') + '"'


def _missing(table: object, columns: Sequence[str], said: str) -> str:
    lacking = [name for name in columns if f'"{name}"' in said.split("Candidate")[0]]
    return f"{table}: has no column {lacking[0]!r}" if lacking else f"{table}: {said.splitlines()[0]}"
