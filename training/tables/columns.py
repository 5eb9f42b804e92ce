"""Proposes a feature for each column of a table, or says why not."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from training.tables.csv_file import NO_TIME

MOST_CATEGORIES = 10_000
_MANY = 50
"""Values above which a text column may be an id or free text."""


@dataclass(frozen=True)
class Feature:
    """A column that becomes a feature.

    kind: of `category`, `number`, `age`, `embedding`.
    dtype: as Feast's `feast.types` writes it.
    tags: of Feast's field.
    """

    name: str
    kind: str
    dtype: str
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class LeftOut:
    """A column that does not become a feature.

    warns: it looks as if it knew the outcome, or were an id.
    """

    name: str
    why: str
    warns: bool = False


def propose(rows: pa.Table, keys: Sequence[str], time: str, target: str) -> list[Feature | LeftOut]:
    """A proposal for each column but keys, time and target, in the table's order."""
    others = [name for name in rows.column_names if name not in (*keys, time, target)]
    return [_proposed(rows, keys, time, name) for name in others]


def _proposed(rows: pa.Table, keys: Sequence[str], time: str, name: str) -> Feature | LeftOut:
    column = rows[name].combine_chunks()
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if not (name.isidentifier() and name.isascii()) or "__" in name or name in (NO_TIME, "created_timestamp"):
        return LeftOut(name, "rename it: a name has letters, digits and single _, and is not that of Feast's columns")
    if column.null_count == len(column):
        return LeftOut(name, "it is null in every row")
    propose_type = next((make for fits, make in _TYPES if fits(column.type)), None)
    if propose_type is None:
        return LeftOut(name, f"{column.type} is no type of a model's input; cast it, or make a number of it")
    if not pa.types.is_nested(column.type):
        values = pc.count_distinct(column, mode="all").as_py()
        if values == 1:
            return LeftOut(name, "it has the same value in every row")
        if said := _id_like(rows, keys, name, column, pc.count_distinct(column).as_py()):
            return LeftOut(name, said, warns=True)
    return propose_type(rows, time, name, column)


def _id_like(rows: pa.Table, keys: Sequence[str], name: str, column: pa.Array, values: int) -> str:
    """Why a column is taken for an id; empty if it is not."""
    if not (_is_text(column.type) or pa.types.is_integer(column.type)) or values <= _MANY:
        return ""
    for key in keys:
        if rows[key].type == column.type and rows[key].combine_chunks().equals(column):
            return f"it is the key {key!r} once more"
    if pa.types.is_integer(column.type):
        low, high = pc.min_max(column).as_py().values()
        if values == len(column) and high - low < 2 * values:
            return "it numbers the rows"
        return ""
    of_keys = rows.group_by(list(keys)).aggregate([]).num_rows
    together = rows.group_by([*keys, name]).aggregate([]).num_rows
    if values == of_keys == together:
        return f"each {', '.join(keys)} has one of its own: it is an id"
    if values > MOST_CATEGORIES:
        return f"it has {values:,} different texts, and a category has at most {MOST_CATEGORIES:,}; group them"
    if values > len(column) / 2:
        return f"it has {values:,} different texts in {len(column):,} rows: free text, or an id"
    return ""


def _category(rows: pa.Table, time: str, name: str, column: pa.Array) -> Feature | LeftOut:
    del rows, time
    texts = pc.drop_null(column)
    numeric = pd.to_numeric(pd.Series(texts.to_pylist(), dtype=object), errors="coerce").notna()
    if bool(numeric.all()) and not pc.any(pc.match_substring_regex(texts, r"^0[0-9]")).as_py():
        return LeftOut(name, "its texts are numbers: write them as numbers, or name the categories")
    return Feature(name, "category", "String", _nulls_kept(column))


def _number(dtype: str) -> Callable[[pa.Table, str, str, pa.Array], Feature | LeftOut]:
    def made(rows: pa.Table, time: str, name: str, column: pa.Array) -> Feature | LeftOut:
        del rows, time
        return Feature(name, "number", dtype, _nulls_kept(column))

    return made


def _age(rows: pa.Table, time: str, name: str, column: pa.Array) -> Feature | LeftOut:
    if column.type.tz is None:
        return LeftOut(name, "its times have no zone")
    after = pc.sum(pc.greater(column, rows[time].combine_chunks().cast(column.type))).as_py() or 0
    if after:
        share = after / (len(column) - column.null_count)
        return LeftOut(name, f"it is later than {time!r} in {share:.0%} of its rows, when nobody knew it", warns=True)
    return Feature(name, "age", "UnixTimestamp", _nulls_kept(column))


def _embedding(rows: pa.Table, time: str, name: str, column: pa.Array) -> Feature | LeftOut:
    del rows, time
    widths = pc.unique(pc.drop_null(pc.list_value_length(column))).to_pylist()
    if len(widths) != 1 or column.null_count:
        return LeftOut(name, "its lists are null or of several lengths")
    inner = "Float32" if pa.types.is_float32(column.type.value_type) else "Float64"
    return Feature(name, "embedding", f"Array({inner})", {"width": str(widths[0])})


def _nulls_kept(column: pa.Array) -> dict[str, str]:
    return {"on_missing": "keep"} if column.null_count else {}


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_embedding(kind: pa.DataType) -> bool:
    if not (pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind)):
        return False
    return bool(pa.types.is_float32(kind.value_type) or pa.types.is_float64(kind.value_type))


_Make = Callable[[pa.Table, str, str, pa.Array], Feature | LeftOut]
_TYPES: list[tuple[Callable[[pa.DataType], bool], _Make]] = [
    (_is_text, _category),
    (pa.types.is_boolean, _number("Bool")),
    (lambda kind: pa.types.is_integer(kind) and kind.bit_width < 32, _number("Int32")),
    (pa.types.is_int32, _number("Int32")),
    (lambda kind: pa.types.is_int64(kind) or pa.types.is_uint32(kind), _number("Int64")),
    (pa.types.is_float32, _number("Float32")),
    (pa.types.is_float64, _number("Float64")),
    (pa.types.is_timestamp, _age),
    (_is_embedding, _embedding),
]
"""Which columns → what they become; the first that fits."""
