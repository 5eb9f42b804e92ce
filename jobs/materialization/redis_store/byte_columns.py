"""Columns of bytes, made from columns of values without a Python object per value."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jobs.errors import JobError

NO_VALUE = pa.scalar(b"", pa.binary())
_MOST_BYTES = 2**31 - 1
_VARINT_BYTES = 10
_SHIFTS = np.arange(0, 7 * _VARINT_BYTES, 7, dtype=np.uint64)

Cells = tuple[NDArray[np.uint8], NDArray[np.bool_]]
"""Bytes (n, width), and which of them are part of the value (n, width)."""


def tag_cells(tag: int, rows: int, there: NDArray[np.bool_] | None = None) -> Cells:
    """The same byte for each row, or only for the rows of `there`."""
    shown = np.ones(rows, dtype=bool) if there is None else there
    return np.full((rows, 1), tag, dtype=np.uint8), shown[:, None]


def varints(values: NDArray[np.int64], there: NDArray[np.bool_] | None = None) -> Cells:
    """Encode integers as varints: seven bits a byte, lowest first; all bytes but the last have the highest bit set."""
    rest = values.astype(np.int64).view(np.uint64)[:, None] >> _SHIFTS
    follows = np.concatenate([rest[:, 1:] != 0, np.zeros((len(values), 1), dtype=bool)], axis=1)
    cells = (rest & np.uint64(0x7F)).astype(np.uint8) | (follows.view(np.uint8) << np.uint8(7))
    shown = np.concatenate([np.ones((len(values), 1), dtype=bool), follows[:, :-1]], axis=1)
    if there is not None:
        shown &= there[:, None]
    return cells, shown


def concatenate(*parts: Cells) -> pa.BinaryArray:
    """Join the parts of each row."""
    cells = np.concatenate([part for part, _ in parts], axis=1)
    there = np.concatenate([shown for _, shown in parts], axis=1)
    return binary(cells[there], there.sum(axis=1))


def fixed_width(cells: NDArray[Any]) -> pa.BinaryArray:
    """The bytes of each record of a structured array."""
    return binary(cells.view(np.uint8), np.full(len(cells), cells.dtype.itemsize))


def binary(flat: NDArray[np.uint8], lengths: NDArray[np.int64]) -> pa.BinaryArray:
    """Cut all bytes into values of these lengths.

    Raises:
        JobError: they are more than one array can hold.
    """
    if len(flat) > _MOST_BYTES:
        raise JobError("the values of one chunk are more than 2 GB; lower JOBS_MATERIALIZE_CHUNK_ROWS")
    offsets = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return pa.Array.from_buffers(pa.binary(), len(lengths), [None, pa.py_buffer(offsets), pa.py_buffer(flat)])


def for_each_length(values: pa.BinaryArray, text: Callable[[int], bytes]) -> pa.BinaryArray:
    """Apply `text` to each value's length, once per distinct length."""
    lengths = pc.dictionary_encode(pc.binary_length(values))
    texts = pa.array([text(length) for length in lengths.dictionary.to_pylist()], pa.binary())
    return texts.take(lengths.indices)


def varint(value: int) -> bytes:
    """One integer as `varints` encodes it."""
    cells, there = varints(np.array([value]))
    return cells[there].tobytes()
