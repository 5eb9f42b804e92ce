"""Linear models as additive scores: column j of coefficient b_j contributes b_j · z_j.

This is the Shapley value of a linear model against the row whose columns are all 0. In centred columns, a 0 is the mean
of the training rows; in indicator columns, it is a row without any of the categories.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from scoring.errors import ExplanationError
from scoring.explanation.additive_scores import AdditiveScores, Floats, Space, dense, two_dimensional
from scoring.explanation.made_columns import Column


def linear_scores(estimator: Any, columns: Sequence[Column], names: Sequence[str]) -> AdditiveScores | None:
    """The scores of a linear model; None for any other.

    Raises:
        ExplanationError: a 0 in a column means nothing, so the base value would be that of no real row.
    """
    space, scores = _space_and_scores(estimator)
    if space is None:
        return None
    uncentred = sorted({column.input for column in columns if not column.centred})
    if uncentred:
        listed = ", ".join(names[at] for at in uncentred[:3]) + (", …" if len(uncentred) > 3 else "")
        raise ExplanationError(
            f"{type(estimator).__name__} takes columns that are not centred on the training rows, made of {listed}; "
            "a StandardScaler before it centres them"
        )
    coefficients: Floats = np.atleast_2d(np.asarray(estimator.coef_, dtype=np.float64))
    intercepts = np.asarray(estimator.intercept_, dtype=np.float64).ravel()

    def contributions(values: Any) -> Floats:
        return np.multiply(dense(values)[:, :, np.newaxis], coefficients.T)

    return AdditiveScores(
        space=space,
        base_values=np.broadcast_to(intercepts, len(coefficients)),
        contributions=contributions,
        # In float64, because scikit-learn may compute in float32 what is given in float32.
        scores=lambda values: two_dimensional(scores(values.astype(np.float64))),
        in_float32=any(column.discrete for column in columns),
    )


def _space_and_scores(estimator: Any) -> tuple[Space | None, Callable[[Any], Any]]:
    from sklearn import linear_model as linear
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.svm import LinearSVR

    if isinstance(estimator, linear.SGDClassifier) and estimator.loss != "log_loss":
        raise ExplanationError(f"there is no exact explanation of SGDClassifier with the loss {estimator.loss}")
    if isinstance(estimator, linear.LogisticRegression | linear.SGDClassifier | LinearDiscriminantAnalysis):
        return "log-odds" if len(estimator.classes_) == 2 else "class score", estimator.decision_function
    if isinstance(estimator, linear.PoissonRegressor | linear.GammaRegressor) or (
        isinstance(estimator, linear.TweedieRegressor)
        and (estimator.link == "log" or (estimator.link == "auto" and estimator.power > 0))
    ):
        return "log of value", lambda values: np.log(estimator.predict(values))
    by_identity = (
        linear.ARDRegression,
        linear.BayesianRidge,
        linear.ElasticNet,  # Lasso is one
        linear.ElasticNetCV,
        linear.HuberRegressor,
        linear.Lars,  # LassoLars, LarsCV and LassoLarsCV are, too
        linear.LassoCV,
        linear.LassoLarsIC,
        linear.LinearRegression,
        linear.OrthogonalMatchingPursuit,
        linear.QuantileRegressor,
        linear.Ridge,
        linear.RidgeCV,
        linear.SGDRegressor,
        linear.TheilSenRegressor,
        linear.TweedieRegressor,
        LinearSVR,
    )
    if isinstance(estimator, by_identity):
        return "value", estimator.predict
    return None, estimator
