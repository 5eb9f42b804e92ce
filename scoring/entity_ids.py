"""Entity ids in users' files: text stays as it is, whole numbers become decimal text."""

import pyarrow as pa
import pyarrow.compute as pc


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
    that their bytes are text. Fractions become null, as do floats for which several whole numbers would stand.
    """
    kind = value_type(ids.type)
    if pa.types.is_floating(kind):
        return _of_floats(pc.cast(ids, kind), exact_below(kind))
    if pa.types.is_decimal(kind):
        return pc.replace_substring_regex(pc.cast(pc.cast(ids, kind), pa.string()), r"\.0*$", "")
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        try:
            return pc.cast(pc.cast(ids, kind), pa.string())
        except pa.ArrowInvalid:  # not UTF-8
            return None
    return text_ids(ids)


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
