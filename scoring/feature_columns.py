"""Columns of a point-in-time join or of a batch → the numbers that `contract.resolve` takes.

Training, batch scoring and audits encode by these functions, and the online readers agree with them: see the parity
tests.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from contract import FeatureInput, FeatureSpec
from contract.feature_schema import array_widths
from scoring.errors import FeatureColumnError

Floats = NDArray[np.float64]


def encoded(columns: Mapping[str, "pd.Series[Any]"] | pd.DataFrame, inputs: Sequence[FeatureInput]) -> Floats:
    """The raw values of n rows: float64 (n, k) in the order of `inputs`, as `RawFeatures` has them.

    Args:
        columns: feature reference → column of n values, as Feast gives it.

    Raises:
        FeatureColumnError: a column holds values of another type than the input.
    """
    made, widths = [], array_widths(inputs)
    for given in inputs:
        column = columns[given.reference]
        if given.codes is None:
            made.append(numbers_of(column, given, widths.get(given.reference)))
        else:
            made.append(given.codes.codes(categories_of(column, given)))
    return np.column_stack(made)


def numbers_of(column: "pd.Series[Any]", given: FeatureSpec, width: int | None = None) -> Floats:
    """A column of n numbers, times (unix seconds) or arrays (one of their elements): float64 (n,), NaN for null.

    Args:
        width: length of every array.

    Raises:
        FeatureColumnError: see `encoded`.
    """
    try:
        if given.kind == "age":
            return _unix_seconds(column)
        if given.element is None:
            return np.asarray(column.astype(np.float64))
        return np.array([_element(value, given.element, width) for value in column], dtype=np.float64)
    except (TypeError, ValueError, IndexError) as error:
        said = (str(error).splitlines() or [""])[0]
        raise FeatureColumnError(f"feature {given.reference!r}: its values are not {given.dtype}: {said}") from None


def categories_of(column: "pd.Series[Any]", given: FeatureSpec) -> list[str | int | None]:
    """A column of n categories; None for null.

    Raises:
        FeatureColumnError: see `encoded`.
    """
    values: list[Any] = [None if null else value for value, null in zip(column.tolist(), column.isna(), strict=True)]
    fits = _is_text if given.dtype == "string" else _is_whole
    wrong = next((value for value in values if value is not None and not fits(value)), None)
    if wrong is not None:
        raise FeatureColumnError(
            f"feature {given.reference!r}: its values are not {given.dtype}, but {type(wrong).__name__}"
        )
    if given.dtype == "string":
        return values
    return [None if value is None else int(value) for value in values]


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_whole(value: Any) -> bool:
    """Beside a null, pandas makes floats of whole numbers."""
    if isinstance(value, float):
        return value.is_integer()
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _unix_seconds(column: "pd.Series[Any]") -> Floats:
    """Whole seconds since 1970, as Feast stores them online: without their fraction, before 1970 too."""
    if not pd.api.types.is_datetime64_any_dtype(column):
        column = pd.to_datetime(column, utc=True)
    if column.dt.tz is None:
        column = column.dt.tz_localize("UTC")
    at_us = column.dt.as_unit("us").astype("int64").to_numpy()
    seconds: Floats = np.sign(at_us) * (np.abs(at_us) // 1_000_000).astype(np.float64)
    seconds[column.isna().to_numpy()] = np.nan
    return seconds


def _element(value: Any, at: int, width: int | None) -> float:
    if value is None or (isinstance(value, float) and value != value):
        return np.nan
    if len(value) != width:
        raise ValueError(f"an array has {len(value)} elements, not {width}")
    element = float("nan") if value[at] is None else float(value[at])
    if element != element:
        raise ValueError("an array has a null or NaN element, and Feast stores a null one as 0")
    return element
