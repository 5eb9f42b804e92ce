"""Decoding without protobuf equals protobuf: what it accepts is read the same, what it refuses is refused."""

import importlib.util
import math
import struct
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.features.compiled import decoding as stored_values
from service.features.compiled.decoding import Stored, TimestampDecoder, UnreadableValueError, ValueDecoder

DTYPES = ["bool", "int32", "int64", "float32", "float64"]


def _feasts_messages() -> ModuleType:
    """Feast's own generated module, without the seconds that `import feast` takes."""
    feast = importlib.util.find_spec("feast")
    assert feast is not None
    assert feast.origin is not None
    file = Path(feast.origin).parent / "protos" / "feast" / "types" / "Value_pb2.py"
    spec = importlib.util.spec_from_file_location("feasts_value_pb2", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


Value = _feasts_messages().Value


def read_value(stored: bytes) -> Any:
    value = Value.FromString(stored)
    kind = value.WhichOneof("val")
    return None if kind in (None, "null_val") else getattr(value, kind)


def read_number(stored: bytes) -> float:
    value = read_value(stored)
    return math.nan if value is None else float(value)


def decoder() -> ValueDecoder:
    return ValueDecoder(read_value, read_number)


def varint(number: int, padding: int = 0) -> bytes:
    """`number` ≥ 0 with as many bytes too many, which every parser must take up to ten bytes."""
    groups = [number >> shift & 0x7F for shift in range(0, max(number.bit_length(), 1), 7)] + [0] * padding
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])


def as_uint64(number: int) -> int:
    return number % 2**64


_BITS32, _BITS64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
_NAN64 = st.integers(1, 2**52 - 1).map(lambda payload: 0x7FF0_0000_0000_0000 | payload)  # quiet and signalling
_NAN32 = st.integers(1, 2**23 - 1).map(lambda payload: 0x7F80_0000 | payload)
_EXTREMES = [0.0, -0.0, math.inf, -math.inf, 1e308, 5e-324, 3.4028234663852886e38]
_INTEGERS = st.sampled_from([0, 1, -1, 127, 128, 2**31 - 1, -(2**31), 2**53 + 1, 2**63 - 1, -(2**63)]) | st.integers(
    -(2**63), 2**63 - 1
)

doubles = st.one_of(
    _BITS64, _NAN64, st.sampled_from(_EXTREMES).map(lambda x: struct.unpack("<Q", struct.pack("<d", x))[0])
).map(lambda bits: b"\x29" + struct.pack("<Q", bits))
floats = st.one_of(_BITS32, _NAN32).map(lambda bits: b"\x35" + struct.pack("<I", bits))
integers = st.builds(
    lambda tag, number, padding: tag + varint(as_uint64(number), padding),
    st.sampled_from(
        [b"\x18", b"\x20", b"\x38", b"\x40", b"\xa0\x00", b"\x98\x01"]
    ),  # int32, int64, bool, time, …, null
    _INTEGERS,
    st.integers(0, 2),
)
ten_bytes = st.builds(lambda head, last: b"\x20" + head + last, st.just(b"\xff" * 9), st.binary(min_size=1, max_size=1))
canonical = st.one_of(
    st.builds(lambda n: Value(int64_val=n).SerializeToString(), _INTEGERS),
    st.builds(lambda n: Value(int32_val=n).SerializeToString(), st.integers(-(2**31), 2**31 - 1)),
    st.builds(lambda b: Value(bool_val=b).SerializeToString(), st.booleans()),
    st.builds(lambda t: Value(string_val=t).SerializeToString(), st.text(max_size=5)),
    st.builds(lambda x: Value(string_val=repr(x)).SerializeToString(), st.floats()),
)
unknown = st.builds(lambda field, n: varint(field << 3) + varint(n), st.integers(60, 2000), st.integers(0, 300))
anything = st.binary(max_size=12)
stored_value = st.one_of(
    doubles,
    floats,
    integers,
    ten_bytes,
    canonical,
    st.builds(bytes.__add__, canonical, unknown),
    st.builds(bytes.__add__, unknown, doubles),
    st.builds(bytes.__add__, canonical, doubles),  # twice: the last one counts
    st.builds(lambda whole, cut: whole[:cut], doubles | integers, st.integers(0, 9)),
    anything,
)
null = st.sampled_from([None, b""])

points_in_time = st.integers(10**15, 2 * 10**15).map(lambda n: Value(int64_val=n).SerializeToString())
column = st.one_of(
    st.lists(null | stored_value, min_size=1, max_size=6),
    st.lists(null | doubles, min_size=1, max_size=20),
    st.lists(null | floats, min_size=1, max_size=20),
    st.lists(null | canonical, min_size=1, max_size=20),
    st.lists(null | points_in_time, min_size=16, max_size=20),
    # As long as those, but not all of them are what they look like.
    st.builds(
        lambda times, other, at: [*times[:at], other, *times[at:]],
        st.lists(points_in_time, min_size=16, max_size=18),
        st.sampled_from([b"\x18", b"\x38", b"\x40", b"\x20"]).map(lambda tag: tag + b"\x80" * 7 + b"\x01")
        | st.just(b"\x20" + b"\x80" * 8)
        | st.binary(min_size=9, max_size=9),
        st.integers(0, 16),
    ),
    st.lists(ten_bytes, min_size=16, max_size=18),
    st.lists(_INTEGERS.map(lambda n: b"\x20" + varint(as_uint64(n) | 2**63)), min_size=16, max_size=18),
)


