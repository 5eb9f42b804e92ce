"""How one model's answers are judged, by its contract's task."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from contract import Headline, ModelContract
from contract.model_contract import EVERYONE
from contract.tasks import TaskKind
from jobs.quality.figures import REPORTED, ReportedFigures
from scoring.evaluation import Estimate, Floats, Integers, Labels, Metric, TaskMetrics, metrics_of


@dataclass(frozen=True)
class Judging:
    """How one model's answers are judged.

    table: the metrics of its task.
    classes: their names; of a binary model the positive one is the second, of a regression there are none.
    headline: the population and the metric that tell whether it has become worse.
    """

    table: TaskMetrics
    classes: tuple[str, ...]
    headline: Headline

    @classmethod
    def of(cls, kind: TaskKind, contract: ModelContract | None) -> "Judging | None":
        """Args:
        kind: the log's.
        contract: None if the model cannot be opened. A multi-class model cannot be judged then.
        """
        if contract is not None:
            return cls(metrics_of(kind), getattr(contract.task, "classes", ()), contract.headline)
        if kind == "multiclass":
            return None
        classes = ("negative", "positive") if kind == "binary" else ()
        return cls(metrics_of(kind), classes, Headline(population=EVERYONE, metric=metrics_of(kind).headline))

    @property
    def reported(self) -> ReportedFigures:
        """What is shown of the task."""
        return REPORTED[self.table.kind]

    def metrics(self, names: tuple[str, ...]) -> dict[str, Metric]:
        """The metrics of these names, and the headline's.

        Raises:
            LabelsError: the task has no such metric.
        """
        return {name: self.table.metric(name) for name in dict.fromkeys((*names, self.headline.metric))}

    def labels(self, column: NDArray[Any]) -> Labels:
        """Labels as the table of metrics takes them."""
        if self.table.kind == "multiclass":
            return np.asarray(pd.Categorical(column, categories=self.classes).codes, dtype=np.int64)
        return column

    def too_few(self, labels: Labels, entities: Integers) -> str:
        """Why these rows, (n,), are too few for figures; empty if they are enough."""
        reason = self.table.too_few(labels, entities, self.classes)
        return reason and f"too few entities: {reason}"

    def counts(self, labels: Labels) -> dict[str, int]:
        """Class → rows with this label; empty for a regression."""
        if not self.classes:
            return {}
        counted = np.bincount(labels.astype(np.int64), minlength=len(self.classes))
        return dict(zip(self.classes, counted.tolist(), strict=True))

    def confusion(self, labels: Labels, scores: Floats) -> list[list[int]]:
        """Rows by observed class (first) and likeliest class (second) of a multi-class model; else empty."""
        if scores.ndim == 1:
            return []
        counted = np.zeros((len(self.classes), len(self.classes)), dtype=np.int64)
        np.add.at(counted, (labels, scores.argmax(axis=1)), 1)
        found: list[list[int]] = counted.tolist()
        return found


def allowed_loss(metric: Metric, max_loss: float, promised: float) -> float:
    """The loss that is allowed: of a metric in the target's unit it is a share of training's figure."""
    return max_loss * abs(promised) if metric.in_target_unit else max_loss


def has_lost(metric: Metric, gap: Estimate, allowed: float) -> bool:
    """Whether a figure is surely worse than training's by more than is allowed.

    Args:
        gap: the figure less training's.
    """
    return gap.high < -allowed if metric.higher_is_better else gap.low > allowed
