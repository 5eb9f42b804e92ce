"""Trees and their ensembles as additive scores, by path-dependent TreeSHAP (Lundberg et al., 2020).

The expectation over an input that is not known follows the training rows of each branch. A forest's trees count the
rows of their own bootstrap samples.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from scoring.errors import ExplanationError
from scoring.explanation.additive_scores import AdditiveScores, Floats, Space, two_dimensional


def tree_scores(estimator: Any) -> AdditiveScores | None:
    """The scores of a tree or an ensemble of trees; None for any other estimator.

    Raises:
        ExplanationError: it splits by categories, its first stage is a model of its own, or shap is not installed.
    """
    from sklearn import ensemble, tree

    for kinds, read in (
        ((ensemble.HistGradientBoostingClassifier, ensemble.HistGradientBoostingRegressor), _histogram_boosting),
        ((ensemble.GradientBoostingClassifier, ensemble.GradientBoostingRegressor), _gradient_boosting),
        ((ensemble.RandomForestClassifier, ensemble.ExtraTreesClassifier, tree.DecisionTreeClassifier), _probabilities),
        ((ensemble.RandomForestRegressor, ensemble.ExtraTreesRegressor, tree.DecisionTreeRegressor), _values),
    ):
        if isinstance(estimator, kinds):
            return read(estimator)
    return None


def _histogram_boosting(estimator: Any) -> AdditiveScores:
    from sklearn.base import is_regressor

    if estimator.is_categorical_ is not None and estimator.is_categorical_.any():
        # shap treats a categorical split as a threshold: its values are wrong and do not add up (shap issue 3436).
        raise ExplanationError("there is no exact explanation of trees with categorical splits")
    if not is_regressor(estimator):
        return _shap_scores(estimator, _class_space(estimator), estimator.decision_function)
    if estimator.loss in ("gamma", "poisson"):
        return _shap_scores(estimator, "log of value", lambda columns: np.log(estimator.predict(columns)))
    return _shap_scores(estimator, "value", estimator.predict)


def _gradient_boosting(estimator: Any) -> AdditiveScores:
    from sklearn.base import is_regressor

    if estimator.init not in (None, "zero"):
        raise ExplanationError(
            f"there is no exact explanation of {type(estimator).__name__} whose first stage is a model of its own"
        )
    # With the exponential loss, the raw score is half the log-odds.
    scale = 2.0 if estimator.loss == "exponential" else 1.0
    if is_regressor(estimator):
        return _shap_scores(_raw_trees(estimator, estimator.predict, scale), "value", estimator.predict)
    score = estimator.decision_function
    return _shap_scores(
        _raw_trees(estimator, score, scale), _class_space(estimator), lambda columns: scale * score(columns)
    )


def _probabilities(estimator: Any) -> AdditiveScores:
    of_all = _shap_scores(estimator, "probability", estimator.predict_proba)
    if len(estimator.classes_) != 2:
        return of_all
    return AdditiveScores(
        space="probability",
        base_values=of_all.base_values[1:],
        contributions=lambda columns: of_all.contributions(columns)[:, :, 1:],
        scores=lambda columns: of_all.scores(columns)[:, 1:],
        in_float32=True,
    )


def _values(estimator: Any) -> AdditiveScores:
    return _shap_scores(estimator, "value", estimator.predict)


def _class_space(estimator: Any) -> Space:
    return "log-odds" if len(estimator.classes_) == 2 else "class score"


def _raw_trees(estimator: Any, score: Callable[[Any], Any], scale: float) -> dict[str, Any]:
    """Gradient boosting in shap's own form of a tree model; shap itself reads only one tree per stage.

    The value before the first stage is the score of a row less what the trees give it.
    """
    import pandas as pd

    row = np.zeros((1, estimator.n_features_in_), dtype=np.float32)
    names = getattr(estimator, "feature_names_in_", None)
    start = two_dimensional(score(row if names is None else pd.DataFrame(row, columns=names)))[0]
    trees = []
    for stage in estimator.estimators_:
        for number, regressor in enumerate(stage):
            start[number] -= estimator.learning_rate * regressor.predict(row)[0]
            fitted = regressor.tree_
            values = np.zeros((fitted.node_count, len(stage)))
            values[:, number] = scale * estimator.learning_rate * fitted.value[:, 0, 0]
            trees.append(
                {
                    "children_left": fitted.children_left,
                    "children_right": fitted.children_right,
                    "children_default": np.where(
                        fitted.missing_go_to_left, fitted.children_left, fitted.children_right
                    ),
                    "features": fitted.feature,
                    "thresholds": fitted.threshold,
                    "values": values,
                    "node_sample_weight": fitted.weighted_n_node_samples,
                }
            )
    return {"trees": trees, "base_offset": scale * start, "input_dtype": np.float32}


def _shap_scores(model: Any, space: Space, score: Callable[[Any], Any]) -> AdditiveScores:
    try:
        import shap  # imported here: with numba it takes most of a second and 95 MB
    except ModuleNotFoundError as error:
        raise ExplanationError("shap, with which tree ensembles are explained, cannot be imported") from error

    explainer = shap.TreeExplainer(model, feature_perturbation="tree_path_dependent")

    def contributions(columns: Floats) -> Floats:
        # shap's own check tolerates 1 %; the explainer's is stricter.
        found = np.asarray(explainer.shap_values(columns, check_additivity=False), dtype=np.float64)
        return found.reshape(*columns.shape, -1)

    return AdditiveScores(
        space=space,
        base_values=np.atleast_1d(np.asarray(explainer.expected_value, dtype=np.float64)).ravel(),
        contributions=contributions,
        scores=lambda columns: two_dimensional(score(columns)),
        # Training transformed in float32; in float64 a row on a threshold could take the other branch.
        in_float32=True,
    )
