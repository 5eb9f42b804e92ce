"""Explains a probability by each input's exact contribution to the log-odds; they add up to the prediction."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scoring.errors import ExplanationError

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.pipeline import Pipeline

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Explanation:
    """Contributions to the log-odds of the positive class, for n rows.

    base_value: the mean log-odds over the training rows.
    contributions: (n, k) in contract order; base_value plus a row's sum is the log-odds of its probability.
    """

    base_value: float
    contributions: Floats


class Explainer:
    """Explains the predictions of one pipeline.

    The served ONNX model computes in float32, so its probability differs by rounding from the one that the
    contributions add up to: on the test rows at most by `training.compilation.onnx_model.MAX_DIFFERENCE`.
    """

    def __init__(
        self, names: Sequence[str], transforms: Sequence["BaseEstimator"], classifier: "_ExplainedClassifier"
    ) -> None:
        self._names = list(names)
        self._transforms = transforms
        self._classifier = classifier

    @classmethod
    def of(cls, pipeline: "Pipeline", names: Sequence[str]) -> "Explainer":
        """Make an explainer for a fitted pipeline. For trees it takes about a second, so call it in a thread.

        Supported are any number of transforms that map each column separately, followed by

        - `LogisticRegression` on centred columns z: input j contributes coefficient_j · z_j; or
        - `HistGradientBoostingClassifier` without categorical splits: path-dependent TreeSHAP, with expectations over
          the training rows of each branch.

        Args:
            names: the model's k inputs in contract order.

        Raises:
            ExplanationError: the pipeline is of another form, or has other inputs.
        """
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.linear_model import LogisticRegression

        if list(getattr(pipeline, "feature_names_in_", [])) != list(names):
            raise ExplanationError("the stored pipeline does not take the inputs of the contract in its order")
        *transforms, classifier = [step for _, step in getattr(pipeline, "steps", [("classifier", pipeline)])]
        if not isinstance(classifier, LogisticRegression | HistGradientBoostingClassifier):
            raise ExplanationError(f"there is no exact explanation of {type(classifier).__name__}")
        if len(classifier.classes_) != 2:
            raise ExplanationError(f"the model tells {len(classifier.classes_)} classes apart, not two")
        _check_transforms(transforms)
        if isinstance(classifier, LogisticRegression):
            return cls(names, transforms, _linear(transforms, classifier))
        return cls(names, transforms, _tree_ensemble(classifier))

    def explain(self, matrix: NDArray[np.float32]) -> Explanation:
        """Compute the contributions for n ≥ 1 rows.

        Args:
            matrix: (n, k) in contract order, every value finite.

        Raises:
            ExplanationError: a row is so extreme that its log-odds overflow.
        """
        import pandas as pd

        too_far = ExplanationError("a feature is so far from what the model was trained on that it overflows")
        values = pd.DataFrame(matrix.astype(self._classifier.dtype), columns=self._names)
        with np.errstate(over="ignore", invalid="ignore"):
            try:
                for transform in self._transforms:
                    values = transform.transform(values)
            except ValueError:  # scikit-learn: one step passed an infinity to the next
                raise too_far from None
            contributions = self._classifier.contributions(np.asarray(values, dtype=np.float64))
            if not np.isfinite(self._classifier.base_value + contributions.sum(axis=1)).all():
                raise too_far
        return Explanation(self._classifier.base_value, contributions)


def _check_transforms(transforms: Sequence["BaseEstimator"]) -> None:
    """Raise unless column j of the output depends only on column j of the input."""
    from sklearn import preprocessing

    by_column = (
        preprocessing.MaxAbsScaler,
        preprocessing.MinMaxScaler,
        preprocessing.PowerTransformer,
        preprocessing.QuantileTransformer,
        preprocessing.RobustScaler,
        preprocessing.StandardScaler,
    )
    for transform in transforms:
        if not isinstance(transform, by_column):
            raise ExplanationError(f"{type(transform).__name__} is not known to map each input by itself")


@dataclass(frozen=True)
class _ExplainedClassifier:
    """The classifier step as contributions.

    contributions: transformed columns (n, k) → (n, k).
    dtype: the dtype that the transforms compute in.
    """

    base_value: float
    contributions: Callable[[Floats], Floats]
    dtype: type[np.floating[Any]]


def _linear(transforms: Sequence["BaseEstimator"], classifier: "ClassifierMixin") -> _ExplainedClassifier:
    from sklearn.preprocessing import PowerTransformer, StandardScaler

    last = transforms[-1] if transforms else None
    centred = (isinstance(last, PowerTransformer) and last.standardize) or (
        isinstance(last, StandardScaler) and last.with_mean
    )
    if not centred:
        # Else the base value would be that of a customer with all inputs 0, not of the mean training row.
        raise ExplanationError("the logistic regression's inputs are not centred on the training customers")
    coefficients = np.asarray(classifier.coef_[0], dtype=np.float64)
    return _ExplainedClassifier(
        float(classifier.intercept_[0]), lambda columns: np.multiply(columns, coefficients), np.float64
    )


def _tree_ensemble(classifier: "ClassifierMixin") -> _ExplainedClassifier:
    if classifier.is_categorical_ is not None and classifier.is_categorical_.any():
        # shap treats a categorical split as a threshold: its values are wrong and do not add up (shap issue 3436).
        raise ExplanationError("there is no exact explanation of trees with categorical splits")
    try:
        import shap  # imported here: with numba it takes most of a second and 95 MB
    except ModuleNotFoundError as error:
        raise ExplanationError("shap, with which tree ensembles are explained, cannot be imported") from error

    explainer = shap.TreeExplainer(classifier, feature_perturbation="tree_path_dependent")

    def contributions(columns: Floats) -> Floats:
        # shap's own check scores the rows again and tolerates 1 %; our tests allow 1e-9.
        return np.asarray(explainer.shap_values(columns, check_additivity=False), dtype=np.float64)

    # Training transformed in float32; in float64 a row on a threshold could take the other branch.
    return _ExplainedClassifier(float(np.squeeze(explainer.expected_value)), contributions, np.float32)
