"""The tasks of a use case: how its target becomes labels, how a pipeline scores it, what the contract says of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from contract import BinaryTask, DecisionThreshold, MulticlassTask, RegressionTask
from scoring.evaluation import Bools, Floats, Labels, TaskKind, youden_threshold
from training.errors import DatasetError, UseCaseError


class Task(Protocol):
    """What training must know about a task.

    target: name of the target: of the labels' column, and of the answer's members.
    method: of the pipeline, which gives the scores.
    class_names: in the order of the label codes; empty for a regression.
    """

    @property
    def kind(self) -> TaskKind: ...
    @property
    def target(self) -> str: ...
    @property
    def method(self) -> Literal["predict", "predict_proba"]: ...
    @property
    def class_names(self) -> tuple[str, ...]: ...

    def labels(self, column: "pd.Series[Any]") -> Labels:
        """Labels as `scoring.evaluation` takes them, (n,).

        Raises:
            DatasetError: the column does not fit the task.
        """
        ...

    def scores(self, pipeline: Any, matrix: pd.DataFrame) -> Floats:
        """Scores as they are answered: (n,), or (n, c) of a multi-class task."""
        ...

    def promised(self, labels: Labels, scores: Floats) -> BinaryTask | MulticlassTask | RegressionTask:
        """The contract's task; labels and scores are those of the validation rows."""
        ...


@dataclass(frozen=True)
class Binary:
    """Tells two classes apart. The labels' column is boolean, or has the classes' names.

    classes: the negative one, then the positive one.
    threshold: (labels, probabilities) of the validation rows → probability from which the answer is positive.
    rule: how the threshold is chosen, in words.
    """

    kind: ClassVar[TaskKind] = "binary"
    method: ClassVar[Literal["predict_proba"]] = "predict_proba"
    target: str
    classes: tuple[str, str]
    threshold: Callable[[Bools, Floats], float] = youden_threshold
    rule: str = "maximises true-positive minus false-positive rate (Youden's J) over all rows at the validation cut-off"

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.classes

    def labels(self, column: "pd.Series[Any]") -> Labels:
        if pd.api.types.is_bool_dtype(column.infer_objects()) and not column.isna().any():
            return column.to_numpy(dtype=bool)
        codes = _codes(column, self.target, self.classes)
        positive: Bools = codes == 1
        return positive

    def scores(self, pipeline: Any, matrix: pd.DataFrame) -> Floats:
        scores: Floats = pipeline.predict_proba(matrix)[:, 1].astype(np.float64)
        return scores

    def promised(self, labels: Labels, scores: Floats) -> BinaryTask:
        value = round(float(self.threshold(labels, scores)), 6)
        if not 0 <= value <= 1:
            raise UseCaseError(f"task: threshold: {value:g} is no probability")
        return BinaryTask(classes=self.classes, threshold=DecisionThreshold(value=value, rule=self.rule))


@dataclass(frozen=True)
class Multiclass:
    """Tells several classes apart. The labels' column has the classes' names.

    classes: in the order of the probabilities; one that natural order suggests, if there is one.
    """

    kind: ClassVar[TaskKind] = "multiclass"
    method: ClassVar[Literal["predict_proba"]] = "predict_proba"
    target: str
    classes: tuple[str, ...]

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.classes

    def labels(self, column: "pd.Series[Any]") -> Labels:
        return _codes(column, self.target, self.classes)

    def scores(self, pipeline: Any, matrix: pd.DataFrame) -> Floats:
        scores: Floats = pipeline.predict_proba(matrix).astype(np.float64)
        return scores

    def promised(self, labels: Labels, scores: Floats) -> MulticlassTask:
        del labels, scores
        return MulticlassTask(classes=self.classes)


@dataclass(frozen=True)
class Regression:
    """Predicts a number.

    at_least, at_most: bounds of the answer, in the target's unit; None: no bound.
    unit: for people.
    """

    kind: ClassVar[TaskKind] = "regression"
    method: ClassVar[Literal["predict"]] = "predict"
    target: str
    at_least: float | None = None
    at_most: float | None = None
    unit: str = ""

    @property
    def class_names(self) -> tuple[str, ...]:
        return ()

    def labels(self, column: "pd.Series[Any]") -> Labels:
        known = column.dropna().infer_objects()  # whole numbers beside nulls come as objects
        if len(known) and (pd.api.types.is_bool_dtype(known) or not pd.api.types.is_numeric_dtype(known)):
            raise DatasetError(
                f"labels: {self.target!r} is {column.dtype}; a regression needs numbers, "
                "a Binary task takes true and false"
            )
        labels: Floats = column.to_numpy(dtype=np.float64, na_value=np.nan)
        if bad := int((~np.isfinite(labels)).sum()):
            raise DatasetError(f"labels: {self.target!r} is null or infinite in {bad:,} of {len(labels):,} rows")
        return labels

    def scores(self, pipeline: Any, matrix: pd.DataFrame) -> Floats:
        values: Floats = np.ravel(pipeline.predict(matrix)).astype(np.float64)
        if self.at_least is None and self.at_most is None:
            return values
        bounded: Floats = np.clip(values, self.at_least, self.at_most)
        return bounded

    def promised(self, labels: Labels, scores: Floats) -> RegressionTask:
        del labels, scores
        return RegressionTask(at_least=self.at_least, at_most=self.at_most, unit=self.unit)


def _codes(column: "pd.Series[Any]", target: str, classes: tuple[str, ...]) -> NDArray[np.int64]:
    codes: NDArray[np.int64] = pd.Categorical(column, categories=list(classes)).codes.astype(np.int64)
    if (codes < 0).any():
        found = column[codes < 0]
        what = "null" if found.isna().any() else repr(found.tolist()[0])
        raise DatasetError(f"labels: {target!r} has {what}, which is not one of the classes {', '.join(classes)}")
    return codes
