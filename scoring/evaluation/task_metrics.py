"""What a task's table of metrics holds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.tasks import TaskKind
from scoring.errors import LabelsError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Integers = NDArray[np.int64]
Labels = NDArray[Any]
"""(n,): bool for a binary task, int64 codes in the order of the contract's classes, or float64 for a regression."""

OfWeights = Callable[[Floats], float]
"""Weights, (n,) → the value of a metric on rows that are fixed."""

BINS = 10
"""Of equally many rows, by rising prediction: of calibration errors and curves."""

FEWEST_OF_A_CLASS = 20
"""Entities of each class below which an interval is meaningless."""


@dataclass(frozen=True)
class Metric:
    """A metric of scores against labels, in which a row of weight 2 counts as two rows.

    prepare: (labels, scores) → function of the weights. What does not depend on the weights is computed once, which
        makes the bootstrap fast.
    higher_is_better: None for a metric that is best at zero, or that says nothing about quality.
    for_baseline: defined for a baseline's scores, too. A binary task's baseline is a score on any scale, so only
        rankings of it are judged; a regression's is a prediction in the unit of the target; a multi-class task's is a
        probability of each class.
    in_target_unit: a value in the unit of the target; else a pure number.
    corrected: chance moves it in one direction, more so for fewer rows. Decide by
        `standard_error_interval(…, corrected=True)`.
    """

    name: str
    title: str
    prepare: Callable[[Labels, Floats], OfWeights] = field(repr=False)
    higher_is_better: bool | None
    for_baseline: bool = True
    in_target_unit: bool = False
    corrected: bool = False

    @property
    def format(self) -> str:
        """Format specification for reports; a target may have any magnitude."""
        return ".4g" if self.in_target_unit else ".3f"

    def __call__(self, labels: Labels, scores: Floats, weights: Floats | None = None) -> float:
        """The value; labels and weights (n,), scores (n,) or, for multi-class, (n, c)."""
        return self.prepare(labels, scores)(np.ones(len(labels)) if weights is None else weights)


@dataclass(frozen=True)
class Scored:
    """One model's scores of n rows.

    threshold: scores at or above it are decided positive; None where the task has no threshold.
    """

    scores: Floats
    threshold: float | None = None


@dataclass(frozen=True)
class TaskMetrics:
    """Everything about quality that depends on the task.

    metrics: by name, in the order of reports.
    levels: mean of the scores and of the labels, by name; the latter is the base rate of a binary task.
    calibration: the gate's metric of calibration.
    calibrated: (labels, scores) → what was observed and what was predicted, (n,) each; they agree on average, whatever
        the prediction, in a calibrated model.
    headline: name of the metric by which versions are judged unless the use case names another.
    fewest: entities of each class, or rows of a regression, below which an interval is meaningless.
    check: (labels, names of the classes); raises LabelsError if the labels do not fit the task. Names are in the
        order of the codes; of a binary task the positive class is the second; a regression has none.
    too_few: (labels, entities, names of the classes) → why they are too few for an interval, or "". Rows of one entity
        count once; entities are numbers (n,) or None if each row is another's.
    changed_decisions: (before, now, scale) → which rows, (n,), are decided differently.
    scale_of: labels → the scale for `changed_decisions`; a regression's scores can stand in for labels.
    moves: (scores before, scores now) → by how much each row's score moves, (n,), ≥ 0.
    rank_correlation: Spearman's, of two scores of the same rows; 0 if one is constant.
    """

    kind: TaskKind
    metrics: Mapping[str, Metric]
    levels: Mapping[str, Metric]
    calibration: Metric
    calibrated: Callable[[Labels, Floats], tuple[NDArray[Any], Floats]]
    headline: str
    fewest: int
    check: Callable[[Labels, Sequence[str]], None]
    too_few: Callable[[Labels, Integers | None, Sequence[str]], str]
    changed_decisions: Callable[[Scored, Scored, float], Bools]
    scale_of: Callable[[Labels], float]
    moves: Callable[[Floats, Floats], Floats]
    rank_correlation: Callable[[Floats, Floats], float]

    @property
    def for_baseline(self) -> dict[str, Metric]:
        """The metrics that are defined for a baseline's scores, too."""
        return {name: metric for name, metric in self.metrics.items() if metric.for_baseline}

    def calibration_points(self, labels: Labels, scores: Floats) -> tuple[tuple[float, float], ...]:
        """(mean predicted, mean observed) of `BINS` bins of equally many rows, by rising prediction; n ≥ `BINS`."""
        observed, predicted = self.calibrated(labels, scores)
        parts = np.array_split(np.argsort(predicted, kind="stable"), BINS)
        return tuple((float(predicted[part].mean()), float(observed[part].mean())) for part in parts)

    def metric(self, name: str) -> Metric:
        """A metric, a level or the calibration by its name.

        Raises:
            LabelsError: the task has no such metric.
        """
        known = {**self.metrics, self.calibration.name: self.calibration, **self.levels}
        if name not in known:
            raise LabelsError(f"a {self.kind} task has no metric {name!r}; it has {', '.join(known)}")
        return known[name]


def mean_of(values: NDArray[Any]) -> OfWeights:
    """Weighted mean of one value per row, (n,)."""
    return lambda weights: float(np.average(values, weights=weights))


def calibration_over_bins(observed: NDArray[Any], predicted: Floats, bins: int = BINS) -> OfWeights:
    """Mean |mean observed − mean predicted| over bins of equally many rows, in the order of `predicted`.

    Weights do not move the bins.
    """
    order = np.argsort(predicted, kind="stable")
    errors = observed[order] - predicted[order]
    parts = np.array_split(np.arange(len(order)), bins)

    def value(weights: Floats) -> float:
        excess = weights[order] * errors
        return float(sum(abs(excess[part].sum()) for part in parts) / weights.sum())

    return value


def by_name(*metrics: Metric) -> dict[str, Metric]:
    """Name → metric, in this order."""
    return {metric.name: metric for metric in metrics}
