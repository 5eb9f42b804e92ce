"""A file that was made by hand must not lead scikit-learn's compiled code out of its arrays, or round in circles."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.base import BaseEstimator, is_regressor
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.tree import DecisionTreeClassifier

from scoring.errors import ModelError
from scoring.models.stored_indices import check_indices
from scoring.models.stored_pipeline import read_pipeline
from scoring.models.trusted_types import SETTING
from tests.models.fakes import ORDERS, SPEND, training_rows


def fitted(estimator: BaseEstimator, classes: int = 2) -> Pipeline:
    """A pipeline of two or of three classes; of a regression, where it is one."""
    rows, labels = training_rows()
    if is_regressor(estimator):
        return Pipeline([("regressor", estimator)]).fit(rows, rows[SPEND])
    return Pipeline([("classifier", estimator)]).fit(rows, labels if classes == 2 else rows[ORDERS] % 3)


def tree(pipeline: Pipeline) -> Any:
    classifier = pipeline[-1]
    return (np.ravel(classifier.estimators_)[-1] if hasattr(classifier, "estimators_") else classifier).tree_


def child_outside(pipeline: Pipeline) -> None:
    tree(pipeline).children_left[0] = 10_000_000


def child_before(pipeline: Pipeline) -> None:
    tree(pipeline).children_right[0] = 0


def negative_child(pipeline: Pipeline) -> None:
    tree(pipeline).children_right[0] = -7


def feature_outside(pipeline: Pipeline) -> None:
    tree(pipeline).feature[0] = 1_000_000


def fewer_columns(pipeline: Pipeline) -> None:
    pipeline[-1].n_features_in_ = 1


def unsaid_columns(pipeline: Pipeline) -> None:
    del pipeline[-1].n_features_in_


DAMAGES = [child_outside, child_before, negative_child, feature_outside, fewer_columns, unsaid_columns]
TREES = [
    DecisionTreeClassifier(max_depth=3),
    RandomForestClassifier(3, max_depth=3),
    GradientBoostingClassifier(n_estimators=3),
    ExtraTreesRegressor(3, max_depth=3),
    GradientBoostingRegressor(n_estimators=3),
]


def read(pipeline: Pipeline) -> Pipeline:
    return read_pipeline(skops.io.dumps(pipeline), promised=())


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("estimator", TREES, ids=lambda each: type(each).__name__)
def test_a_tree_whose_numbers_lead_out_of_it_is_refused(
    estimator: BaseEstimator, damage: Callable[[Pipeline], None], classes: int
) -> None:
    pipeline = fitted(estimator, classes)
    read(pipeline)
    damage(pipeline)

    with pytest.raises(ModelError, match="it holds"):
        read(pipeline)


GRADIENT_BOOSTING = [
    GradientBoostingClassifier(n_estimators=3),
    GradientBoostingClassifier(n_estimators=3, init="zero"),
    GradientBoostingClassifier(n_estimators=3, init=DecisionTreeClassifier(max_depth=2)),
    GradientBoostingRegressor(n_estimators=3),
    GradientBoostingRegressor(n_estimators=3, init="zero"),
    GradientBoostingRegressor(n_estimators=3, init=LinearRegression()),
]


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(
    ("estimator", "times"), [(GRADIENT_BOOSTING[0], 256), *((each, 2) for each in GRADIENT_BOOSTING)], ids=repr
)
def test_more_boosted_trees_in_a_stage_than_columns_to_add_to_are_refused(
    estimator: BaseEstimator, classes: int, times: int
) -> None:
    pipeline = fitted(estimator, classes)
    read(pipeline)
    # scored, it writes beside its array
    pipeline[-1].estimators_ = np.repeat(pipeline[-1].estimators_, times, axis=1)

    with pytest.raises(ModelError, match="it holds more or fewer boosted trees in a stage"):
        read(pipeline)


def one_class(boosted: Any) -> None:
    boosted.init_.class_prior_, boosted.init_.n_classes_ = np.array([1.0]), 1


def no_first_stage(boosted: Any) -> None:
    del boosted.init_


def itself_first(boosted: Any) -> None:
    boosted.init_ = boosted


def another_first(boosted: Any) -> None:
    boosted.init_ = fitted(GradientBoostingClassifier(n_estimators=2), classes=3)


def no_stage(boosted: Any) -> None:
    boosted.estimators_ = boosted.estimators_[:, :0]


def two_of_three(boosted: Any) -> None:
    boosted.estimators_ = boosted.estimators_[:, :2]


@pytest.mark.parametrize(
    ("damage", "classes"),
    [
        *itertools.product([one_class, no_first_stage, itself_first, another_first, no_stage], [2, 3]),
        (two_of_three, 3),
    ],
)
def test_a_first_stage_that_does_not_fit_the_boosted_trees_is_refused(
    damage: Callable[[Any], None], classes: int
) -> None:
    pipeline = fitted(GradientBoostingClassifier(n_estimators=3), classes)
    damage(pipeline[-1])

    with pytest.raises(ModelError, match="it holds"):
        check_indices(pipeline)


@pytest.mark.parametrize(
    ("member", "value"), [("left", 4_000_000_000), ("right", 0), ("feature_idx", 99), ("is_categorical", 1)]
)
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(
    "estimator", [HistGradientBoostingClassifier(max_iter=2), HistGradientBoostingRegressor(max_iter=2)], ids=repr
)
def test_a_boosted_tree_whose_numbers_lead_out_of_it_is_refused(
    estimator: BaseEstimator, classes: int, member: str, value: int
) -> None:
    pipeline = fitted(estimator, classes)
    read(pipeline)
    pipeline[-1]._predictors[-1][-1].nodes[member][0] = value

    with pytest.raises(ModelError, match="it holds"):
        read(pipeline)


@pytest.mark.parametrize("algorithm", ["kd_tree", "ball_tree"])
@pytest.mark.parametrize("damage", ["a neighbour", "the end of a group", "a branch of neighbours"])
def test_neighbours_whose_numbers_lead_out_of_them_are_refused(algorithm: str, damage: str) -> None:
    pipeline = fitted(KNeighborsClassifier(3, algorithm=algorithm, leaf_size=10))
    read(pipeline)
    _, rows, nodes, _ = (np.asarray(array) for array in pipeline[-1]._tree.get_arrays())
    if damage == "a neighbour":
        rows[0] = 10_000_000
    elif damage == "the end of a group":
        nodes["idx_end"][0] = 10_000_000
    else:
        nodes["is_leaf"][-1] = 0

    with pytest.raises(ModelError, match=f"out of range: {damage}"):
        read(pipeline)


@pytest.mark.parametrize("algorithm", ["kd_tree", "ball_tree"])
@pytest.mark.parametrize("missing", [0, 1, 2], ids=["corners", "nodes", "columns"])
def test_neighbours_without_all_of_their_bounds_are_refused(algorithm: str, missing: int) -> None:
    pipeline = fitted(KNeighborsClassifier(3, algorithm=algorithm, leaf_size=10))
    state = list(pipeline[-1]._tree.__getstate__())
    (at,) = (place for place, member in enumerate(state) if np.ndim(member) == 3)
    state[at] = np.ascontiguousarray(np.delete(np.asarray(state[at]), -1, axis=missing))
    pipeline[-1]._tree.__setstate__(tuple(state))

    with pytest.raises(ModelError, match="arrays of different sizes"):
        read(pipeline)


def test_a_type_that_its_contract_does_not_name_is_refused_although_it_is_trusted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipeline = fitted(HistGradientBoostingClassifier(max_iter=2, categorical_features=[3]))
    document, foreign = skops.io.dumps(pipeline), ("functools.partial", "sklearn.utils.validation.check_array")

    with pytest.raises(ModelError, match=r'MODEL_TRUSTED_TYPES="functools\.partial'):
        read_pipeline(document, promised=foreign)  # what comes with the model trusts nobody
    monkeypatch.setenv(SETTING, " ".join(foreign))
    read_pipeline(document, promised=foreign)
    with pytest.raises(ModelError, match=r"types that its contract does not name: functools\.partial"):
        read_pipeline(document, promised=())


def test_a_booster_is_loaded_only_where_it_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    from xgboost import XGBClassifier

    foreign = ("xgboost.core.Booster", "xgboost.sklearn.XGBClassifier")
    monkeypatch.setenv(SETTING, " ".join(foreign))
    document = skops.io.dumps(fitted(XGBClassifier(n_estimators=2)))

    with pytest.raises(ModelError, match="a model of xgboost, which is loaded only where it is trained"):
        read_pipeline(document, promised=foreign)
    read_pipeline(document, promised=foreign, boosters=True)
