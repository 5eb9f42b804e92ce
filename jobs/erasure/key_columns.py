"""Columns of keys in any file, as text: pandas makes a column of whole numbers with a null one of floats."""

import re

import pyarrow as pa
import pyarrow.compute as pc

from scoring.entity_ids import any_text_ids, exact_below, value_type

_WHOLE = r"^\s*\+?(-?)0*([0-9]+)(\.0*)?\s*$"
"""A whole number in a text: 7, +7, 007 and 7.0."""


def key_texts(column: pa.ChunkedArray, *, whole: bool) -> pa.ChunkedArray | None:
    """Values as texts, whole numbers as decimal ones; None for types that hold no keys.

    Args:
        whole: the key is a number, so that every text of it means the same.
    """
    texts = any_text_ids(column)
    if texts is None or not whole or pa.types.is_integer(value_type(column.type)):
        return texts
    return pc.replace_substring_regex(texts, _WHOLE, r"\1\2")


def unreadable(column: pa.Field, value: str | int) -> str:
    """Why a column cannot tell the rows of this key; empty if it can."""
    kind = value_type(column.type)
    number = re.fullmatch(r"-?[0-9]+", str(value))
    if pa.types.is_floating(kind) and number and abs(int(value)) >= exact_below(kind):
        return f"column {column.name!r} has floats, which cannot tell such large numbers apart"
    if key_texts(pa.chunked_array([pa.array([], column.type)]), whole=isinstance(value, int)) is None:
        return f"column {column.name!r} is of type {column.type}"
    return ""


def whole_text(text: str) -> str:
    """As `key_texts` of a number, of one text."""
    found = re.fullmatch(_WHOLE[1:-1], text)
    return f"{found[1]}{found[2]}" if found else text


def as_floats_were(cells: list[str]) -> list[str]:
    """Cells of a CSV file without `.0` where all of the column's have it, as pandas writes numbers beside nulls."""
    if any(cell and not re.fullmatch(r"-?[0-9]+\.0+", cell) for cell in cells):
        return cells
    return [cell.partition(".")[0] for cell in cells]
