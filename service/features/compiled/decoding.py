"""Decodes columns of values that Feast stored in Redis, without a protobuf object per value.

Feast writes each value as a serialised `ValueProto` of one field: a tag byte, then 8 bytes (double), 4 bytes (float)
or a varint (integers and bool). Null is the empty string. Other forms go through protobuf, and are refused if it
refuses them.
Source: feast/protos/feast/types/Value.proto and https://protobuf.dev/programming-guides/encoding/.
"""

import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Stored = bytes | None
_MEMO_SIZE = 20_000
_MEMO_BYTES = 64  # longer values are texts and lists, which rarely repeat
_VECTOR_FROM = 16  # below it, looking up one by one is faster than numpy's constant cost
_INT64_TAG, _TIME_TAG = 0x20, 0x40  # fields 4 and 8, varints
_WEIGHTS = np.uint64(1) << np.arange(0, 70, 7, dtype=np.uint64)  # of a varint's bytes
_FIRST_SECOND, _LAST_SECOND = 0, 2**35  # nulls and times that no calendar holds are looked at one by one


class UnreadableValueError(Exception):
    """Stored bytes are not a valid value. The message names the kind of error, never the value."""


OTHER_FORM = "a reply of another form"


class _FixedWidth:
    """Values of one type that all have the same tag and length."""

    def __init__(self, tag: int, code: str) -> None:
        self._tag = tag
        self._dtype = np.dtype([("tag", "u1"), ("value", code)])
        self._lengths = {self._dtype.itemsize}
        null = bytes([tag]) + struct.pack(code, float("nan"))
        self._nulls = {None: null, b"": null}

    def decode(self, column: Sequence[Stored]) -> NDArray[np.float64] | None:
        """float64 (n,), NaN for null; None if some value is of another kind."""
        try:
            # Falsy is not null: 0 and an empty list are not stored values.
            filled = [value or self._nulls[value] for value in column]
            if set(map(len, filled)) != self._lengths:
                return None
        except (TypeError, KeyError):
            return None
        cells = np.frombuffer(b"".join(filled), dtype=self._dtype)
        if not (cells["tag"] == self._tag).all():
            return None
        with np.errstate(invalid="ignore"):  # signalling NaN counts as NaN
            return cells["value"].astype(np.float64)


_FIXED_WIDTH = {"float64": _FixedWidth(0x29, "<d"), "float32": _FixedWidth(0x35, "<f")}  # fields 5 and 6


_ARRAYS = {"float32": (b"\x82\x01", "<f4"), "float64": (b"\x7a", "<f8")}  # fields 16 and 15, messages


class Memo(dict[Stored, Any]):
    """Cache of bytes → value: most integers, flags and snapshot times of a store are the same few."""

    def __init__(self, read: Callable[[bytes], Any], null: Any) -> None:
        super().__init__()
        self._read, self._null = read, null

    def __missing__(self, stored: Stored) -> Any:
        if stored is None or stored == b"":
            value = self._null
        elif not isinstance(stored, bytes):
            raise UnreadableValueError(OTHER_FORM)
        else:
            try:
                value = self._read(stored)
            except Exception as error:  # any error of protobuf, dates, time zones or numbers
                raise UnreadableValueError(type(error).__name__) from error
            # On-demand code gets these objects: changing a shared list would change another entity's input.
            if len(stored) > _MEMO_BYTES or isinstance(value, list | dict | set):
                return value
        if len(self) >= _MEMO_SIZE:
            self.clear()
        self[stored] = value
        return value


def looked_up(memo: Memo, column: Sequence[Stored]) -> list[Any]:
    """The values of n stored ones. Raises `UnreadableValueError`."""
    try:
        return list(map(memo.__getitem__, column))
    except TypeError:  # a list or the like, which cannot be a dictionary's key
        raise UnreadableValueError(OTHER_FORM) from None


class ValueDecoder:
    """Decodes columns of stored values.

    Every method raises `UnreadableValueError` for bytes that are not a value of the requested kind.

    Args:
        read_value: one serialised `ValueProto` → the Python value that Feast gives for it, None for null.
        read_number: one serialised `ValueProto` → float, NaN for null.
    """

    def __init__(self, read_value: Callable[[bytes], Any], read_number: Callable[[bytes], float]) -> None:
        self._values = Memo(read_value, None)
        self._numbers = Memo(read_number, np.nan)

    def numbers(self, column: Sequence[Stored], dtype: str) -> NDArray[np.float64]:
        """float64 (n,) of n stored values; NaN for null.

        Args:
            dtype: the feature's type in the contract. Values of other types are read as well.
        """
        fixed = _FIXED_WIDTH.get(dtype)
        if fixed is not None:
            decoded = fixed.decode(column)
            if decoded is not None:
                return decoded
        return np.array(looked_up(self._numbers, column), dtype=np.float64)

    def python_values(self, column: Sequence[Stored], dtype: str) -> list[Any]:
        """List n Python values, None for null, as Feast passes them to an on-demand view."""
        if dtype == "float64":
            decoded = _FIXED_WIDTH["float64"].decode(column)
            if decoded is not None:
                numbers = decoded.tolist()
                return [number if stored else None for number, stored in zip(numbers, column, strict=True)]
        if dtype == "int64" and len(column) >= _VECTOR_FROM:
            present = [stored for stored in column if stored is not None and stored != b""]
            integers = _equally_long_int64(present, _INT64_TAG) if set(map(type, present)) == {bytes} else None
            if integers is not None:
                following = iter(integers.tolist())
                return [next(following) if stored else None for stored in column]
        return looked_up(self._values, column)


