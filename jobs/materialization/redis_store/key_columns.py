"""Redis keys of whole columns of entities: `KeyLayout` without a Python object per entity."""

from collections.abc import Iterable, Sequence
from struct import Struct, error, pack
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.materialization.redis_store.byte_columns import NO_VALUE, fixed_width, for_each_length

if TYPE_CHECKING:
    from scoring.feast.redis_layout import KeyLayout, KeyType

_TYPE_AND_LENGTH = Struct("<II")
_ARROW_TYPES = {"string": pa.string(), "int32": pa.int32(), "int64": pa.int64()}
"""Feast's type of a join key → the type of its column."""


class KeyColumns:
    """Encodes and decodes keys of one layout."""

    def __init__(self, layout: "KeyLayout") -> None:
        from scoring.feast.redis_layout import KEY_TYPES  # imports feast

        self._layout = layout
        self._columns = [_ARROW_TYPES[dtype] for dtype in layout.join_keys.values()]
        types = [KEY_TYPES[dtype] for dtype in layout.join_keys.values()]
        self._stored = [(at, types[at]) for at in layout.stored]

    def encode(self, columns: Sequence[pa.Array]) -> pa.BinaryArray:
        """Redis key of each entity.

        Args:
            columns: one per join key, in the layout's order and of its types, (n,) without nulls.
        """
        prefix, suffix = (pa.scalar(part, pa.binary()) for part in (self._layout.prefix, self._layout.suffix))
        values = [part for at, key_type in self._stored for part in _encoded(columns[at], key_type)]
        return pc.binary_join_element_wise(prefix, *values, suffix, NO_VALUE)

    def decode(self, keys: Iterable[bytes]) -> list[pa.Array]:
        """The values in each key, a column per join key.

        Keys with values of other types, and text that is not UTF-8, are left out: no row of a view can have them.
        """
        found = [values for key in keys if key.startswith(self._layout.prefix) and (values := self._values(key))]
        return [pa.array([values[at] for values in found], column_type) for at, column_type in enumerate(self._columns)]

    def _values(self, key: bytes) -> dict[int, Any]:
        values, start = {}, len(self._layout.prefix)
        for at, key_type in self._stored:
            number, length = _TYPE_AND_LENGTH.unpack_from(key, start)
            start += _TYPE_AND_LENGTH.size
            raw = key[start : start + length]
            start += length
            if number != key_type.number:
                return {}
            try:
                values[at] = raw.decode() if key_type.whole is None else key_type.whole.unpack(raw)[0]
            except (UnicodeDecodeError, error):
                return {}
        return values


def _encoded(column: pa.Array, key_type: "KeyType") -> Sequence[pa.BinaryArray]:
    """Columns of bytes that, one after the other, are the values of one join key."""
    if key_type.whole is None:
        raw = column.cast(pa.binary())
        return for_each_length(raw, lambda length: pack("<II", key_type.number, length)), raw
    cells = np.empty(len(column), dtype=[("type", "<u4"), ("length", "<u4"), ("value", key_type.whole.format)])
    cells["type"], cells["length"] = key_type.number, key_type.whole.size
    cells["value"] = column.to_numpy(zero_copy_only=False)
    return (fixed_width(cells),)
