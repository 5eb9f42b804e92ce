"""Converts stored values as Feast's SDK does. Importing this module imports feast, which takes seconds."""

from typing import Any

from feast import types
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import feast_value_type_to_python_type, python_values_to_proto_values
from google.protobuf.timestamp_pb2 import Timestamp

_NULL = (None, "null_val")
_PLAIN = (types.Bool, types.Int32, types.Int64, types.Float32, types.Float64, types.String, types.UnixTimestamp)
_VALUE_TYPES = {
    str(dtype).lower(): dtype.to_value_type() for dtype in (*_PLAIN, *(types.Array(plain) for plain in _PLAIN))
}

_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799
"""Seconds since 1970 that a protobuf `Timestamp` may hold: the years 1 to 9999."""


def read_value(stored: bytes) -> Any:
    """The Python value that on-demand code gets for a serialised `ValueProto`; None for null."""
    value = Value.FromString(stored)
    # Feast's own conversion, except that Feast reads an explicit null_val as 0.
    return None if value.WhichOneof("val") in _NULL else feast_value_type_to_python_type(value)


def read_number(stored: bytes) -> float:
    """The number that the model gets for a serialised `ValueProto` of any type that float() takes; NaN for null."""
    return number(Value.FromString(stored))


def read_timestamp(stored: bytes) -> float:
    """Unix seconds of a serialised `Timestamp`."""
    at = Timestamp.FromString(stored)
    if not _FIRST_SECOND <= at.seconds <= _LAST_SECOND:
        raise ValueError("outside the years that a protobuf Timestamp may hold")
    if not 0 <= at.nanos < 1_000_000_000:
        raise ValueError("more or less than the parts of one second")
    seconds = float(at.seconds + at.nanos / 1e9)
    if seconds >= _LAST_SECOND + 1:  # it was rounded up to the year 10000
        raise ValueError("outside the years that a protobuf Timestamp may hold")
    return seconds


def stored_values(column: Any, value_type: Any) -> list[bytes]:
    """Serialise a column by Feast's own conversion: one `ValueProto` each, empty for null.

    Args:
        column: list or array of n values.
        value_type: Feast's `ValueType`.

    Raises:
        TypeError, ValueError, AssertionError, OverflowError: Feast refuses a value.
    """
    return [value.SerializeToString() for value in python_values_to_proto_values(column, value_type)]


def value_type(dtype: str) -> Any:
    """Feast's `ValueType` for the name of a field's type in lower case, e.g. `float64` or `array(float32)`."""
    return _VALUE_TYPES[dtype]


def numbers_of(column: list[Any], field: Any) -> list[float]:
    """The numbers that the model gets for an output of on-demand code; raises as Feast does.

    Args:
        field: the on-demand view's field.
    """
    return [number(value) for value in python_values_to_proto_values(column, field.dtype.to_value_type())]


def number(value: Any) -> float:
    """The number that the model gets for a `ValueProto` of any type that float() takes; NaN for null."""
    kind = value.WhichOneof("val")
    return float("nan") if kind in _NULL else float(getattr(value, kind))


def row_unix_seconds(at: Any) -> float:
    """Unix seconds of a row's `Timestamp` from the SDK; NaN for 1970-01-01, which stands for a missing row."""
    return float(at.seconds + at.nanos / 1e9) if at.seconds or at.nanos else float("nan")
