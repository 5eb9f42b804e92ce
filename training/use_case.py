"""What a user writes: one `UseCase` object. It says what is trained, on which rows, and how it is judged.

    USE_CASE = UseCase(name="household_spend", feature_service="spend_v1", task=Regression(target="spend_28d"), …)

in `use_case.py` of the folder that the variable `USE_CASE` names.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from contract import Population
from scoring.evaluation import Floats, Labels, metrics_of
from training.row_splits.split_rows import RowSplits
from training.row_splits.table_splits import LabelTable, RandomSplit, TableSplits
from training.row_splits.time_splits import LabelSource, TimeSplits
from training.tasks import Binary, Multiclass, Regression, Task

__all__ = [
    "Baseline",
    "Binary",
    "ByCategory",
    "ByFeature",
    "Gate",
    "LabelSource",
    "LabelTable",
    "Mean",
    "Multiclass",
    "Population",
    "RandomSplit",
    "Regression",
    "TableSplits",
    "TimeSplits",
    "UseCase",
    "at_least",
    "at_most",
]

Candidate = Callable[[int], Any]
"""Seed → a pipeline of scikit-learn that is not fitted yet."""

_TENTHS = np.linspace(0, 1, 11)[1:-1]


def at_most(feature: str, bound: float) -> Population:
    """Rows whose input `feature` is at most `bound`."""
    return Population(feature=feature, at_most=bound)


def at_least(feature: str, bound: float) -> Population:
    """Rows whose input `feature` is at least `bound`."""
    return Population(feature=feature, at_least=bound)


class Baseline(Protocol):
    """Scores that a model must beat.

    name: in the names of metrics.
    feature: the only input that it uses; None if it uses none.
    """

    @property
    def name(self) -> str: ...
    @property
    def feature(self) -> str | None: ...

    def fitted(self, task: Task, matrix: pd.DataFrame, labels: Labels) -> Callable[[pd.DataFrame], Floats]:
        """Inputs → scores of the shape that the task's models give."""
        ...


@dataclass(frozen=True)
class ByFeature:
    """The baseline by one input that is a number; the median of the training rows stands in for a null.

    - binary: its value ranks the rows.
    - regression: its value, times `scale`, is the prediction.
    - multi-class: the class rates of the training rows in each tenth of its values.
    """

    feature: str
    name: str = "baseline"
    scale: float = 1.0

    def fitted(self, task: Task, matrix: pd.DataFrame, labels: Labels) -> Callable[[pd.DataFrame], Floats]:
        trained = matrix[self.feature].to_numpy(dtype=np.float64)
        median = float(np.nanmedian(trained)) if np.isfinite(trained).any() else 0.0

        def values(rows: pd.DataFrame) -> Floats:
            found = rows[self.feature].to_numpy(dtype=np.float64)
            return np.where(np.isnan(found), median, found)

        if task.kind != "multiclass":
            return lambda rows: values(rows) * self.scale
        edges = np.unique(np.quantile(values(matrix), _TENTHS))
        classes = len(task.class_names)
        counts = np.ones((len(edges) + 1, classes))  # one row of each class, so that no rate is zero
        np.add.at(counts, (np.searchsorted(edges, values(matrix)), labels), 1)
        rates = counts / counts.sum(axis=1, keepdims=True)
        return lambda rows: rates[np.searchsorted(edges, values(rows))]


@dataclass(frozen=True)
class ByCategory:
    """The baseline by one input that is a category: what the training rows with the same value were like.

    - binary, multi-class: the rates of their classes.
    - regression: their mean.

    Values that no training row has get those of all rows.
    """

    feature: str
    name: str = "baseline"

    def fitted(self, task: Task, matrix: pd.DataFrame, labels: Labels) -> Callable[[pd.DataFrame], Floats]:
        values, places = np.unique(matrix[self.feature].to_numpy(dtype=np.float64), return_inverse=True)
        if task.kind == "regression":
            scores_of = _means(places, labels, len(values))
        else:
            rates = _rates(places, labels, len(values), len(task.class_names))
            scores_of = rates[:, 1] if task.kind == "binary" else rates

        def scores(rows: pd.DataFrame) -> Floats:
            asked = rows[self.feature].to_numpy(dtype=np.float64)
            found = np.minimum(np.searchsorted(values, asked), len(values) - 1)
            of_rows: Floats = scores_of[np.where(values[found] == asked, found, len(values))]
            return of_rows

        return scores


