"""Reads the CSV of MLflow's scoring protocol, as `pandas.read_csv` reads what `DataFrame.to_csv` writes.

pandas is not used: it fills every row up to the width of the header, so one megabyte can take hundreds of gigabytes.
"""

import csv
import io
import re
from collections.abc import Container, Iterator, Sequence

from service.api.body_work import MOST_BLANK_LINES, MOST_COLUMNS
from service.errors import InvalidRequestError, RequestTooLargeError

_NUMBER = re.compile(r"[ \t\v\f]*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?[ \t\v\f]*", re.ASCII)
_BOOLEAN = {"true": "1", "false": "0"}


def read_csv(
    raw: bytes,
    names: Sequence[str],
    max_rows: int,
    texts: Container[str] = (),
    nullable: Container[str] = (),
) -> list[tuple[str | None, ...]]:
    """Pick the named columns from a CSV with a header.

    If the first row has more fields than the header, the surplus at its start is an index without a name; a named
    index is an extra column. Of two columns with one name the first is taken. A column holds either numbers or True
    and False.

    Args:
        names: the model's inputs, in model order.
        texts: those that hold any text.
        nullable: those in which an empty field is null.

    Returns:
        n rows of k texts, n ≥ 1; other inputs' are numbers.

    Raises:
        RequestTooLargeError: more than `max_rows` rows, `MOST_COLUMNS` columns or `MOST_BLANK_LINES` blank lines.
        InvalidRequestError: anything else that is wrong; `field` is `csv.<row>.<column>` or part of it.
    """
    try:
        lines = _lines(raw)
        header = next(lines, None)
        if header is None:
            raise InvalidRequestError("the body is empty; a CSV begins with its header")
        if len(header) > MOST_COLUMNS:
            raise RequestTooLargeError(f"csv: at most {MOST_COLUMNS} columns", field="csv")
        for name in names:
            if name not in header:
                raise InvalidRequestError.at(f"csv.{name}", "is missing, and the model needs it")
        rows = _rows(lines, header, names, max_rows)
    except (UnicodeDecodeError, csv.Error):
        raise InvalidRequestError("body is not valid CSV") from None
    columns: list[Sequence[str | None]] = [
        _with_nulls(column)
        if name in texts and name in nullable
        else column
        if name in texts
        else _numbers(column, name, name in nullable)
        for column, name in zip(zip(*rows, strict=True), names, strict=True)
    ]
    return list(zip(*columns, strict=True))


def _lines(raw: bytes) -> Iterator[list[str]]:
    """Yield the fields of every line that is not blank. A line with only an empty quoted text is not blank."""
    blank = 0
    for fields in csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline=""), strict=True):
        if len(fields) > 1 or fields == [""] or (fields and fields[0].strip(" \t")):
            yield fields
            continue
        blank += 1
        if blank > MOST_BLANK_LINES:
            raise RequestTooLargeError(f"csv: at most {MOST_BLANK_LINES} blank lines", field="csv")


def _rows(lines: Iterator[list[str]], header: list[str], names: Sequence[str], max_rows: int) -> list[list[str]]:
    rows: list[list[str]] = []
    positions, width = [header.index(name) for name in names], len(header)
    for row, fields in enumerate(lines):
        if row == max_rows:
            raise RequestTooLargeError(f"csv: at most {max_rows} rows in one request", field="csv")
        if row == 0 and len(fields) > width:
            positions = [position + len(fields) - width for position in positions]
            width = len(fields)
        if len(fields) > width:
            raise InvalidRequestError.at(f"csv.{row}", "has more fields than the rows before")
        # A field that was left out is null, like an empty one.
        rows.append([fields[position] if position < len(fields) else "" for position in positions])
    if not rows:
        raise InvalidRequestError.at("csv", "must hold at least one row")
    return rows


def _with_nulls(column: Sequence[str]) -> list[str | None]:
    return [text or None for text in column]


def _numbers(column: Sequence[str], name: str, nullable: bool) -> Sequence[str | None]:
    there = list(filter(None, column)) if nullable else column
    if all(text.lower() in _BOOLEAN for text in there):
        return [_BOOLEAN[text.lower()] if text else None for text in column]
    for row, text in enumerate(column):
        # pandas knows more than ten ways to write null; where the model takes nulls, an empty field is one.
        if _NUMBER.fullmatch(text) is None and not (nullable and not text):
            raise InvalidRequestError.at(f"csv.{row}.{name}", "must be a finite number")
    return _with_nulls(column) if nullable else column
