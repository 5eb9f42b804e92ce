"""Trees and their ensembles as additive scores, by path-dependent TreeSHAP (see `tree_shap`).

The expectation over an input that is not known follows the training rows of each branch. A forest's trees count the
rows of their own bootstrap samples.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoring.errors import ExplanationError
from scoring.explanation.additive_scores import AdditiveScores, Floats, Space, dense, two_dimensional
from scoring.explanation.tree_shap import Nodes, TreeShap

CODES = 256
"""How many categories a column of histogram boosting has at most."""


def tree_scores(estimator: Any) -> AdditiveScores | None:
    """The scores of a tree or an ensemble of trees; None for any other estimator.

    Raises:
        ExplanationError: its first stage is a model of its own.
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

    space: Space
    if not is_regressor(estimator):
        space, score = _class_space(estimator), estimator.decision_function
    elif estimator.loss in ("gamma", "poisson"):
        space, score = "log of value", lambda columns: np.log(estimator.predict(columns))
    else:
        space, score = "value", estimator.predict
    with_codes = estimator._preprocessor is not None
    # It puts the columns of its categories before those of its numbers.
    places = (
        np.argsort(~estimator.is_categorical_, kind="stable") if with_codes else np.arange(estimator.n_features_in_)
    )

    def coded(columns: Any) -> Floats:
        found = np.empty(columns.shape)
        found[:, places] = estimator._preprocessor.transform(columns)
        return found

    trees = [
        _histogram_nodes(predictor, _one_of(number, len(stage)), places, with_codes)
        for stage in estimator._predictors
        for number, predictor in enumerate(stage)
    ]
    start = estimator._baseline_prediction.ravel()
    return _additive(TreeShap(trees), space, score, coded if with_codes else dense, start)


def _gradient_boosting(estimator: Any) -> AdditiveScores:
    import pandas as pd
    from sklearn.base import is_regressor

    if estimator.init not in (None, "zero"):
        raise ExplanationError(
            f"there is no exact explanation of {type(estimator).__name__} whose first stage is a model of its own"
        )
    # With the exponential loss, the raw score is half the log-odds.
    scale = 2.0 if estimator.loss == "exponential" else 1.0
    own = estimator.predict if is_regressor(estimator) else estimator.decision_function

    def score(columns: Any) -> Any:
        return scale * own(columns)

    factor = scale * estimator.learning_rate
    found = TreeShap(
        [
            _nodes(tree.tree_, factor * tree.tree_.value[:, 0, :] * _one_of(number, len(stage)))
            for stage in estimator.estimators_
            for number, tree in enumerate(stage)
        ]
    )
    # The value before the first stage is a row's score less what the trees give it.
    row = np.zeros((1, estimator.n_features_in_), dtype=np.float32)
    names = getattr(estimator, "feature_names_in_", None)
    of_row = two_dimensional(score(row if names is None else pd.DataFrame(row, columns=names)))[0]
    start = of_row - found.base_values - found.contributions(row)[0].sum(axis=0)
    space: Space = "value" if is_regressor(estimator) else _class_space(estimator)
    return _additive(found, space, score, _in_float32, start)


def _probabilities(estimator: Any) -> AdditiveScores:
    classes = slice(1 if len(estimator.classes_) == 2 else 0, None)
    return _additive(
        _mean_of_trees(estimator, classes),
        "probability",
        lambda columns: estimator.predict_proba(columns)[:, classes],
        _in_float32,
    )


def _values(estimator: Any) -> AdditiveScores:
    return _additive(_mean_of_trees(estimator, slice(None)), "value", estimator.predict, _in_float32)


def _mean_of_trees(estimator: Any, scores: slice) -> TreeShap:
    trees = getattr(estimator, "estimators_", [estimator])
    return TreeShap([_nodes(tree.tree_, tree.tree_.value[:, 0, scores] / len(trees)) for tree in trees])


def _class_space(estimator: Any) -> Space:
    return "log-odds" if len(estimator.classes_) == 2 else "class score"


def _one_of(number: int, count: int) -> Floats:
    """(1, count), to make the values of one of several scores of a column of values."""
    return np.eye(count)[[number]]


def _nodes(tree: Any, values: Floats) -> Nodes:
    """Those of `sklearn.tree`."""
    return Nodes(
        left=tree.children_left,
        right=tree.children_right,
        columns=np.maximum(tree.feature, 0),  # -2 in a leaf
        thresholds=tree.threshold,
        nulls_go_left=tree.missing_go_to_left.astype(bool),
        weights=tree.weighted_n_node_samples,
        values=values,
    )


def _histogram_nodes(predictor: Any, of_scores: Floats, places: NDArray[np.intp], with_codes: bool) -> Nodes:
    """
    Args:
        places: (m,), of the columns that its splits name among those that the estimator takes.
    """
    nodes = predictor.nodes
    is_leaf, by_code = nodes["is_leaf"].astype(bool), nodes["is_categorical"].astype(bool)
    return Nodes(
        left=np.where(is_leaf, -1, nodes["left"].astype(np.intp)),
        right=np.where(is_leaf, -1, nodes["right"].astype(np.intp)),
        columns=places[nodes["feature_idx"]],
        thresholds=np.where(by_code, np.nan, nodes["num_threshold"]),
        nulls_go_left=nodes["missing_go_to_left"].astype(bool),
        weights=nodes["count"].astype(np.float64),
        values=nodes["value"][:, np.newaxis] * of_scores,
        categories=_categories(predictor, by_code) if with_codes else None,
    )


def _categories(predictor: Any, by_code: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which codes go left, (nodes, 256), from one bit for each."""
    found = np.zeros((len(by_code), CODES), dtype=bool)
    bits = predictor.raw_left_cat_bitsets[predictor.nodes["bitset_idx"][by_code]].astype("<u4")
    found[by_code] = np.unpackbits(bits.view(np.uint8), axis=1, bitorder="little").astype(bool)
    return found


def _in_float32(columns: Any) -> NDArray[np.float32]:
    return dense(columns).astype(np.float32)  # as `sklearn.tree` compares them


def _additive(
    trees: TreeShap, space: Space, score: Callable[[Any], Any], taken: Callable[[Any], Any], start: Any = 0.0
) -> AdditiveScores:
    """
    Args:
        taken: columns as the step before passes them → as the trees compare them.
        start: what the scores have besides the trees.
    """
    return AdditiveScores(
        space=space,
        base_values=start + trees.base_values,
        contributions=lambda columns: trees.contributions(taken(columns)),
        scores=lambda columns: two_dimensional(score(columns)),
        # Training transformed in float32; in float64 a row on a threshold could take the other branch.
        in_float32=True,
    )