def outcome(read: Any, values: Sequence[Stored], null_is: object) -> list[Any] | None:
    """One after another by protobuf; None if it refuses one of them."""
    try:
        return [read(value) if value else null_is for value in values]
    except Exception:
        return None


@settings(max_examples=400, deadline=None)
@given(column, st.sampled_from(DTYPES))
@example([b"\x35" + struct.pack("<I", 0x7F80_0001), None], "float32")
@example([b"\x29" + struct.pack("<Q", 0x7FF0_0000_0000_0001)], "float64")
def test_a_column_of_numbers_equals_protobufs_value_by_value(values: list[Stored], dtype: str) -> None:
    expected = outcome(read_number, values, math.nan)
    read = decoder()

    for _ in range(2):  # the second time from what is remembered
        if expected is None:
            with pytest.raises(UnreadableValueError):
                read.numbers(values, dtype)
        else:
            numbers = read.numbers(values, dtype)
            assert np.float64 == numbers.dtype
            np.testing.assert_array_equal(expected, numbers)
            present = ~np.isnan(numbers)
            np.testing.assert_array_equal(np.signbit(np.array(expected)[present]), np.signbit(numbers[present]))


@settings(max_examples=400, deadline=None)
@given(column, st.sampled_from([*DTYPES, "string", "array(int64)"]))
@example([b"\x20" + varint(2**64 - 1)] * 16, "int64")
@example([b"\x20" + varint(2**70)] * 16, "int64")  # a byte longer than any integer may be
@example([b"\x20" + varint(10**15)] * 16 + [b"\x38" + varint(10**15)], "int64")  # the last one is a bool
@example([b"\x20" + varint(10**15)] * 16 + [b"\x18" + varint(10**15)], "int64")  # and here an int32
@example([b"\x20" + varint(10**15)] * 16 + [b"\x20\x05\x20" + varint(10**10, 1)], "int64")  # two in one
def test_a_column_of_python_values_equals_protobufs_value_by_value(values: list[Stored], dtype: str) -> None:
    expected = outcome(read_value, values, None)
    read = decoder()

    for _ in range(2):
        if expected is None:
            with pytest.raises(UnreadableValueError):
                read.python_values(values, dtype)
        else:
            actual = read.python_values(values, dtype)
            assert [(type(value), repr(value)) for value in expected] == [(type(v), repr(v)) for v in actual]


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_column_without_any_value_is_all_null(dtype: str) -> None:
    read = decoder()

    for count in (1, 40):
        assert np.isnan(read.numbers([None, b""] * count, dtype)).all()
        assert [None] * 2 * count == read.python_values([None, b""] * count, dtype)


def test_values_of_one_kind_are_not_taken_for_another_of_the_same_bytes() -> None:
    read = decoder()
    one = Value(bool_val=True).SerializeToString()

    assert [True] == read.python_values([one], "bool")
    assert [1.0] == read.numbers([one], "bool").tolist()
    assert isinstance(read.python_values([one], "bool")[0], bool)


class Counted:
    """Reads, and counts how often it had to."""

    def __init__(self, value: Any) -> None:
        self.times = 0
        self._value = value

    def __call__(self, stored: bytes) -> Any:
        self.times += 1
        return self._value(stored)


def test_a_value_that_was_read_before_is_not_read_again() -> None:
    count = Counted(bytes.decode)
    read = ValueDecoder(count, read_number)

    assert ["a", "b", "a"] == read.python_values([b"a", b"b", b"a"], "string")
    assert ["a"] == read.python_values([b"a"], "string")

    assert 2 == count.times


@pytest.mark.parametrize("value", [list, lambda _: {"a": 1}, lambda _: {1, 2}])
def test_a_value_that_can_be_changed_is_nobody_elses(value: Any) -> None:
    read = ValueDecoder(value, read_number)

    first, second = read.python_values([b"ab", b"ab"], "array(int64)")
    (third,) = read.python_values([b"ab"], "array(int64)")
    first.clear()

    assert value(b"ab") == second == third


def test_what_is_remembered_is_bounded_in_number_and_in_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_values, "_MEMO_SIZE", 10)
    count = Counted(bytes.decode)
    read = ValueDecoder(count, read_number)
    many, long = [b"%d" % number for number in range(11)], b"x" * 1000

    read.python_values([*many, b"0", long, long], "string")

    assert 11 + 1 + 2 == count.times


def test_bytes_that_were_refused_are_refused_again_and_the_error_tells_no_value() -> None:
    read = decoder()

    for _ in range(2):
        with pytest.raises(UnreadableValueError) as caught:
            read.numbers([Value(string_val="secret").SerializeToString()], "float64")
        assert "ValueError" == str(caught.value)


def test_event_times_are_read_once_each_and_a_missing_one_is_no_time() -> None:
    count = Counted(lambda stored: float(stored))
    read = TimestampDecoder(count)

    np.testing.assert_array_equal([1.5, math.nan, 1.5, math.nan], read.unix_seconds([b"1.5", None, b"1.5", b""]))

    assert 1 == count.times


def test_an_event_time_that_cannot_be_read_is_refused() -> None:
    def out_of_range(_: bytes) -> float:
        return datetime.fromtimestamp(10**12, UTC).timestamp()

    with pytest.raises(UnreadableValueError, match="ValueError"):
        TimestampDecoder(out_of_range).unix_seconds([b"x"])
