"""On-demand views over columns that the compiled reader has decoded: run, and their outputs turned into numbers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
"""Output type → Python types whose conversion is known here; any other column is left to Feast."""

_INTEGERS = {"int32": np.int32, "int64": np.int64}


@dataclass(frozen=True)
class StoredColumn:
    """A hash field: its place in the reply and what it holds."""

    position: int
    dtype: str


@dataclass(frozen=True)
class Output:
    """An output that the model takes.

    column: of the model's input.
    convert: column of Python values → what Feast makes of it, NaN for null; raises as Feast does.
    """

    column: int
    dtype: str
    convert: Callable[[list[Any]], list[float]]


@dataclass(frozen=True)
class OnDemandView:
    """An on-demand view in Python mode.

    inputs: stored column → the names under which the function finds it.
    """

    transform: Callable[[dict[str, Any]], Mapping[str, Any]]
    inputs: Mapping[StoredColumn, Sequence[str]]
    outputs: Mapping[str, Output]

    def compute(self, columns: dict[str, list[Any]], values: NDArray[np.float64]) -> None:
        """Fill this view's outputs into `values`, float64 (n, k).

        Args:
            columns: every input by each of its names, n values each.

        Raises:
            Exception: whatever the view's own code raises, or Feast for what that code returns.
        """
        computed = self.transform(columns)
        for name, output in self.outputs.items():
            if name in computed:  # as in Feast, an output that is left out is null
                values[:, output.column] = _numbers(computed[name], output)


def _numbers(computed: Any, output: Output) -> "NDArray[np.float64] | list[float]":
    # As in Feast, what is not a list is one value for every row.
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