def _equally_long_int64(column: Sequence[bytes], tag: int) -> NDArray[np.int64] | None:
    """int64 (n,) if every value is an integer of this tag and of the same length, as times usually are; else None."""
    lengths = set(map(len, column))
    if len(lengths) != 1 or not 2 <= (length := lengths.pop()) <= 11:
        return None
    cells = np.frombuffer(b"".join(column), dtype=np.uint8).reshape(-1, length)
    more = cells[:, 1:] & 0x80
    if not ((cells[:, 0] == tag).all() and more[:, :-1].all() and not more[:, -1].any()):
        return None
    total = (cells[:, 1:] & np.uint8(0x7F)) @ _WEIGHTS[: length - 1]
    return total.view(np.int64)


class TimestampDecoder:
    """Decodes columns of stored event times.

    Args:
        read_timestamp: one serialised `Timestamp` → unix seconds.
    """

    def __init__(self, read_timestamp: Callable[[bytes], float]) -> None:
        # Feast gives a missing row the event time 1970-01-01.
        self._seconds = Memo(lambda stored: read_timestamp(stored) or np.nan, np.nan)

    def unix_seconds(self, column: Sequence[Stored]) -> NDArray[np.float64]:
        """float64 (n,), NaN where there is no row. Raises `UnreadableValueError`."""
        return np.array(looked_up(self._seconds, column), dtype=np.float64)


class TimeDecoder:
    """Decodes columns of stored times that the model sees as ages.

    Args:
        read: one serialised `ValueProto` → unix seconds, NaN for null.
    """

    def __init__(self, read: Callable[[bytes], float]) -> None:
        self._seconds = Memo(read, np.nan)

    def unix_seconds(self, column: Sequence[Stored]) -> NDArray[np.float64]:
        """float64 (n,), NaN for null. Raises `UnreadableValueError`."""
        if len(column) >= _VECTOR_FROM and set(map(type, column)) == {bytes}:
            seconds = _equally_long_int64(column, _TIME_TAG)  # type: ignore[arg-type]  # all of them are bytes
            if seconds is not None and seconds.min() >= _FIRST_SECOND and seconds.max() <= _LAST_SECOND:
                return seconds.astype(np.float64)
        return np.array(looked_up(self._seconds, column), dtype=np.float64)


class ArrayDecoder:
    """Decodes columns of stored arrays of numbers, all of one length.

    Feast stores an array as one field, a message of one packed field: before the numbers, all arrays of one length and
    type have the same bytes.

    Args:
        dtype: `float32` or `float64`.
        read: one serialised `ValueProto` → `width` numbers, NaN for null. It raises for an array of another length.
    """

    def __init__(self, dtype: str, width: int, read: Callable[[bytes], Sequence[float]]) -> None:
        tag, code = _ARRAYS[dtype]
        numbers = np.dtype((code, (width,)))
        packed = b"\x0a" + _varint(numbers.itemsize)
        head = tag + _varint(len(packed) + numbers.itemsize) + packed
        self._dtype = np.dtype([("head", "u1", (len(head),)), ("numbers", numbers)])
        self._head = np.frombuffer(head, np.uint8)
        self._lengths = {self._dtype.itemsize}
        null = head + struct.pack("<d" if dtype == "float64" else "<f", np.nan) * width
        self._nulls = {None: null, b"": null}
        self._read, self._none = read, [np.nan] * width

    def numbers(self, column: Sequence[Stored]) -> NDArray[np.float64]:
        """float64 (n, width), NaN for null. Raises `UnreadableValueError`."""
        try:
            filled = [value or self._nulls[value] for value in column]  # falsy is not null
            if set(map(len, filled)) == self._lengths:
                cells = np.frombuffer(b"".join(filled), dtype=self._dtype)
                if (cells["head"] == self._head).all():
                    with np.errstate(invalid="ignore"):  # signalling NaN counts as NaN
                        return cells["numbers"].astype(np.float64)
        except (TypeError, KeyError):
            pass
        return np.array([self._one(value) for value in column], dtype=np.float64)

    def _one(self, stored: Stored) -> Sequence[float]:
        if stored is None or stored == b"":
            return self._none
        if not isinstance(stored, bytes):
            raise UnreadableValueError(OTHER_FORM)
        try:
            return self._read(stored)
        except Exception as error:  # any error of protobuf, or of another type or length
            raise UnreadableValueError(type(error).__name__) from error


def _varint(number: int) -> bytes:
    groups = [number >> shift & 0x7F for shift in range(0, max(number.bit_length(), 1), 7)]
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])
