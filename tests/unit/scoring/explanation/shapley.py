"""Shapley values by their definition, and rows to explain."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NAMES = ["visits__count", "visits__days_since", "profile__plan", "profile__noise"]
"""The third is a code of four categories; the last has nothing to do with any target."""


def some_rows(rows: int = 300, seed: int = 5) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    columns = (
        random.poisson(3, rows),
        random.exponential(60, rows),
        random.integers(0, 4, rows),
        random.normal(0, 1, rows),
    )
    return pd.DataFrame(dict(zip(NAMES, columns, strict=True)), dtype=np.float32)


def targets(task: str, rows: pd.DataFrame) -> NDArray[Any]:
    """A target of a task that follows from the inputs with some noise."""
    count, days, plan, _ = (rows[name].to_numpy(dtype=np.float64) for name in NAMES)
    signal = 0.5 * count - days / 40 + np.array([0.0, 1.5, -1.0, 0.5])[plan.astype(int)]
    signal += np.random.default_rng(9).normal(0, 0.7, len(rows))
    if task == "binary":
        return np.asarray(signal > 0)
    if task == "multiclass":
        return np.asarray(np.digitize(signal, [-0.7, 0.8]))
    return np.asarray(np.exp(signal / 2))  # of a regression: positive, as gamma and Poisson losses need it


def matrix_of(rows: pd.DataFrame) -> NDArray[np.float32]:
    return np.ascontiguousarray(rows.to_numpy(dtype=np.float32))


def shapley_values(value: Callable[[frozenset[int]], float], inputs: int) -> Floats:
    """Shapley (1953): an input's mean gain over all orders in which inputs become known.

    Args:
        value: the score when only these inputs are known.
    """
    gains = np.zeros(inputs)
    for order in itertools.permutations(range(inputs)):
        for at, added in enumerate(order):
            gains[added] += value(frozenset(order[: at + 1])) - value(frozenset(order[:at]))
    return gains / math.factorial(inputs)
