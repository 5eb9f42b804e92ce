"""Runs on-demand views over columns of stored values and turns their outputs into numbers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

_NONE = type(None)
_PLAIN: Mapping[str, set[type]] = {
    "bool": {bool, _NONE},
    "int32": {int, np.int32, _NONE},
    "int64": {int, np.int64, _NONE},
    "float32": {float, int, np.float32, np.float64, _NONE},
    "float64": {float, int, np.float64, _NONE},
}
"""Output type → Python types that are converted here. Feast converts all other columns."""

_INTEGERS = {"int32": np.int32, "int64": np.int64}


Source = TypeVar("Source")
"""A reader's address of a stored column."""


@dataclass(frozen=True)
class Output:
    """An output of an on-demand view that is an input of the model.

    column: of the model's input.
    convert: Feast's conversion of a column of Python values, NaN for null; raises as Feast does.
    """

    column: int
    dtype: str
    convert: Callable[[list[Any]], list[float]]


@dataclass(frozen=True)
class OnDemandView(Generic[Source]):
    """An on-demand view in Python mode.

    inputs: stored column → the names by which the function reads it.
    """

    transform: Callable[[dict[str, Any]], Mapping[str, Any]]
    inputs: Mapping[Source, Sequence[str]]
    outputs: Mapping[str, Output]

    def compute(self, columns: dict[str, list[Any]], values: NDArray[np.float64]) -> None:
        """Write this view's outputs into `values`, float64 (n, k).

        Args:
            columns: every input under each of its names, n values each.

        Raises:
            Exception: any error of the view's own code, or Feast's error for what it returns.
        """
        computed = self.transform(columns)
        for name, output in self.outputs.items():
            if name in computed:  # as in Feast, a missing output is null
                values[:, output.column] = _numbers(computed[name], output)


def compile_on_demand(
    view: Any, columns: Mapping[str, int], source: Callable[[str, str], Source]
) -> OnDemandView[Source]:
    """Prepare an on-demand view of Feast's registry to compute model inputs.

    Args:
        columns: output field → column of the model's input.
        source: names of a stored view and of its field → the caller's address of that column.
    """
    from scoring.feast.values import numbers_of  # imports feast

    inputs = {
        source(projection.name, feature.name): (feature.name, f"{projection.name}__{feature.name}")
        for projection in view.source_feature_view_projections.values()
        for feature in projection.features
    }
    outputs = {
        field.name: Output(columns[field.name], str(field.dtype).lower(), partial(numbers_of, field=field))
        for field in view.schema
        if field.name in columns
    }
    return OnDemandView(view.feature_transformation.udf, inputs, outputs)


def obstacles(view: Any) -> Iterator[str]:
    """Reasons why an on-demand view cannot be run here as Feast's SDK runs it; empty if it can."""
    if view.mode != "python" or view.singleton or view.aggregations or view.write_to_online_store:
        yield f"on-demand view {view.name!r} is more than a Python function over columns"
    for projection in view.source_feature_view_projections.values():
        if is_renamed(projection):
            yield f"on-demand view {view.name!r} renames view {projection.name!r}"
        # Older rows may hold a UUID as text, which Feast also turns into a UUID.
        if any("uuid" in str(feature.dtype).lower() for feature in projection.features):
            yield f"on-demand view {view.name!r} takes a UUID"


def is_renamed(projection: Any) -> bool:
    """True if a feature service or an on-demand view renames a stored view or its join keys."""
    return bool(projection.name_alias) or bool(projection.join_key_map)


def _numbers(computed: Any, output: Output) -> "NDArray[np.float64] | list[float]":
    # As in Feast, a value that is not a list holds for every row.
    column = computed if isinstance(computed, list) else [computed]
    if not _PLAIN[output.dtype].issuperset(map(type, column)):
        return output.convert(column)
    if output.dtype in _INTEGERS:
        np.array([value for value in column if value is not None], _INTEGERS[output.dtype])  # raises if out of range
    numbers = np.array(column, dtype=np.float64)  # None becomes NaN
    if output.dtype == "float32":
        with np.errstate(over="ignore"):
            return numbers.astype(np.float32).astype(np.float64)
    return numbers
