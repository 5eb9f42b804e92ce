"""Whether two computations of the same row agree: tolerances relative to the scores, one for each purpose and task."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from contract import ModelContract
from contract.tasks import TaskKind
from contract.values.histogram import Histogram
from scoring.task_outputs import Outputs

CONVERTED = 1e-5
"""Between a pipeline and the model that was converted from it."""
RECOMPUTED: Mapping[TaskKind, float] = {"binary": 1e-6, "multiclass": 1e-6, "regression": 1e-5}
"""Between two computations by the same model.

Models compute in float32, and the last bits of ONNX Runtime's scores depend on the number of rows in a batch.
"""


def deviations(one: ArrayLike, other: ArrayLike, unit: float = 1.0) -> NDArray[np.float64]:
    """|a − b| / max(unit, |a|) of n rows of scores, the largest of a row's classes; (n,).

    Args:
        one, other: (n,) or (n, c).
        unit: from `unit_of`, or `spread_of` the scores of a regression.
    """
    a, b = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    found: NDArray[np.float64] = np.abs(a - b) / np.maximum(unit, np.abs(a))
    return found if found.ndim == 1 else found.max(axis=1)


def spread_of(values: ArrayLike) -> float:
    """Standard deviation of n values of a regression; 1 if all are equal.

    A model computes in the size of its inputs, so values near zero are no more exact than others. And values that are
    all small are not equal because their differences are.
    """
    return float(np.std(np.asarray(values, dtype=np.float64))) or 1.0


def unit_of(contract: ModelContract) -> float:
    """The unit of the contract's scores: 1 for probabilities, for values the spread of their histogram's edges."""
    if contract.task.kind != "regression" or not isinstance(contract.scores, Histogram) or not contract.scores.edges:
        return 1.0
    return spread_of(contract.scores.edges)


def reproduced(logged: Outputs, again: Outputs, contract: ModelContract) -> NDArray[np.bool_]:
    """Which of n rows have the same probabilities or value within `RECOMPUTED`."""
    return np.less_equal(deviations(logged[0], again[0], unit_of(contract)), RECOMPUTED[contract.task.kind])


def same_answers(one: Outputs, other: Outputs, contract: ModelContract) -> NDArray[np.bool_]:
    """Which of n rows have the same decision or class; of a regression, the same value within `RECOMPUTED`."""
    return np.equal(one[1], other[1]) if len(one) > 1 else reproduced(one, other, contract)
