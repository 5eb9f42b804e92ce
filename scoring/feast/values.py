"""Converts stored values as Feast's SDK does. Importing this module imports feast, which takes seconds."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from feast import types
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import feast_value_type_to_python_type, python_values_to_proto_values
from google.protobuf.timestamp_pb2 import Timestamp

from contract import FeatureInput

_NULL = (None, "null_val")
_NAN = float("nan")
_PLAIN = (types.Bool, types.Int32, types.Int64, types.Float32, types.Float64, types.String, types.UnixTimestamp)
_VALUE_TYPES = {
    str(dtype).lower(): dtype.to_value_type() for dtype in (*_PLAIN, *(types.Array(plain) for plain in _PLAIN))
}

_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799
"""Seconds since 1970 that a protobuf `Timestamp` may hold: the years 1 to 9999."""

_NULL_TIME = -(2**63)
"""How Feast stores a null among times."""

_CATEGORIES = {"string": ("string_val",), "int32": ("int32_val", "int64_val"), "int64": ("int32_val", "int64_val")}
"""Type of a category → how Feast stores it. Others would be read as what they are not."""

_ARRAYS = ("float_list_val", "double_list_val")


class OtherTypeError(TypeError):
    """A value of another type is stored than the feature repository declares."""


def read_value(stored: bytes) -> Any:
    """The Python value that on-demand code gets for a serialised `ValueProto`; None for null."""
    value = Value.FromString(stored)
    # Feast's own conversion, except that Feast reads an explicit null_val as 0.
    return None if value.WhichOneof("val") in _NULL else feast_value_type_to_python_type(value)


def read_number(stored: bytes) -> float:
    """The number that the model gets for a serialised `ValueProto` of any type that float() takes; NaN for null."""
    return number(Value.FromString(stored))


def read_elements(stored: bytes, width: int) -> Sequence[float]:
    """The `width` numbers of a serialised array; NaN for null.

    Raises:
        OtherTypeError: it is not an array of numbers.
        ValueError: it has another length.
    """
    value = Value.FromString(stored)
    return [_NAN] * width if value.WhichOneof("val") in _NULL else _elements(value, width)


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
    return [number(value) for value in _messages(column, field)]


def categories_of(column: list[Any], field: Any) -> list[str | int | None]:
    """As `numbers_of`, of a category: texts or whole numbers, None for null."""
    kinds = [(value, value.WhichOneof("val")) for value in _messages(column, field)]
    return [None if kind in _NULL else getattr(value, kind) for value, kind in kinds]


def rows_of(column: list[Any], field: Any, inputs: Sequence[tuple[FeatureInput, int | None]]) -> list[list[float]]:
    """As `numbers_of`, of times and arrays: for every value one raw value per input.

    Args:
        inputs: what the model takes of the output, each with the array's length (see `raw_number`).
    """
    reads = [raw_number(given, width) for given, width in inputs]
    return [[read(value) for read in reads] for value in _messages(column, field)]


def _messages(column: list[Any], field: Any) -> list[Any]:
    messages: list[Any] = python_values_to_proto_values(column, field.dtype.to_value_type())
    return messages


def raw_number(given: FeatureInput, width: int | None) -> Callable[[Any], float]:
    """The function that turns a `ValueProto` into an input's raw value, as `RawFeatures` has it; NaN for null.

    It raises `OtherTypeError` for a category, a time or an array that is stored as something else, `ValueError` for an
    array of another length and for a time that no calendar holds. Numbers may be of any type that float() takes.

    Args:
        width: length of the array that the input is an element of.
    """
    if given.codes is not None:
        return partial(_code, kinds=_CATEGORIES[given.dtype], code=given.codes.code)
    if given.kind == "age":
        return _time
    if given.element is not None and width is not None:
        return partial(_element, width=width, at=given.element)
    return number


def reader_of(given: FeatureInput, width: int | None = None) -> Callable[[bytes], float]:
    """As `raw_number`, of a serialised `ValueProto`."""
    of_message, parsed = raw_number(given, width), Value.FromString
    return lambda stored: of_message(parsed(stored))


def number(value: Any) -> float:
    """The number that the model gets for a `ValueProto` of any type that float() takes; NaN for null."""
    kind = value.WhichOneof("val")
    return _NAN if kind in _NULL else float(getattr(value, kind))


def _code(value: Any, kinds: Sequence[str], code: Callable[[object], float]) -> float:
    kind = value.WhichOneof("val")
    if kind in kinds:
        return code(getattr(value, kind))
    if kind in _NULL:
        return _NAN
    raise OtherTypeError(f"{kind} where a category is expected")


def _time(value: Any) -> float:
    kind = value.WhichOneof("val")
    if kind == "unix_timestamp_val":
        seconds = value.unix_timestamp_val
        if seconds == _NULL_TIME:
            return _NAN
        if not _FIRST_SECOND <= seconds <= _LAST_SECOND:
            raise ValueError("a time that no calendar holds")
        return float(seconds)
    if kind in _NULL:
        return _NAN
    raise OtherTypeError(f"{kind} where a time is expected")


def _element(value: Any, width: int, at: int) -> float:
    return _NAN if value.WhichOneof("val") in _NULL else float(_elements(value, width)[at])


def _elements(value: Any, width: int) -> Sequence[float]:
    kind = value.WhichOneof("val")
    if kind not in _ARRAYS:
        raise OtherTypeError(f"{kind} where an array of numbers is expected")
    elements: Sequence[float] = getattr(value, kind).val
    if len(elements) != width:
        raise ValueError(f"an array of {len(elements)} numbers where {width} are expected")
    return elements


def row_unix_seconds(at: Any) -> float:
    """Unix seconds of a row's `Timestamp` from the SDK; NaN for 1970-01-01, which stands for a missing row."""
    return float(at.seconds + at.nanos / 1e9) if at.seconds or at.nanos else float("nan")
