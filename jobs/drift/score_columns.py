"""The columns of a report that hold what a model answered, by the contract's task."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from contract import ClassScores, ModelContract, MulticlassTask
from contract.values.histogram import Histogram
from jobs.drift.class_counts import ClassCounts, Counts
from scoring.task_outputs import Outputs

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ScoreColumn:
    """One column.

    values: outputs → float64 (n,); a class is its position.
    counted: values → their counts.
    """

    values: Callable[[Outputs], Floats]
    counted: Callable[[Floats], Counts]


def score_columns(contract: ModelContract) -> dict[str, ScoreColumn]:
    """Name → column: the probability, or the value, or the likeliest class and its probability."""
    names = [output.name for output in contract.outputs]
    if not isinstance(contract.task, MulticlassTask):
        return {names[0]: ScoreColumn(lambda outputs: outputs[0], Histogram.of)}
    classes = contract.task.classes
    return {
        names[-1]: ScoreColumn(lambda outputs: outputs[-1].astype(np.float64), partial(ClassCounts.of, classes)),
        _top(contract): ScoreColumn(lambda outputs: outputs[0].max(axis=1), Histogram.of),
    }


def trained_scores(contract: ModelContract) -> Mapping[str, Counts | None]:
    """Name of a score's column → what training counted of it; None in contracts that did not count."""
    names = [output.name for output in contract.outputs]
    if isinstance(contract.scores, ClassScores) and isinstance(contract.task, MulticlassTask):
        return {
            names[-1]: ClassCounts(contract.task.classes, contract.scores.counts),
            _top(contract): contract.scores.top,
        }
    return {name: contract.scores if isinstance(contract.scores, Histogram) else None for name in names[:1]}


def _top(contract: ModelContract) -> str:
    return f"{contract.outputs[-1].name}_top_probability"
