"""Encodes feature rows as Feast stores them in Redis, by column, without a Python object per value.

One hash per entity. Its key is the serialised entity key (version 3) and the project. Each feature is a serialised
`ValueProto` under the murmur3 hash of `view:feature`; null is the empty string. `_ts:view` is a serialised `Timestamp`.
Types without an encoder here go through Feast's own conversion. When a format is made, samples are
compared with Feast's own encoding.
Sources: feast/infra/online_stores/redis.py, feast/protos/feast/types/Value.proto and
https://protobuf.dev/programming-guides/encoding/.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jobs.errors import JobError
from jobs.materialization.redis_store.byte_columns import (
    NO_VALUE,
    binary,
    concatenate,
    fixed_width,
    for_each_length,
    tag_cells,
    varint,
    varints,
)
from jobs.materialization.redis_store.key_columns import KeyColumns
from jobs.offline_store.latest_rows import ViewSource

if TYPE_CHECKING:
    from feast import FeatureStore, FeatureView

_SECONDS_TAG, _NANOS_TAG = 0x08, 0x10
_US = 1_000_000
_SAMPLES: dict[str, pa.Array] = {
    "string": pa.array(["", "Zoë Ωμέγα", "x" * 200], pa.string()),
    "int32": pa.array([0, 127, 128, -1, 2**31 - 1, -(2**31)], pa.int32()),
    "int64": pa.array([0, 127, 128, -1, 2**63 - 1, -(2**63)], pa.int64()),
    "float64": pa.array([0.0, -0.0, 0.1, float("nan"), float("-inf"), 5e-324], pa.float64()),
    "float32": pa.array([0.0, -0.0, 0.5, float("nan"), float("inf"), 2.0**-149], pa.float32()),
    "bool": pa.array([True, False], pa.bool_()),
    "unixtimestamp": pa.array([0, 999_999, -1, -1_000_001, None, 2**55], pa.timestamp("us", tz="UTC")),
    "array(float64)": pa.array([[0.1, -0.0], [], None, [float("nan"), None], [1.0] * 20], pa.list_(pa.float64())),
    "array(float32)": pa.array([[0.1, -0.0], [], None, [float("nan"), None], [1.0] * 40], pa.list_(pa.float32())),
}
_TIMES = [datetime(1970, 1, 1, tzinfo=UTC), datetime(1969, 7, 20, 20, 17, 0, 1, UTC), datetime(2026, 1, 2, tzinfo=UTC)]


class OtherFormatError(Exception):
    """The installed Feast encodes something differently from this module; the message says what."""


@dataclass(frozen=True)
class StoredHashes:
    """Redis hashes of n entities, all with the same fields.

    keys: binary (n,).
    fields: field of the hash → its values, binary (n,); the first is the event time.
    """

    keys: pa.BinaryArray
    fields: dict[bytes, pa.BinaryArray]


@dataclass(frozen=True)
class FeastFormat:
    """How Feast stores the values of one feature view, in any online store.

    convert: column → Feast's own conversion of its values.
    encoded_here: columns of types that this module encodes; the others go through `convert`.
    """

    source: ViewSource
    convert: dict[str, Callable[[pa.Array], list[bytes]]]
    encoded_here: frozenset[str]

    @classmethod
    def of_view(cls, feature_view: "FeatureView", source: ViewSource) -> "FeastFormat":
        """The format of a view with the rows of `source`."""
        from scoring.feast.values import stored_values

        return cls(
            source=source,
            convert={
                field.name: partial(_stored_by_feast, stored_values, field.dtype.to_value_type())
                for field in feature_view.features
            },
            encoded_here=frozenset(
                column for column, dtype in zip(source.columns, source.dtypes, strict=True) if dtype in _ENCODERS
            ),
        )

    def as_feast_stores(self, rows: pa.Table, column: str) -> list[bytes]:
        """Encode a column by Feast's own conversion: slow, for a sample of rows.

        Nulls of numbers are left out, because beside a null Feast turns whole numbers into floats, which are exact
        only to 2⁵³.
        """
        values = _column(rows, column)
        if column not in self.encoded_here or pa.types.is_timestamp(values.type):
            return self.convert[column](values)
        converted = iter(self.convert[column](values.drop_null()))
        return [next(converted) if there else b"" for there in values.is_valid().to_pylist()]


@dataclass(frozen=True)
class StoredFormat(FeastFormat):
    """How Redis stores the rows of one feature view.

    time_field: hash field of the view's event time.
    fields: hash fields of the features, in the view's order.
    """

    keys: KeyColumns
    time_field: bytes
    fields: tuple[bytes, ...]

    @classmethod
    def of(cls, store: "FeatureStore", feature_view: "FeatureView") -> "StoredFormat":
        """Make the format of a view and compare it with Feast's own code.

        Raises:
            OtherFormatError: they differ.
        """
        from scoring.feast.redis_layout import KeyLayout, feature_field, time_field

        source = ViewSource.of(feature_view, store.repo_path)
        values = FeastFormat.of_view(feature_view, source)
        made = cls(
            source=source,
            keys=KeyColumns(KeyLayout.of(store.project, dict(zip(source.join_keys, source.key_dtypes, strict=True)))),
            time_field=time_field(source.name),
            fields=tuple(feature_field(source.name, field.name) for field in feature_view.features),
            convert=values.convert,
            encoded_here=values.encoded_here,
        )
        _compare_with_feast(made, store.project)
        return made

    @property
    def hash_fields(self) -> tuple[bytes, ...]:
        """All hash fields of the view; the first is the event time."""
        return (self.time_field, *self.fields)

    def encode(self, rows: pa.Table) -> StoredHashes:
        """Encode rows of `latest_rows`.

        Raises:
            JobError: Feast's own conversion refuses a column; names it.
        """
        fields = {self.time_field: encode_times(_column(rows, self.source.timestamp_field))}
        for field, column, dtype in zip(self.fields, self.source.columns, self.source.dtypes, strict=True):
            if column in self.encoded_here:
                values = encode_values(_column(rows, column), dtype)
            else:
                try:
                    values = pa.array(self.convert[column](_column(rows, column)), pa.binary())
                except (TypeError, ValueError, AssertionError, OverflowError) as error:
                    raise JobError(
                        f"view {self.source.name}: feast cannot store column {column!r} as {dtype}"
                        f" ({type(error).__name__})"
                    ) from None
            fields[field] = values
        return StoredHashes(self.encode_keys(rows), fields)

    def encode_keys(self, rows: pa.Table) -> pa.BinaryArray:
        """Redis key of each row, which has a column per join key."""
        return self.keys.encode([_column(rows, name) for name in self.source.join_keys])

    def decode_keys(self, keys: Iterable[bytes]) -> pa.Table:
        """The values in each key, a column per join key; see `KeyColumns.decode`."""
        return pa.table(dict(zip(self.source.join_keys, self.keys.decode(keys), strict=True)))


def fields_of_view(view: "FeatureView") -> tuple[bytes, ...]:
    """Hash fields of a view; the first is the event time."""
    from scoring.feast.redis_layout import feature_field, time_field

    return (time_field(view.name), *(feature_field(view.name, field.name) for field in view.features))


def encode_values(column: pa.Array, dtype: str) -> pa.BinaryArray:
    """Encode each value as a serialised `ValueProto`; null, and a number that is NaN, as the empty string.

    Args:
        dtype: Feast's type, in lower case; the column has this type.
    """
    return _ENCODERS[dtype](column)


def _encode_text(tag: int, column: pa.Array) -> pa.BinaryArray:
    filled = pc.fill_null(column.cast(pa.binary()), b"")
    lengths = for_each_length(filled, lambda length: bytes([tag]) + varint(length))
    return _or_null(column, pc.binary_join_element_wise(lengths, filled, NO_VALUE))


def _encode_floats(tag: int, value_format: str, column: pa.Array) -> pa.BinaryArray:
    cells = np.empty(len(column), dtype=[("tag", "u1"), ("value", value_format)])
    cells["tag"], cells["value"] = tag, pc.fill_null(column, 0).to_numpy(zero_copy_only=False)
    return pc.if_else(pc.fill_null(pc.is_nan(column), True), NO_VALUE, fixed_width(cells))


def _encode_whole(tag: int, column: pa.Array) -> pa.BinaryArray:
    whole = pc.fill_null(column.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
    return _or_null(column, concatenate(tag_cells(tag, len(whole)), varints(whole)))


def _encode_seconds(tag: int, column: pa.Array) -> pa.BinaryArray:
    """Whole seconds since 1970; null is the least whole number, as numpy makes it of NaT."""
    unix_us = column.cast(pa.int64())
    seconds = pc.fill_null(unix_us, 0).to_numpy(zero_copy_only=False) // _US
    seconds[unix_us.is_null().to_numpy(zero_copy_only=False)] = np.iinfo(np.int64).min
    return concatenate(tag_cells(tag, len(seconds)), varints(seconds))


def _encode_float_lists(tag: bytes, value_format: str, column: pa.Array) -> pa.BinaryArray:
    """Packed numbers in a message in a message; null among the numbers is NaN, as numpy makes it."""
    width = np.dtype(value_format).itemsize
    numbers = pc.fill_null(column.flatten(), np.nan).to_numpy(zero_copy_only=False).astype(value_format)
    counts = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    packed = binary(numbers.view(np.uint8), counts * np.int64(width))

    def head(length: int) -> bytes:
        inner = b"\x0a" + varint(length) if length else b""
        return tag + varint(len(inner) + length) + inner

    return _or_null(column, pc.binary_join_element_wise(for_each_length(packed, head), packed, NO_VALUE))


def _or_null(column: pa.Array, encoded: pa.BinaryArray) -> pa.BinaryArray:
    return pc.if_else(pc.is_null(column), NO_VALUE, encoded)


_ENCODERS: dict[str, Callable[[pa.Array], pa.BinaryArray]] = {
    "string": partial(_encode_text, 0x12),
    "int32": partial(_encode_whole, 0x18),
    "int64": partial(_encode_whole, 0x20),
    "float64": partial(_encode_floats, 0x29, "<f8"),
    "float32": partial(_encode_floats, 0x35, "<f4"),
    "bool": partial(_encode_whole, 0x38),
    "unixtimestamp": partial(_encode_seconds, 0x40),
    "array(float64)": partial(_encode_float_lists, b"\x7a", "<f8"),
    "array(float32)": partial(_encode_float_lists, b"\x82\x01", "<f4"),
}
"""Feast's type → the encoder of its values; the tag is the field number and wire type in `ValueProto`."""


