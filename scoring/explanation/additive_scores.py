"""The scores of a pipeline's last step, as sums over the columns that it takes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

Space = Literal["log-odds", "class score", "probability", "value", "log of value"]
"""What the contributions add up to.

- log-odds: of the positive class, or of one class of two.
- class score: of one class, before the softmax or the one-vs-rest normalisation.
- probability: of one class, or of the positive class. Forests average the probabilities of their trees.
- value: the prediction of a regression.
- log of value: the natural logarithm of the prediction, where the model has a log link (Poisson, gamma, Tweedie).
"""


@dataclass(frozen=True)
class AdditiveScores:
    """An estimator with s scores: one per class of a multi-class task, else one.

    base_values: (s,).
    contributions: columns (n, m), as the step before passes them → (n, m, s).
    scores: the same → (n, s), computed by the estimator itself.
    in_float32: whether the estimator was trained on thresholds of float32 columns.
    """

    space: Space
    base_values: Floats
    contributions: Callable[[Any], Floats]
    scores: Callable[[Any], Floats]
    in_float32: bool


def of_both_classes(positive: AdditiveScores) -> AdditiveScores:
    """The scores of the negative and the positive class, from those of the positive one alone."""
    whole = 1.0 if positive.space == "probability" else 0.0  # a class's log-odds are the other's, negated

    def both(scores: Floats) -> Floats:
        return np.concatenate([whole - scores, scores], axis=-1)

    def contributions(columns: Any) -> Floats:
        found = positive.contributions(columns)
        return np.concatenate([-found, found], axis=-1)

    return AdditiveScores(
        space=positive.space,
        base_values=both(positive.base_values),
        contributions=contributions,
        scores=lambda columns: both(positive.scores(columns)),
        in_float32=positive.in_float32,
    )


def two_dimensional(scores: Any) -> Floats:
    """Scores as (n, s): scikit-learn gives (n,) where there is one."""
    found = np.asarray(scores, dtype=np.float64)
    return found.reshape(len(found), -1)


def dense(columns: Any) -> Floats:
    """Columns as a float64 matrix, whether they come as an array, a sparse matrix or a DataFrame."""
    return np.asarray(columns.toarray() if hasattr(columns, "toarray") else columns, dtype=np.float64)
