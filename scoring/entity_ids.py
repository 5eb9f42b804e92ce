"""Entity ids in users' files: text stays as it is, whole numbers become decimal text."""

import re

import pyarrow as pa
import pyarrow.compute as pc

_WHOLE = r"^\s*\+?(-?)0*([0-9]+)(\.0*)?\s*$"
"""A whole number in a text: 7, +7, 007 and 7.0."""


def text_ids(ids: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Ids as strings, from any text or integer type; None for other types."""
    kind = value_type(ids.type)
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    if not (is_text or pa.types.is_integer(kind)):
        return None
    return pc.cast(pc.cast(ids, kind), pa.string())


def any_text_ids(ids: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """As `text_ids`, also from types that ids get on their way; None for types that hold no ids.

    pandas makes floats of whole numbers beside a null; a warehouse has decimals; some writers of Parquet do not say
    that their bytes are text. Fractions become null, as do floats for which several whole numbers would stand, and
    bytes that are not UTF-8.
    """
    kind = value_type(ids.type)
    if pa.types.is_floating(kind):
        return _of_floats(pc.cast(ids, kind), exact_below(kind))
    if pa.types.is_decimal(kind):
        return _of_decimals(pc.cast(ids, kind), pa.decimal256(76, kind.scale))
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        try:
            return pc.cast(pc.cast(ids, kind), pa.string())
        except pa.ArrowInvalid:
            return pa.chunked_array([[_utf8(one) for one in ids.to_pylist()]], pa.string())
    return text_ids(ids)


def key_texts(column: pa.ChunkedArray, *, whole: bool) -> pa.ChunkedArray | None:
    """As `any_text_ids`, whole numbers in texts as decimal ones.

    Args:
        whole: the key is a number, so that every text of it means the same.
    """
    texts = any_text_ids(column)
    if texts is None or not whole or pa.types.is_integer(value_type(column.type)):
        return texts
    return pc.replace_substring_regex(texts, _WHOLE, r"\1\2")


def whole_text(text: str) -> str:
    """As `key_texts` of a number, of one text."""
    found = re.fullmatch(_WHOLE[1:-1], text)
    return f"{found[1]}{found[2]}" if found else text


def value_type(kind: pa.DataType) -> pa.DataType:
    """The type of a column's values, also where it is dictionary-encoded."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def exact_below(kind: pa.DataType) -> int:
    """Whole numbers below it, positive and negative, have a float of this type of their own."""
    return {16: 2**11, 32: 2**24, 64: 2**53}[kind.bit_width]


def _of_floats(column: pa.ChunkedArray, limit: int) -> pa.ChunkedArray:
    column = column.cast(pa.float64())
    is_whole = pc.and_(pc.equal(pc.floor(column), column), pc.less(pc.abs(column), float(limit)))
    return pc.cast(pc.cast(pc.if_else(is_whole, column, pa.scalar(None, pa.float64())), pa.int64()), pa.string())


def _of_decimals(column: pa.ChunkedArray, wide: pa.DataType) -> pa.ChunkedArray:
    column = pc.cast(column, wide)  # without an exponent only at scale 0: zero may be 0E-10
    whole = pc.if_else(pc.equal(pc.trunc(column), column), column, pa.scalar(None, wide))
    return pc.cast(pc.cast(whole, pa.decimal256(76, 0)), pa.string())


def _utf8(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None
