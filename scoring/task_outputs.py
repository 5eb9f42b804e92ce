"""Makes the named outputs of an answer from a model's scores, by the rules of the contract's task."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from contract import BinaryTask, ModelContract, MulticlassTask, RegressionTask, Task

Floats = NDArray[np.float64]
Outputs = tuple[NDArray[Any], ...]
"""One array per output of the contract, in its order; each has n rows.

- `probability` and `value`: float64 (n,). `decision`: bool (n,).
- `probabilities`: float64 (n, c) in the order of the task's classes. `class`: int64 (n,), positions in these classes.
"""


class TaskOutputs(Protocol):
    """The rules of one task. `scores` are float64 (n,), or (n, c) for a multi-class model.

    score_width: second dimension of the scores; None if they have none.
    """

    @property
    def score_width(self) -> int | None: ...

    def of(self, scores: Floats) -> Outputs:
        """The outputs of n rows."""
        ...

    def values(self, outputs: Outputs) -> Sequence[tuple[Any, ...]]:
        """The outputs of each row as JSON values."""
        ...


@dataclass(frozen=True)
class BinaryOutputs:
    """The positive class's probability; the decision is positive at or above the threshold."""

    threshold: float
    score_width: None = None

    def of(self, scores: Floats) -> Outputs:
        return scores, np.greater_equal(scores, self.threshold)

    def values(self, outputs: Outputs) -> Sequence[tuple[Any, ...]]:
        probabilities, decisions = outputs
        return list(zip(probabilities.tolist(), decisions.tolist(), strict=True))


@dataclass(frozen=True)
class MulticlassOutputs:
    """The probability of each class, and the likeliest class. Of equally likely ones the first is answered."""

    classes: tuple[str, ...]

    @property
    def score_width(self) -> int:
        return len(self.classes)

    def of(self, scores: Floats) -> Outputs:
        return scores, np.argmax(scores, axis=1)

    def values(self, outputs: Outputs) -> Sequence[tuple[Any, ...]]:
        probabilities, likeliest = outputs
        return [
            (dict(zip(self.classes, row, strict=True)), self.classes[position])
            for row, position in zip(probabilities.tolist(), likeliest.tolist(), strict=True)
        ]


@dataclass(frozen=True)
class RegressionOutputs:
    """The predicted value; one beyond a bound becomes the bound."""

    at_least: float | None
    at_most: float | None
    score_width: None = None

    def of(self, scores: Floats) -> Outputs:
        if self.at_least is None and self.at_most is None:
            return (scores,)
        return (np.clip(scores, self.at_least, self.at_most),)

    def values(self, outputs: Outputs) -> Sequence[tuple[Any, ...]]:
        return [(value,) for value in outputs[0].tolist()]


def task_outputs(contract: ModelContract) -> TaskOutputs:
    """The rules of a contract's task."""
    return rules_of(contract.task)


def rules_of(task: Task) -> TaskOutputs:
    """The rules of a task."""
    match task:
        case BinaryTask(threshold=threshold):
            return BinaryOutputs(threshold.value)
        case MulticlassTask(classes=classes):
            return MulticlassOutputs(classes)
        case RegressionTask(at_least=at_least, at_most=at_most):
            return RegressionOutputs(at_least, at_most)
