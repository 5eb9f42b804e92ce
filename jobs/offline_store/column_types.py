"""Types of a view's columns: what a Parquet file may hold of each, and how DuckDB reads it."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.errors import JobError

if TYPE_CHECKING:
    from jobs.offline_store.latest_rows import ViewSource


def _is_whole(found: pa.DataType) -> bool:
    """True for types of whole numbers; DuckDB's integer sums are decimals without a fraction."""
    return bool(pa.types.is_integer(found) or (pa.types.is_decimal(found) and found.scale == 0))


def _is_text(found: pa.DataType) -> bool:
    """True for text, also for text by dictionary, as a category of pandas is written."""
    plain = found.value_type if pa.types.is_dictionary(found) else found
    return bool(pa.types.is_string(plain) or pa.types.is_large_string(plain))


def _is_float_list(found: pa.DataType) -> bool:
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(is_list(found) for is_list in lists) and bool(pa.types.is_floating(found.value_type))


COLUMN_TYPES: dict[str, tuple[Callable[[pa.DataType], bool], str]] = {
    "float64": (pa.types.is_float64, "DOUBLE"),
    "float32": (pa.types.is_float32, "FLOAT"),
    "int64": (_is_whole, "BIGINT"),
    "int32": (_is_whole, "INTEGER"),
    "bool": (pa.types.is_boolean, "BOOLEAN"),
    "string": (_is_text, "VARCHAR"),
    "array(float64)": (_is_float_list, "DOUBLE[]"),
    "array(float32)": (_is_float_list, "FLOAT[]"),
    "unixtimestamp": (pa.types.is_timestamp, "TIMESTAMPTZ"),
}
"""Feast's type → check of the Parquet type, and the DuckDB type it is read as. Other types are read unchanged."""


def check_columns(source: "ViewSource") -> None:
    """Check every file's schema against the feature view.

    Raises:
        JobError: a file is not Parquet, or a column is missing or of another type; names both.
    """
    wanted: dict[str, tuple[str, Callable[[pa.DataType], bool]]] = {
        source.timestamp_field: ("a timestamp", pa.types.is_timestamp),
    }
    if source.created_timestamp_field:
        wanted[source.created_timestamp_field] = ("a timestamp", pa.types.is_timestamp)
    columns, dtypes = (*source.join_keys, *source.columns), (*source.key_dtypes, *source.dtypes)
    for column, dtype in zip(columns, dtypes, strict=True):
        wanted[column] = (dtype, COLUMN_TYPES[dtype][0] if dtype in COLUMN_TYPES else lambda _: True)
    for file in source.files():
        try:
            schema = pq.read_schema(file)
        except (pa.ArrowInvalid, OSError) as error:
            raise JobError(f"{file}: is not readable as Parquet ({str(error).splitlines()[0]})") from None
        for column, (dtype, fits) in wanted.items():
            if column not in schema.names:
                raise JobError(f"{file}: has no column {column!r}, which the view {source.name} declares")
            found = schema.field(column).type
            if not fits(found) and not (pa.types.is_null(found) and column in source.columns):  # all values are null
                raise JobError(f"{file}: column {column!r} is {found}; the view {source.name} declares {dtype}")
