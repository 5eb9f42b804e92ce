"""Brings a CSV file here once more, for a use case that `make init` wrote for an earlier state of it."""

import ast
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from training.errors import DatasetError
from training.tables.csv_file import headers_of, identifier, import_csv
from training.tables.labels import TableLabels
from training.tables.table import ImportedTable
from training.use_case import UseCase

_IMPORT = "data.py"
"""Names all columns that the file once had, and so proves no use."""


def import_later_rows(
    file: Path,
    columns: Mapping[str, str],
    use_case: UseCase,
    folder: Path,
    environ: Mapping[str, str],
    now: datetime,
    *,
    zone: str = "UTC",
    stamped: bool = False,
) -> str:
    """Read the file, check its rows as `make init` and `make train` do, and write the table that the use case reads.

    A column of `columns` that no file of the use case names any more may be lacking.

    Args:
        columns, zone, stamped: see `import_csv`.
        use_case: its labels are `table_labels(…)`.
        folder: of the use case.

    Returns:
        What came of it, for the user.

    Raises:
        DatasetError: names the file and the column; the table that was there stays.
    """
    labels = use_case.labels(environ)
    if not isinstance(labels, TableLabels):
        raise DatasetError(
            f"labels: {type(labels).__name__} is not what table_labels(…) makes; check and import the file in "
            f"{folder / _IMPORT} by import_csv"
        )
    of_rows = (*labels.keys, labels.time, labels.target, *labels.request)
    named = dict.fromkeys(of_rows, "use_case.py") | names_in(folder)
    there = {header.lower() for header in headers_of(file)}  # as DuckDB finds a column
    lacking = [header for header in columns if header.lower() not in there]
    for header in lacking:
        if identifier(header) in named:
            raise DatasetError(f"{file}: has no column {header!r}, which {named[identifier(header)]} names")
    rows = import_csv(
        file,
        ImportedTable().path(environ),
        {header: kind for header, kind in columns.items() if header not in lacking},
        zone,
        stamped,
        keys=labels.keys,
        time=labels.time,
        now=now,
        check=lambda found: labels.check_classes(str(file), found, use_case.task),
    )
    without = f", without {', '.join(map(repr, lacking))}, which nothing uses" if lacking else ""
    return f"{rows:,} rows of {file}{without}"


def names_in(folder: Path) -> dict[str, str]:
    """Each text in the code of a use case, as the name of a column → the file that has it.

    The code is read, not run: Feast's definitions are imported by `feast apply` alone.

    Raises:
        DatasetError: a file is no Python.
    """
    found: dict[str, str] = {}
    for file in sorted(folder.rglob("*.py")):
        if file.name == _IMPORT:
            continue
        try:
            code = ast.parse(file.read_text(encoding="utf-8"))
        except (SyntaxError, ValueError) as error:
            raise DatasetError(f"{file}: cannot be read as Python: {error}") from None
        for node in ast.walk(code):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.setdefault(node.value, file.relative_to(folder).as_posix())
    return found
