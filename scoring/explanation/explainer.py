"""Explains a score by each input's exact contribution; they add up to the model's own score."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from contract.tasks import TaskKind
from scoring.errors import ExplanationError
from scoring.explanation.additive_scores import AdditiveScores, Floats, Space, of_both_classes
from scoring.explanation.linear_models import linear_scores
from scoring.explanation.made_columns import Column, columns_after
from scoring.explanation.tree_models import tree_scores
from scoring.models.model_frame import NUMBERS, CodedColumns

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator
    from sklearn.pipeline import Pipeline

TOLERANCE: Final = 1e-9
"""Of the sum of base value and contributions against the model's score, relative to the sum of their magnitudes."""


@dataclass(frozen=True)
class Explanation:
    """Contributions to one score of each of n rows.

    space: what the score is.
    base_values: (n,). For trees the mean score over the training rows; for linear models the score of the row whose
        centred columns are at the training mean and that has no category in one-hot columns.
    contributions: (n, k) in contract order; a row's base value plus its sum is its score.
    classes: (n,), for each row the position of the class that is explained, if the task is multi-class.
    """

    space: Space
    base_values: Floats
    contributions: Floats
    classes: NDArray[np.intp] | None = None

    @property
    def base_value(self) -> float:
        """The first row's base value; it is that of all rows unless they have different `classes`."""
        return float(self.base_values[0])


class Explainer:
    """Explains the predictions of one pipeline.

    The served ONNX model computes in float32, so its answer differs by rounding from the one that the contributions
    add up to: on the test rows at most by what the import allows (`training.compilation.onnx_model`).
    """

    def __init__(
        self,
        names: Sequence[str],
        coded: CodedColumns,
        transforms: Sequence["BaseEstimator"],
        columns: Sequence[Column],
        of: AdditiveScores,
    ) -> None:
        self._names = list(names)
        self._coded = coded
        self._transforms = transforms
        self._inputs = np.array([column.input for column in columns], dtype=np.intp)
        self._estimator = of

    @classmethod
    def of(
        cls, pipeline: "Pipeline", names: Sequence[str], task: TaskKind = "binary", coded: CodedColumns = NUMBERS
    ) -> "Explainer":
        """Make an explainer for a fitted pipeline. For large forests it takes seconds, so call it in a thread.

        Supported are transforms that make each column of one input (see `made_columns`), followed by

        - a linear model on centred or one-hot columns (see `linear_models`); or
        - a tree, a forest or gradient boosting (see `tree_models`).

        Args:
            names: the model's k inputs in contract order.
            task: what the contract says that the model does.
            coded: inputs that are categories, or whose nulls reach the model.

        Raises:
            ExplanationError: the pipeline is of another form or task, or has other inputs.
        """
        if list(getattr(pipeline, "feature_names_in_", [])) != list(names):
            raise ExplanationError("the stored pipeline does not take the inputs of the contract in its order")
        *transforms, estimator = _steps(pipeline)
        _check_task(estimator, task)
        trees = tree_scores(estimator)
        columns = [Column(at) for at in range(len(names))]
        for transform in transforms:
            columns = columns_after(transform, columns)
        scores = trees or linear_scores(estimator, columns, names)
        if scores is None:
            raise ExplanationError(f"there is no exact explanation of {type(estimator).__name__}")
        if task == "multiclass" and len(scores.base_values) == 1:
            scores = of_both_classes(scores)
        return cls(names, coded, transforms, columns, scores)

    def explain(self, matrix: NDArray[np.float32], classes: Sequence[int] | None = None) -> Explanation:
        """Compute the contributions for n ≥ 1 rows.

        Args:
            matrix: (n, k) in contract order, categories as codes; NaN for a kept null.
            classes: (n,), for each row the position of the class to explain, if the task is multi-class; by default
                the one with the highest score.

        Raises:
            ExplanationError: a row is so extreme that its score overflows, a transform does not take it, or the
                contributions do not add up to the model's score.
        """
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            columns = self._transformed(matrix)
            try:
                scores = self._estimator.scores(columns)
            except ValueError:  # scikit-learn: a step passed an infinity to the estimator
                raise _too_far() from None
            contributions = self._estimator.contributions(columns)
        rows, several = np.arange(len(matrix)), scores.shape[1] > 1
        chosen = np.zeros(len(matrix), dtype=np.intp)
        if several:
            chosen = scores.argmax(axis=1) if classes is None else np.asarray(classes, dtype=np.intp)
        explanation = Explanation(
            space=self._estimator.space,
            base_values=self._estimator.base_values[chosen],
            contributions=self._by_input(contributions[rows, :, chosen]),
            classes=chosen if several else None,
        )
        _check_sum(explanation, scores[rows, chosen])
        return explanation

    def _transformed(self, matrix: NDArray[np.float32]) -> Any:
        dtype = np.float32 if self._estimator.in_float32 else np.float64
        values: Any = self._coded.frame(matrix.astype(dtype), self._names)
        for transform in self._transforms:
            try:
                values = transform.transform(values)
            except ValueError:  # its text has the value
                raise ExplanationError(
                    f"{type(transform).__name__} does not take this row: a feature is so far from what the model was "
                    "trained on that it overflows, or it is a category that the training rows do not have"
                ) from None
        if values.shape[1] != len(self._inputs):
            raise ExplanationError(f"the transforms make {values.shape[1]} columns, not {len(self._inputs)}")
        return values

    def _by_input(self, contributions: Floats) -> Floats:
        """Add the contributions of an input's columns up: (n, m) → (n, k)."""
        if np.array_equal(self._inputs, np.arange(len(self._names))):
            return contributions
        added = np.zeros((len(self._names), len(contributions)))
        np.add.at(added, self._inputs, contributions.T)
        return added.T


def _steps(pipeline: Any) -> list[Any]:
    """The pipeline's steps; those of a pipeline within it in its place."""
    from sklearn.pipeline import Pipeline

    if not isinstance(pipeline, Pipeline):
        return [pipeline]
    return [inner for _, step in pipeline.steps if step is not None and step != "passthrough" for inner in _steps(step)]


def _check_task(estimator: Any, task: TaskKind) -> None:
    from sklearn.base import is_regressor

    if is_regressor(estimator):
        fits, said = task == "regression", "predicts a value"
    else:
        count = len(getattr(estimator, "classes_", ()))
        fits = {"binary": count == 2, "multiclass": count >= 2}.get(task, False)
        said = f"tells {count} classes apart"
    if not fits:
        raise ExplanationError(f"the model {said}; the contract's task is {task}")


def _check_sum(explanation: Explanation, scores: Floats) -> None:
    """Hold the contributions against the model's own scores, (n,)."""
    total = explanation.base_values + explanation.contributions.sum(axis=1)
    if not (np.isfinite(total) & np.isfinite(scores)).all():
        raise _too_far()
    size = np.abs(explanation.base_values) + np.abs(explanation.contributions).sum(axis=1)
    if (np.abs(total - scores) > TOLERANCE * np.maximum(1, size)).any():
        raise ExplanationError("the contributions do not add up to the model's own score")


def _too_far() -> ExplanationError:
    return ExplanationError("a feature is so far from what the model was trained on that it overflows")
