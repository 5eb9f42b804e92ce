"""Metrics of a regression: targets and predictions are float64 (n,), in the unit of the target."""

from collections.abc import Callable, Sequence
from types import MappingProxyType

import numpy as np

from scoring.errors import LabelsError
from scoring.evaluation.binary import rank_correlation
from scoring.evaluation.task_metrics import (
    Bools,
    Floats,
    Integers,
    Labels,
    Metric,
    OfWeights,
    Scored,
    TaskMetrics,
    by_name,
    calibration_over_bins,
    mean_of,
)

FEWEST_ROWS = 100
"""Entities below which an interval is meaningless."""

FEWEST_OTHERS = 20
"""Entities whose target is not the most frequent one, below which an interval is meaningless: most may be zero."""

CHANGED_SHARE = 0.1
"""A prediction that moves by more than this share of the target's scale counts as a changed decision."""


def r_squared(target: Floats, prediction: Floats) -> OfWeights:
    """1 − squared errors ÷ squared distances from the mean (Kvålseth, 1985).

    Of a constant target it is 0, or 1 if every prediction is right, as in scikit-learn.
    """
    errors = (target - prediction) ** 2

    def value(weights: Floats) -> float:
        off = _dot(weights, errors)
        spread = _dot(weights, (target - np.average(target, weights=weights)) ** 2)
        return 1 - off / spread if spread else float(off == 0)

    return value


def spearman(target: Floats, prediction: Floats) -> OfWeights:
    """Correlation of the ranks, ties at their middle rank (Spearman, 1904); 0 if one is constant."""
    ranks = _ranks(target), _ranks(prediction)

    def value(weights: Floats) -> float:
        one, other = (rank(weights) for rank in ranks)
        one, other = one - np.average(one, weights=weights), other - np.average(other, weights=weights)
        spread = np.sqrt(_dot(weights, one**2) * _dot(weights, other**2))
        return _dot(weights, one * other) / float(spread) if spread else 0.0

    return value


def _dot(weights: Floats, values: Floats) -> float:
    """Not `@`: the threads of a BLAS library wait for each other on a busy machine, twenty times as long."""
    return float((weights * values).sum())


def _ranks(values: Floats) -> Callable[[Floats], Floats]:
    """Weights → middle ranks, (n,): the weight below a value and half of the weight at it."""
    _, group = np.unique(values, return_inverse=True)

    def ranks(weights: Floats) -> Floats:
        at = np.bincount(group, weights)
        middle: Floats = (np.cumsum(at) - at / 2)[group]
        return middle

    return ranks


def decile_error(target: Floats, prediction: Floats) -> OfWeights:
    """Mean |mean error| over deciles of the prediction, divided by the mean |target|. Weights do not move the deciles.

    Raises:
        LabelsError: of the weights, every target is 0.
    """
    distance, size = calibration_over_bins(target, prediction), mean_of(np.abs(target))

    def value(weights: Floats) -> float:
        typical = size(weights)
        if not typical:
            raise LabelsError("the error by decile is relative to the target, and every target is 0")
        return distance(weights) / typical

    return value


def _rmse(target: Floats, prediction: Floats) -> OfWeights:
    mean_square = mean_of((prediction - target) ** 2)
    return lambda weights: float(np.sqrt(mean_square(weights)))


def _check(labels: Labels, classes: Sequence[str]) -> None:
    del classes  # of a regression are none
    if labels.dtype != np.float64:
        raise LabelsError(f"labels of a regression are float64, not {labels.dtype}")
    if not len(labels):
        raise LabelsError("there are no rows")
    if bad := int((~np.isfinite(labels)).sum()):
        raise LabelsError(f"{bad:,} of {len(labels):,} labels are null or infinite")
    if not np.ptp(labels):
        raise LabelsError(f"all {len(labels):,} labels are {labels[0]:g}; there is nothing to predict")


def _too_few(labels: Floats, entities: Integers | None, classes: Sequence[str]) -> str:
    del classes
    whose = np.arange(len(labels)) if entities is None else entities
    values, counts = np.unique(labels, return_counts=True)
    if (rows := len(np.unique(whose))) < FEWEST_ROWS:
        return f"{rows} rows; at least {FEWEST_ROWS} are needed"
    usual = values[counts.argmax()]
    if (others := len(np.unique(whose[labels != usual]))) < FEWEST_OTHERS:
        return f"{others} rows with a target other than {usual:g}; at least {FEWEST_OTHERS} are needed"
    return ""


def _changed(before: Scored, now: Scored, scale: float) -> Bools:
    changed: Bools = np.abs(now.scores - before.scores) > CHANGED_SHARE * scale
    return changed


def _scale_of(labels: Floats) -> float:
    """Mean distance from the median: the MAE of the best constant prediction."""
    return float(np.abs(labels - np.median(labels)).mean())


REGRESSION = TaskMetrics(
    kind="regression",
    metrics=MappingProxyType(
        by_name(
            Metric(
                "mae",
                "mean absolute error",
                lambda y, p: mean_of(np.abs(p - y)),
                higher_is_better=False,
                in_target_unit=True,
            ),
            Metric("rmse", "root mean squared error", _rmse, higher_is_better=False, in_target_unit=True),
            Metric("bias", "mean error", lambda y, p: mean_of(p - y), higher_is_better=None, in_target_unit=True),
            Metric("r2", "R²", r_squared, higher_is_better=True),
            Metric("spearman", "Spearman's rank correlation", spearman, higher_is_better=True),
        )
    ),
    levels=MappingProxyType(
        by_name(
            Metric(
                "mean_prediction",
                "mean prediction",
                lambda _, p: mean_of(p),
                higher_is_better=None,
                in_target_unit=True,
            ),
            Metric("mean_target", "mean target", lambda y, _: mean_of(y), higher_is_better=None, in_target_unit=True),
        )
    ),
    calibration=Metric("decile_error", "error by decile", decile_error, higher_is_better=False, corrected=True),
    calibrated=lambda target, prediction: (target, prediction),
    headline="mae",
    fewest=FEWEST_ROWS,
    check=_check,
    too_few=_too_few,
    changed_decisions=_changed,
    scale_of=_scale_of,
    moves=lambda before, now: np.abs(now - before),
    rank_correlation=rank_correlation,
)