def encode_times(times: pa.TimestampArray) -> pa.BinaryArray:
    """Encode times in microseconds as serialised `Timestamp`s; protobuf omits a part that is 0."""
    unix_us = times.cast(pa.int64()).to_numpy(zero_copy_only=False)
    seconds, nanos = unix_us // _US, unix_us % _US * 1_000
    return concatenate(
        tag_cells(_SECONDS_TAG, len(seconds), seconds != 0),
        varints(seconds, seconds != 0),
        tag_cells(_NANOS_TAG, len(nanos), nanos != 0),
        varints(nanos, nanos != 0),
    )


def _column(rows: pa.Table, name: str) -> pa.Array:
    column = rows[name].combine_chunks()
    return pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column


def _stored_by_feast(
    stored_values: Callable[[NDArray[Any], Any], list[bytes]], value_type: Any, column: pa.Array
) -> list[bytes]:
    return stored_values(column.to_numpy(zero_copy_only=False), value_type)


def _compare_with_feast(made: StoredFormat, project: str) -> None:
    from google.protobuf.timestamp_pb2 import Timestamp

    from scoring.feast.redis_layout import feast_key
    from scoring.feast.values import stored_values, value_type

    def own_time(at: datetime) -> bytes:
        stamp = Timestamp()
        stamp.FromDatetime(at)
        return bytes(stamp.SerializeToString())

    join_keys = dict(zip(made.source.join_keys, made.source.key_dtypes, strict=True))
    rows = pa.table({name: _SAMPLES[dtype][:3] for name, dtype in join_keys.items()})
    keys = [feast_key(project, join_keys, tuple(values)) for values in zip(*rows.to_pydict().values(), strict=True)]
    if made.encode_keys(rows).to_pylist() != keys:
        raise OtherFormatError("this version of feast lays out its Redis keys differently")
    for dtype, samples in _SAMPLES.items():
        own = _stored_by_feast(stored_values, value_type(dtype), samples)
        if encode_values(samples, dtype).to_pylist() != own:
            raise OtherFormatError(f"this version of feast stores {dtype} differently")
    if encode_times(pa.array(_TIMES, pa.timestamp("us", tz="UTC"))).to_pylist() != [own_time(at) for at in _TIMES]:
        raise OtherFormatError("this version of feast stores event times differently")
