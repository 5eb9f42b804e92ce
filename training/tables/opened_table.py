"""Opens the table that a user names: a CSV file, Parquet files, or a table in PostgreSQL."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from training.errors import DatasetError
from training.tables import csv_file
from training.tables.postgres import VARIABLES, read_rows
from training.tables.proposal import Location
from training.tables.table import ParquetTable

_MOST_ROWS = 500_000
"""Rows of a table that are looked at."""
_CSV = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
_POSTGRES = ("postgresql", "postgres")


@dataclass(frozen=True)
class OpenedTable:
    """A table with its rows.

    words: the table, for messages.
    imported: header → type of a CSV file's columns.
    stamped: the CSV file has no time, so that its rows have that of the file.
    """

    words: str
    location: Location
    rows: pa.Table
    keys: tuple[str, ...]
    time: str
    target: str
    imported: dict[str, str] = field(default_factory=dict)
    zone: str = "UTC"
    stamped: bool = False
    notes: Sequence[str] = ()


def open_table(
    table: str,
    keys: Sequence[str],
    time: str | None,
    target: str,
    zone: str | None,
    environ: Mapping[str, str],
    root: Path,
) -> OpenedTable:
    """Read a table.

    Args:
        table: path, relative to the project or absolute; or `postgresql://…/database?table=name`.
        zone: of times in a CSV file that name none; None: UTC, and said.

    Raises:
        DatasetError: it cannot be read, or lacks a column.
    """
    if urlsplit(table).scheme in _POSTGRES:
        return _from_postgres(table, keys, time, target, environ)
    path = root / table
    if not path.exists():
        raise DatasetError(f"TABLE: {path} does not exist")
    if path.name.lower().endswith(_CSV):
        return _from_csv(path, _address(path, root), keys, time, target, zone)
    if not path.is_dir() and path.suffix != ".parquet":
        raise DatasetError(f"TABLE: {path} is neither .csv nor .parquet, nor a folder of .parquet files")
    rows = ParquetTable(path).read([], environ, _MOST_ROWS)
    _check_columns(str(path), rows.column_names, keys, time, target)
    return OpenedTable(
        str(path),
        Location("parquet", _address(path, root), is_folder=path.is_dir()),
        rows,
        tuple(keys),
        _time(str(path), rows.column_names, time),
        target,
    )


def _from_csv(
    path: Path, address: str, keys: Sequence[str], time: str | None, target: str, zone: str | None
) -> OpenedTable:
    if csv_file.is_empty(path):
        raise DatasetError(f"TABLE: {path} has no rows")
    types = csv_file.types_of(path)
    names = {header: csv_file.identifier(header) for header in types}
    either = [*types, *names.values()]
    _check_columns(str(path), either, keys, time, target)
    headers = {**{name: header for header, name in names.items()}, **{header: header for header in types}}
    if time is None and csv_file.NO_TIME in names.values():
        time = csv_file.NO_TIME
    notes = []
    if time is not None:
        header = headers[time]
        if types[header] != "TIMESTAMPTZ":
            raise DatasetError(
                f"TIME: column {header!r} of {path} {csv_file.no_time_in(path, header)}; write it as "
                "2026-01-31 or 2026-01-31T10:00:00+01:00"
            )
        if zone is None and (naive := csv_file.zoneless(path, header)):
            notes.append(f"times as {naive!r} name no zone and are read as UTC; ZONE=Europe/Berlin reads them as local")
    for header in (headers[key] for key in keys):
        if types[header] == "VARCHAR" and (found := csv_file.not_whole_in(path, header)):
            notes.append(f"key {header!r} is text, not a number, because of {found[0]!r} in row {found[1]:,}")
    changed = [f"{header!r} is {name!r}" for header, name in names.items() if header != name]
    if changed:
        notes.append("columns are renamed: " + ", ".join(changed))
    with tempfile.TemporaryDirectory() as folder:
        typed = Path(folder) / "typed.parquet"
        csv_file.import_csv(path, typed, types, zone or "UTC", stamped=time is None)
        rows = pq.read_table(typed)
    return OpenedTable(
        str(path),
        Location("csv", address),
        rows,
        tuple(names[headers[key]] for key in keys),
        csv_file.NO_TIME if time is None else names[headers[time]],
        names[headers[target]],
        types,
        zone or "UTC",
        time is None,
        notes,
    )


def _from_postgres(
    url: str, keys: Sequence[str], time: str | None, target: str, environ: Mapping[str, str]
) -> OpenedTable:
    split = urlsplit(url)
    name = next(iter(parse_qs(split.query).get("table", ())), "")
    if not name:
        raise DatasetError("TABLE: name the table: postgresql://user@host/database?table=schema.name")
    said = {
        "PGHOST": split.hostname or "",
        "PGPORT": str(split.port or ""),
        "PGDATABASE": unquote(split.path.lstrip("/")),
        "PGUSER": unquote(split.username or ""),
        "PGPASSWORD": unquote(split.password or ""),
    }
    given = {variable: value for variable, value in said.items() if value}
    rows = read_rows(name, [], {**environ, **given}, _MOST_ROWS)
    words = f"PostgreSQL's table {name}"
    _check_columns(words, rows.column_names, keys, time, target)
    shown = " ".join(f"{variable}={value if variable != 'PGPASSWORD' else '…'}" for variable, value in given.items())
    unset = [variable for variable in VARIABLES if not environ.get(variable) and variable not in given]
    also = f", and set {', '.join(unset)} as well" if unset else ""
    notes = [f"the files name PostgreSQL's own variables, no address: export {shown}{also}"] if given or unset else []
    return OpenedTable(
        words,
        Location("postgres", name),
        rows,
        tuple(keys),
        _time(words, rows.column_names, time),
        target,
        notes=notes,
    )


def _check_columns(words: str, names: Sequence[str], keys: Sequence[str], time: str | None, target: str) -> None:
    asked = [*(("KEY", key) for key in keys), *((("TIME", time),) if time is not None else ()), ("TARGET", target)]
    for what, name in asked:
        if name not in names:
            raise DatasetError(f"{what}: {words} has no column {name!r}; it has {', '.join(dict.fromkeys(names))}")
    if len({name for _, name in asked}) != len(asked):
        raise DatasetError("KEY, TIME and TARGET: name different columns")


def _time(words: str, names: Sequence[str], time: str | None) -> str:
    if time is not None:
        return time
    if csv_file.NO_TIME in names:
        return csv_file.NO_TIME
    raise DatasetError(
        f"TIME: say which column of {words} has the time at which a row was true; if none has, add one that is now"
    )


def _address(path: Path, root: Path) -> str:
    resolved = path.resolve()
    return str(resolved.relative_to(root)) if resolved.is_relative_to(root) else str(resolved)