def _rates(places: NDArray[np.intp], labels: Labels, values: int, classes: int) -> Floats:
    """Rates of the classes by value, and last those of all rows."""
    counts = np.ones((values + 1, classes))  # one row of each class, so that no rate is zero
    np.add.at(counts, (places, np.asarray(labels, dtype=np.intp)), 1)
    counts[-1] += counts[:-1].sum(axis=0) - values
    rates: Floats = counts / counts.sum(axis=1, keepdims=True)
    return rates


def _means(places: NDArray[np.intp], labels: Labels, values: int) -> Floats:
    """Mean label by value, and last that of all rows."""
    means = np.bincount(places, weights=labels, minlength=values) / np.bincount(places, minlength=values)
    return np.append(means, np.mean(labels))


@dataclass(frozen=True)
class Mean:
    """The baseline that looks at nothing: the mean of the target, or the rates of its classes, in the training rows."""

    name: str = "mean"
    feature: None = None

    def fitted(self, task: Task, matrix: pd.DataFrame, labels: Labels) -> Callable[[pd.DataFrame], Floats]:
        del matrix
        if task.kind != "multiclass":
            mean = float(np.mean(labels))
            return lambda rows: np.full(len(rows), mean)
        counts = np.bincount(labels.astype(np.int64), minlength=len(task.class_names)) + 1  # so that no rate is zero
        return lambda rows: np.tile(counts / counts.sum(), (len(rows), 1))


@dataclass(frozen=True)
class Gate:
    """Bounds of docs/promotion.md; those of a metric are in its own unit.

    min_margin: the interval of the gain in the headline metric over the baseline must begin above this.
    max_calibration_error: the interval of the calibration metric must end at or below this.
    max_loss: the interval of the headline metric against the champion's must not begin below minus this.
    max_calibration_loss: the same of the calibration metric.
    max_segment_loss: no segment's interval may lie wholly below minus this.
    max_changed_decisions: largest share of rows that the two models decide differently.
    """

    min_margin: float = 0.0
    max_calibration_error: float = 0.05
    max_loss: float = 0.01
    max_calibration_loss: float = 0.02
    max_segment_loss: float = 0.01
    max_changed_decisions: float = 0.1


@dataclass(frozen=True)
class UseCase:
    """One use case.

    name: of the registered model, the BentoML model and the experiment.
    feature_service: its features, in its order, are the model's inputs.
    labels: environment variables → source of the target: a `LabelSource` for `TimeSplits`, else a `LabelTable`.
    splits: which rows belong to training, validation and test.
    definition: the target in words; `{days}` stands for the days until it is known.
    candidates: name → seed → pipeline; the best by the headline metric is registered.
    populations: name → rows with metrics of their own, beside `all`.
    headline: population and metric by which models are compared; None: all rows, the task's usual metric.
    segments: parts of the rows that are compared one by one: a feature for its terciles, or `feature:edge:edge`; a
        category for its values.
    age_feature: input that says for how long an entity has been known; drift is looked for among entities of like age.
    intended_use, limits: sentences for the model card: what the answers are for, and what they are not.
    outcomes: (entities, environment variables, days) → the same rows with the column `label`, null where it cannot be
        known yet. Entities have the join keys and `event_timestamp`. None: predictions cannot be labelled later.
    """

    name: str
    feature_service: str
    task: Binary | Multiclass | Regression
    labels: Callable[[Mapping[str, str]], Any]
    candidates: Mapping[str, Candidate]
    baseline: Baseline
    definition: str = ""
    splits: RowSplits = field(default_factory=TimeSplits)
    populations: Mapping[str, Population] = field(default_factory=dict)
    headline: tuple[str, str] | None = None
    segments: tuple[str, ...] = ()
    gate: Gate = Gate()
    age_feature: str | None = None
    intended_use: str = ""
    limits: tuple[str, ...] = ()
    outcomes: Callable[[pd.DataFrame, Mapping[str, str], int], pd.DataFrame] | None = None

    @property
    def judged_by(self) -> tuple[str, str]:
        """Population and metric of the headline."""
        return self.headline or ("all", metrics_of(self.task.kind).headline)
