"""Arrow columns of stored features → the numbers that `contract.resolve` takes, and what on-demand code gets.

Equal to `scoring.feature_columns`, which does the same for the columns of pandas that Feast's join gives.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from contract import FeatureInput
from jobs.errors import JobError

Floats = NDArray[np.float64]


def raw_values(column: pa.Array, given: FeatureInput, width: int | None = None) -> Floats:
    """float64 (n,), NaN for null: numbers, codes of categories, unix seconds of timestamps, or an array's element.

    Args:
        width: length of every array.

    Raises:
        JobError: an array has another length.
    """
    if given.codes is not None:
        found = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        codes = given.codes.codes(found.dictionary.to_pylist())
        places = found.indices.fill_null(0).to_numpy(zero_copy_only=False)
        if not len(codes):
            return np.full(len(column), np.nan)
        values: Floats = codes[places]
        values[found.indices.is_null().to_numpy(zero_copy_only=False)] = np.nan
        return values
    if given.kind == "age":
        return _floats(_whole_seconds(column).cast(pa.int64()))
    if given.element is not None:
        lengths = set(pc.unique(pc.list_value_length(column.drop_null())).to_pylist())
        if other := sorted(lengths - {width}):
            raise JobError(f"feature {given.reference!r}: an array has {other[0]} elements, not {width}")
        elements = pc.list_element(column, given.element)
        # As Feast stores it online, a null element is 0; without a list there is none.
        column = pc.if_else(column.is_valid(), elements.fill_null(0), None)
    return _floats(column)


def python_values(column: pa.Array) -> list[Any]:
    """What on-demand code gets of n stored values, as online: times are whole seconds."""
    return list((_whole_seconds(column) if pa.types.is_timestamp(column.type) else column).to_pylist())


def _whole_seconds(column: pa.Array) -> pa.Array:
    """As Feast stores times online: without their fraction, before 1970 too."""
    unix_us = column.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
    return pc.divide(unix_us, 1_000_000).cast(pa.timestamp("s", tz="UTC"))  # towards zero


def _floats(column: pa.Array) -> Floats:
    numbers: Floats = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return numbers
