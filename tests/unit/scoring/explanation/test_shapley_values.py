"""Contributions are Shapley values by their definition: which inputs count as known, and what stands for the others."""

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from contract.tasks import TaskKind
from scoring.explanation import Explainer
from tests.unit.scoring.explanation.shapley import NAMES, Floats, matrix_of, shapley_values, some_rows, targets

ROWS = some_rows()
UNSEEN = matrix_of(some_rows(rows=4, seed=11))
K = len(NAMES)


def by_path(nodes: Any, row: Any, known: frozenset[int], at: int = 0) -> float:
    """A tree's expectation: by the row where the input is known, else over the training rows of both branches."""
    left, right, column, threshold, value, weight = nodes
    if left[at] < 0:
        return float(value[at])
    if column[at] in known:
        return by_path(nodes, row, known, left[at] if row[column[at]] <= threshold[at] else right[at])
    both = [by_path(nodes, row, known, branch[at]) * weight[branch[at]] for branch in (left, right)]
    return float(sum(both) / (weight[left[at]] + weight[right[at]]))


def nodes_of(tree: Any, output: int = 0) -> Any:
    if hasattr(tree, "nodes"):  # of histogram boosting
        nodes = tree.nodes
        left, right = (np.where(nodes["is_leaf"], -1, nodes[name].astype(int)) for name in ("left", "right"))
        return left, right, nodes["feature_idx"], nodes["num_threshold"], nodes["value"], nodes["count"]
    fitted = tree.tree_
    columns = (fitted.children_left, fitted.children_right, fitted.feature, fitted.threshold)
    return (*columns, fitted.value[:, 0, output], fitted.weighted_n_node_samples)


def trees_of(model: Any, score: int) -> tuple[list[Any], float]:
    """The trees that add up to a score, and the factor of each."""
    if isinstance(model, HistGradientBoostingClassifier | HistGradientBoostingRegressor):
        return [nodes_of(stage[score]) for stage in model._predictors], 1.0
    if isinstance(model, GradientBoostingClassifier | GradientBoostingRegressor):
        return [nodes_of(stage[score]) for stage in model.estimators_], model.learning_rate
    return [nodes_of(tree, score) for tree in model.estimators_], 1 / len(model.estimators_)


SMALL = {"n_estimators": 4, "max_depth": 3, "random_state": 1}
FEW = {"max_iter": 4, "max_leaf_nodes": 5, "random_state": 1}


@pytest.mark.parametrize(
    ("task", "model"),
    [
        ("binary", HistGradientBoostingClassifier(**FEW)),
        ("binary", GradientBoostingClassifier(**SMALL)),
        ("multiclass", HistGradientBoostingClassifier(**FEW)),
        ("multiclass", GradientBoostingClassifier(**SMALL)),
        ("multiclass", ExtraTreesClassifier(class_weight="balanced", **SMALL)),
        ("regression", HistGradientBoostingRegressor(loss="poisson", **FEW)),
        ("regression", GradientBoostingRegressor(**SMALL)),
        ("regression", RandomForestRegressor(**SMALL)),
    ],
)
def test_those_of_trees_are_path_dependent(task: TaskKind, model: Any) -> None:
    pipeline = make_pipeline(model).fit(ROWS, targets(task, ROWS))

    found = Explainer.of(pipeline, NAMES, task).explain(UNSEEN)

    for number, row in enumerate(UNSEEN):
        trees, factor = trees_of(pipeline[-1], 0 if found.classes is None else int(found.classes[number]))

        def score(known: frozenset[int], row: Any = row, trees: Any = trees, factor: float = factor) -> float:
            return factor * sum(by_path(nodes, row, known) for nodes in trees)

        np.testing.assert_allclose(found.contributions[number], shapley_values(score, K), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("task", "model"),
    [("binary", LogisticRegression()), ("multiclass", LogisticRegression()), ("regression", LinearRegression())],
)
def test_those_of_linear_models_are_interventional_over_the_training_rows(task: TaskKind, model: Any) -> None:
    """An input that is not known is taken from each training row; the score is the mean."""
    pipeline = make_pipeline(StandardScaler(), model).fit(ROWS.astype(np.float64), targets(task, ROWS))

    found = Explainer.of(pipeline, NAMES, task).explain(UNSEEN)

    def mean_score(known: frozenset[int], row: Any, answered: int) -> float:
        rows = ROWS.astype(np.float64)
        rows.iloc[:, sorted(known)] = row[sorted(known)]
        scores = pipeline.predict(rows) if task == "regression" else pipeline.decision_function(rows)
        return float(scores.reshape(len(rows), -1)[:, answered].mean())

    for number, row in enumerate(UNSEEN):
        answered = 0 if found.classes is None else int(found.classes[number])
        expected = shapley_values(partial(mean_score, row=row, answered=answered), K)
        np.testing.assert_allclose(found.contributions[number], expected, rtol=1e-9, atol=1e-9)
        assert found.base_values[number] == pytest.approx(mean_score(frozenset(), row, answered), abs=1e-9)


def with_one_hot(model: Any) -> Pipeline:
    return make_pipeline(
        make_column_transformer(
            (OneHotEncoder(), [NAMES[2]]), (StandardScaler(), [NAMES[1], NAMES[0]]), remainder="drop"
        ),
        model,
    )


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_a_category_that_is_not_known_is_none(task: TaskKind) -> None:
    """With one-hot columns, a linear model's reference is the mean of the centred inputs and none of the categories."""
    model = PoissonRegressor() if task == "regression" else LogisticRegression()
    pipeline = with_one_hot(model).fit(ROWS, targets(task, ROWS))

    found = Explainer.of(pipeline, NAMES, task).explain(UNSEEN)

    made_of = np.array([2, 2, 2, 2, 1, 0])
    columns: Floats = np.asarray(pipeline[0].transform(pd.DataFrame(UNSEEN, columns=NAMES)), dtype=np.float64)
    coefficients = np.atleast_2d(pipeline[-1].coef_)
    for number, row in enumerate(columns):
        answered = 0 if found.classes is None else int(found.classes[number])

        def score(known: frozenset[int], row: Any = row, answered: int = answered) -> float:
            return float(np.where(np.isin(made_of, sorted(known)), row, 0) @ coefficients[answered])

        np.testing.assert_allclose(found.contributions[number], shapley_values(score, K), rtol=1e-9, atol=1e-12)
