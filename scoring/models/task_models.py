"""What a model of each task must answer, and how its scores are read from that."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from contract.tasks import TaskKind
from scoring.errors import ModelError
from scoring.models.classes import check_classifier, check_label, check_probabilities


class Scorer(Protocol):
    """Scores a batch: float32 (n, k) in contract order → float32 (n,) or (n, c).

    The scores are the positive class's probabilities, the probabilities of all c classes, or the values.
    """

    def __call__(self, matrix: NDArray[np.float32], /) -> NDArray[np.float32]: ...


class PredictedTask(Protocol):
    """What models are told of a task: by a contract, or by a use case that has none yet.

    class_names: in the order of the probabilities; empty for a regression.
    """

    @property
    def kind(self) -> TaskKind: ...
    @property
    def class_names(self) -> tuple[str, ...]: ...


class TaskModel(Protocol):
    """The form of the models of one task.

    method: of a pipeline, which gives its answers.
    onnx_outputs: number of outputs of an ONNX model; the scores are read from the last.
    onnx_expected: these outputs in words.
    """

    @property
    def method(self) -> Literal["predict_proba", "predict"]: ...
    @property
    def onnx_outputs(self) -> int: ...
    @property
    def onnx_expected(self) -> str: ...

    def check_pipeline(self, pipeline: Any) -> None:
        """Raises: ModelError, a fitted pipeline is not one of the task; names what was found."""
        ...

    def check_outputs(self, outputs: Sequence[Any], rows: int) -> None:
        """Raises: ModelError, these are not the outputs for so many rows; of a pipeline the last one alone is given."""
        ...

    def answered_by(self, pipeline: Any, frame: Any) -> Any:
        """What a pipeline answers: the last of the outputs."""
        ...

    def scores(self, output: NDArray[Any]) -> NDArray[Any]:
        """The scores in the last output, in its precision; (n,) or (n, c)."""
        ...


@dataclass(frozen=True)
class Classifier:
    """Answers the probabilities of all classes."""

    classes: tuple[str, ...]
    onnx_outputs: int = 2
    method: Literal["predict_proba"] = "predict_proba"

    @property
    def onnx_expected(self) -> str:
        names = f"{', '.join(self.classes[:-1])} and {self.classes[-1]}"
        return f"two are expected, a class and the probabilities of {names}"

    def check_pipeline(self, pipeline: Any) -> None:
        check_classifier(pipeline, self.classes)

    def check_outputs(self, outputs: Sequence[Any], rows: int) -> None:
        check_probabilities(outputs[-1], rows, self.classes)
        if len(outputs) > 1:
            check_label(outputs[0], outputs[1], self.classes)

    def answered_by(self, pipeline: Any, frame: Any) -> Any:
        return pipeline.predict_proba(frame)

    def scores(self, output: NDArray[Any]) -> NDArray[Any]:
        return output


class BinaryClassifier(Classifier):
    """The scores are the probabilities of the second class."""

    def scores(self, output: NDArray[Any]) -> NDArray[Any]:
        return output[:, 1]


@dataclass(frozen=True)
class Regressor:
    """Answers one number a row."""

    onnx_outputs: int = 1
    method: Literal["predict"] = "predict"
    onnx_expected: str = "one is expected, the predicted value"

    def check_pipeline(self, pipeline: Any) -> None:
        steps = getattr(pipeline, "steps", None)
        last = type(steps[-1][1] if steps else pipeline).__name__
        if getattr(pipeline, "classes_", None) is not None:
            raise ModelError(f"{last} tells classes apart; a regression is expected, which predicts a number")
        if not callable(getattr(pipeline, "predict", None)):
            raise ModelError(f"{last} predicts nothing (it has no predict); a regression is expected")

    def check_outputs(self, outputs: Sequence[Any], rows: int) -> None:
        shape = np.shape(outputs[-1])
        if shape not in ((rows,), (rows, 1)):
            raise ModelError(
                f"the model answers {rows} rows by an output of shape {shape}; one number is expected for each"
            )

    def answered_by(self, pipeline: Any, frame: Any) -> Any:
        return pipeline.predict(frame)

    def scores(self, output: NDArray[Any]) -> NDArray[Any]:
        return output.reshape(len(output))


_MODELS: Mapping[TaskKind, Callable[[tuple[str, ...]], TaskModel]] = {
    "binary": BinaryClassifier,
    "multiclass": Classifier,
    "regression": lambda _: Regressor(),
}


def task_model(task: PredictedTask) -> TaskModel:
    """The form of the models of a task."""
    return _MODELS[task.kind](task.class_names)
