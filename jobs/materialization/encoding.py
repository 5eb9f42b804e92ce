"""Encodes feature rows as Feast stores them in Redis, by column, without a Python object per value.

One hash per entity. Its key is the serialised entity key (version 3) and the project. Each feature is a serialised
`ValueProto` under the murmur3 hash of `view:feature`; null is the empty string. `_ts:view` is a serialised `Timestamp`.
Types other than numbers, bools and strings go through Feast's own conversion. When a format is made, samples are
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
from jobs.materialization.byte_columns import (
    NO_VALUE,
    concatenate,
    fixed_width,
    for_each_length,
    tag_cells,
    varint,
    varints,
)
from jobs.materialization.key_columns import KeyColumns
from jobs.offline_store.latest_rows import ViewSource

if TYPE_CHECKING:
    from feast import FeatureStore, FeatureView

_TAGS = {"string": 0x12, "int32": 0x18, "int64": 0x20, "float64": 0x29, "float32": 0x35, "bool": 0x38}
"""Feast's type → field number and wire type in `ValueProto`."""
_SECONDS_TAG, _NANOS_TAG = 0x08, 0x10
_US = 1_000_000
_SAMPLES: dict[str, pa.Array] = {
    "string": pa.array(["", "Zoë Ωμέγα", "x" * 200], pa.string()),
    "int32": pa.array([0, 127, 128, -1, 2**31 - 1, -(2**31)], pa.int32()),
    "int64": pa.array([0, 127, 128, -1, 2**63 - 1, -(2**63)], pa.int64()),
    "float64": pa.array([0.0, -0.0, 0.1, float("nan"), float("-inf"), 5e-324], pa.float64()),
    "float32": pa.array([0.0, -0.0, 0.5, float("nan"), float("inf"), 2.0**-149], pa.float32()),
    "bool": pa.array([True, False], pa.bool_()),
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
class StoredFormat:
    """How Redis stores the rows of one feature view.

    time_field: hash field of the view's event time.
    fields: hash fields of the features, in the view's order.
    convert: column → Feast's own conversion of its values.
    encoded_here: columns of types that this module encodes; the others go through `convert`.
    """

    source: ViewSource
    keys: KeyColumns
    time_field: bytes
    fields: tuple[bytes, ...]
    convert: dict[str, Callable[[pa.Array], list[bytes]]]
    encoded_here: frozenset[str]

    @classmethod
    def of(cls, store: "FeatureStore", feature_view: "FeatureView") -> "StoredFormat":
        """Make the format of a view and compare it with Feast's own code.

        Raises:
            OtherFormatError: they differ.
        """
        from scoring.feast.redis_layout import KeyLayout, feature_field, time_field
        from scoring.feast.values import stored_values

        source = ViewSource.of(feature_view)
        made = cls(
            source=source,
            keys=KeyColumns(KeyLayout.of(store.project, {source.join_key: "string"})),
            time_field=time_field(source.name),
            fields=tuple(feature_field(source.name, field.name) for field in feature_view.features),
            convert={
                field.name: partial(_stored_by_feast, stored_values, field.dtype.to_value_type())
                for field in feature_view.features
            },
            encoded_here=frozenset(
                column for column, dtype in zip(source.columns, source.dtypes, strict=True) if dtype in _TAGS
            ),
        )
        _compare_with_feast(made, store.project)
        return made

    def fields_of(self, keys: pa.StringArray) -> tuple[pa.BinaryArray, tuple[bytes, ...]]:
        """Redis' keys of the entities, and the view's hash fields; the first is the event time."""
        return self.encode_keys(keys), (self.time_field, *self.fields)

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
        return StoredHashes(self.encode_keys(_column(rows, self.source.join_key)), fields)

    def as_feast_stores(self, rows: pa.Table, column: str) -> list[bytes]:
        """Encode a column by Feast's own conversion: slow, for a sample of rows.

        Nulls are left out, because beside a null Feast turns whole numbers into floats, which are exact only to 2⁵³.
        """
        values = _column(rows, column)
        if column not in self.encoded_here:
            return self.convert[column](values)
        converted = iter(self.convert[column](values.drop_null()))
        return [next(converted) if there else b"" for there in values.is_valid().to_pylist()]

    def encode_keys(self, ids: pa.StringArray) -> pa.BinaryArray:
        """Redis key of each id."""
        return self.keys.encode([ids])

    def decode_keys(self, keys: Iterable[bytes]) -> pa.StringArray:
        """The id in each key, see `KeyColumns.decode`."""
        return self.keys.decode(keys)[0]


def fields_of_view(view: "FeatureView") -> tuple[bytes, ...]:
    """Hash fields of a view; the first is the event time."""
    from scoring.feast.redis_layout import feature_field, time_field

    return (time_field(view.name), *(feature_field(view.name, field.name) for field in view.features))


def encode_values(column: pa.Array, dtype: str) -> pa.BinaryArray:
    """Encode each value as a serialised `ValueProto`; null and NaN as the empty string.

    Args:
        dtype: float64, float32, int64, int32, bool or string; the column has this type.
    """
    tag = _TAGS[dtype]
    if dtype == "string":
        raw = column.cast(pa.binary())
        filled = pc.fill_null(raw, b"")
        lengths = for_each_length(filled, lambda length: bytes([tag]) + varint(length))
        encoded = pc.binary_join_element_wise(lengths, filled, NO_VALUE)
    elif dtype in ("float64", "float32"):
        cells = np.empty(len(column), dtype=[("tag", "u1"), ("value", "<f8" if dtype == "float64" else "<f4")])
        cells["tag"], cells["value"] = tag, pc.fill_null(column, 0).to_numpy(zero_copy_only=False)
        encoded = fixed_width(cells)
        return pc.if_else(pc.fill_null(pc.is_nan(column), True), NO_VALUE, encoded)
    else:
        whole = pc.fill_null(column.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
        encoded = concatenate(tag_cells(tag, len(whole)), varints(whole))
    return pc.if_else(pc.is_null(column), NO_VALUE, encoded)


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

    ids = _SAMPLES["string"]
    keys = [feast_key(project, {made.source.join_key: "string"}, key) for key in ids.to_pylist()]
    if made.encode_keys(ids).to_pylist() != keys:
        raise OtherFormatError("this version of feast lays out its Redis keys differently")
    for dtype, samples in _SAMPLES.items():
        own = _stored_by_feast(stored_values, value_type(dtype), samples)
        if encode_values(samples, dtype).to_pylist() != own:
            raise OtherFormatError(f"this version of feast stores {dtype} differently")
    if encode_times(pa.array(_TIMES, pa.timestamp("us", tz="UTC"))).to_pylist() != [own_time(at) for at in _TIMES]:
        raise OtherFormatError("this version of feast stores event times differently")
