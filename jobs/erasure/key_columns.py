"""Columns of keys in any file: pandas makes a column of whole numbers with a null one of floats."""

import re

import pyarrow as pa

from scoring.entity_ids import exact_below, key_texts, value_type


def unreadable(column: pa.Field, value: str | int) -> str:
    """Why a column cannot tell the rows of this key; empty if it can."""
    kind = value_type(column.type)
    number = re.fullmatch(r"-?[0-9]+", str(value))
    if pa.types.is_floating(kind) and number and abs(int(value)) >= exact_below(kind):
        return f"column {column.name!r} has floats, which cannot tell such large numbers apart"
    if key_texts(pa.chunked_array([pa.array([], column.type)]), whole=isinstance(value, int)) is None:
        return f"column {column.name!r} is of type {column.type}"
    return ""


def without_decimal_zeros(cells: list[str]) -> list[str]:
    """Cells of a CSV file without `.0` where all of the column's have it, as pandas writes numbers beside nulls."""
    if any(cell and not re.fullmatch(r"-?[0-9]+\.0+", cell) for cell in cells):
        return cells
    return [cell.partition(".")[0] for cell in cells]
