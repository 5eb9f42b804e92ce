"""What answers of each task look like in JSON: the types of its outputs, and the rows of `POST /invocations`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, WithJsonSchema

from contract import BinaryTask, MulticlassTask, RegressionTask, Task
from service.errors import InvalidRequestError

Probability = Annotated[float, Field(ge=0, le=1)]
Scores = NDArray[np.float32]


@dataclass(frozen=True)
class TaskAnswers:
    """What the answers of one task look like.

    outputs: JSON type of each output where it has a value, in the order of `OUTPUT_KINDS`.
    invocation: JSON type of one row of `POST /invocations`.
    invocations: what these rows are, in words.
    score: what the model gives, in a word.
    rows: scores, float32 (n,) or (n, c), as the pipeline's `predict_proba` or `predict` has them.
    """

    outputs: tuple[Any, ...]
    invocation: Any
    invocations: str
    score: str
    rows: Callable[[Scores], Scores]

    def of_invocations(self, scores: Scores) -> dict[str, Any]:
        """The answer of `POST /invocations` for n rows, equal to that of `mlflow models serve`.

        Raises:
            InvalidRequestError: the model has no score for a row, because its values are so far out that the
                arithmetic overflows.
        """
        lost = np.flatnonzero(~np.isfinite(scores.reshape(len(scores), -1)).all(axis=1))
        if lost.size:
            raise InvalidRequestError(f"{lost[0]}: the model has no {self.score} for such values", field=f"{lost[0]}")
        return {"predictions": self.rows(scores).tolist()}


def task_answers(task: Task) -> TaskAnswers:
    """The answers of a contract's task."""
    match task:
        case BinaryTask():
            return TaskAnswers(
                outputs=(Probability, bool),
                invocation=Annotated[list[Probability], Field(min_length=2, max_length=2)],
                invocations="Per row, the probability of the negative and of the positive class.",
                score="probability",
                # In float32, because that is what scikit-learn subtracts in.
                rows=lambda scores: np.column_stack((np.float32(1) - scores, scores)),
            )
        case MulticlassTask(classes=classes):
            return TaskAnswers(
                outputs=(_by_class(classes), Annotated[str, WithJsonSchema({"type": "string", "enum": list(classes)})]),
                invocation=Annotated[list[Probability], Field(min_length=len(classes), max_length=len(classes))],
                invocations="Per row, the probability of each class, in the order of the contract.",
                score="probability",
                rows=lambda scores: scores,
            )
        case RegressionTask(at_least=at_least, at_most=at_most):
            return TaskAnswers(
                outputs=(Annotated[float, Field(ge=at_least, le=at_most)],),
                invocation=float,
                invocations="Per row, the model's value, which may be beyond the bounds of the contract's output.",
                score="value",
                rows=lambda scores: scores,
            )


def _by_class(classes: tuple[str, ...]) -> Any:
    probability = {"type": "number", "minimum": 0, "maximum": 1}
    schema = {
        "type": "object",
        "properties": {name: probability for name in classes},
        "required": list(classes),
        "additionalProperties": False,
    }
    return Annotated[dict[str, Probability], WithJsonSchema(schema)]
