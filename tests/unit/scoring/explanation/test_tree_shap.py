"""Contributions of trees are those of `shap`, for every kind of tree, and have the properties of Shapley values."""

import subprocess
import sys
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
import shap
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import ensemble as many
from sklearn.compose import make_column_transformer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from contract.tasks import TaskKind
from scoring.explanation import Explainer
from scoring.explanation import tree_shap as module
from scoring.explanation.tree_models import tree_scores
from scoring.explanation.tree_shap import Nodes, TreeShap
from tests.unit.scoring.explanation.shapley import NAMES, Floats, matrix_of, shapley_values, some_rows, targets

ROWS = some_rows()
K = len(NAMES)
SOME = {"n_estimators": 7, "random_state": 1}
FEW = {"max_iter": 7, "min_samples_leaf": 5, "random_state": 1}

KINDS = [
    ("binary", DecisionTreeClassifier(random_state=1)),
    ("multiclass", DecisionTreeClassifier(max_depth=5, random_state=1)),
    ("regression", DecisionTreeRegressor(ccp_alpha=0.01, random_state=1)),
    ("binary", many.RandomForestClassifier(**SOME)),
    ("multiclass", many.RandomForestClassifier(class_weight="balanced", **SOME)),
    ("regression", many.RandomForestRegressor(max_depth=5, **SOME)),
    ("binary", many.ExtraTreesClassifier(**SOME)),
    ("multiclass", many.ExtraTreesClassifier(bootstrap=True, **SOME)),
    ("regression", many.ExtraTreesRegressor(**SOME)),
    ("binary", many.GradientBoostingClassifier(**SOME)),
    ("regression", many.GradientBoostingRegressor(max_depth=6, subsample=0.6, **SOME)),
    ("binary", many.HistGradientBoostingClassifier(**FEW)),
    ("multiclass", many.HistGradientBoostingClassifier(**FEW)),
    ("regression", many.HistGradientBoostingRegressor(**FEW)),
    ("regression", many.HistGradientBoostingRegressor(loss="poisson", **FEW)),
]
EACH = pytest.mark.parametrize(("task", "estimator"), [pytest.param(t, e, id=f"{t}-{e!r}") for t, e in KINDS])


def with_nulls(matrix: NDArray[np.float32], share: float = 0.15) -> NDArray[np.float32]:
    return np.where(np.random.default_rng(4).random(matrix.shape) < share, np.float32(np.nan), matrix)


def by_shap(estimator: Any, matrix: NDArray[np.float32]) -> tuple[Floats, Floats]:
    """Base values (s,) and contributions (n, m, s) by shap; of two classes, those of the positive one."""
    explainer = shap.TreeExplainer(estimator, feature_perturbation="tree_path_dependent")
    found = np.asarray(explainer.shap_values(matrix.astype(np.float64), check_additivity=False))
    base_values = np.atleast_1d(np.asarray(explainer.expected_value, dtype=np.float64)).ravel()
    chosen = slice(1 if len(base_values) == 2 else 0, None)
    return base_values[chosen], found.reshape(*matrix.shape, -1)[:, :, chosen]


def check_against_shap(estimator: Any, matrix: NDArray[np.float32]) -> None:
    base_values, contributions = by_shap(estimator, matrix)

    scores = tree_scores(estimator)

    assert scores is not None
    np.testing.assert_allclose(scores.base_values, base_values, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(scores.contributions(matrix), contributions, rtol=1e-10, atol=1e-12)
    assert np.abs(contributions).max(axis=(0, 2))[:3].all()


@EACH
def test_each_kind_of_tree_is_explained_as_by_shap(task: TaskKind, estimator: Any) -> None:
    check_against_shap(estimator.fit(matrix_of(ROWS), targets(task, ROWS)), matrix_of(some_rows(rows=80, seed=11)))


@pytest.mark.parametrize(
    ("task", "estimator"),
    [pytest.param(t, e, id=f"{t}-{e!r}") for t, e in KINDS if "GradientBoosting" not in repr(e) or "Hist" in repr(e)],
)
def test_each_kind_that_takes_nulls_explains_them_as_shap(task: TaskKind, estimator: Any) -> None:
    estimator.fit(with_nulls(matrix_of(ROWS)), targets(task, ROWS))

    check_against_shap(estimator, with_nulls(matrix_of(some_rows(rows=80, seed=11))))


@pytest.mark.parametrize(
    "estimator", [many.RandomForestRegressor(**SOME), many.HistGradientBoostingRegressor(**FEW)], ids=repr
)
def test_the_columns_that_steps_make_of_an_input_are_added_up_as_shap_explains_them(estimator: Any) -> None:
    pipeline = make_pipeline(
        make_column_transformer(
            (OneHotEncoder(), [NAMES[2]]), (StandardScaler(), [NAMES[1], NAMES[0], NAMES[3]]), sparse_threshold=0
        ),
        estimator,
    ).fit(ROWS, targets("regression", ROWS))
    unseen = some_rows(rows=80, seed=11)
    made_of = [2, 2, 2, 2, 1, 0, 3]

    found = Explainer.of(pipeline, NAMES, "regression").explain(matrix_of(unseen))

    base_values, of_columns = by_shap(pipeline[-1], pipeline[0].transform(unseen))
    expected = np.stack([of_columns[:, np.equal(made_of, at), 0].sum(axis=1) for at in range(K)], axis=1)
    np.testing.assert_allclose(found.contributions, expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found.base_value, base_values[0], rtol=1e-12)


def test_a_large_forest_is_taken_in_parts_that_add_up_to_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    forest = many.RandomForestRegressor(**SOME).fit(matrix_of(ROWS), targets("regression", ROWS))
    monkeypatch.setattr(module, "NODES_AT_ONCE", 300)
    monkeypatch.setattr(module, "AT_ONCE", 50)

    check_against_shap(forest, matrix_of(some_rows(rows=80, seed=11)))


def deep_tree(depth: int, columns: int) -> Nodes:
    """A tree that splits by each column in turn, always further to the right; rows halve at each split."""
    count = 2 * depth + 1
    at = np.arange(count)
    inner = (at % 2 == 0) & (at < count - 1)
    return Nodes(
        left=np.where(inner, at + 1, -1),
        right=np.where(inner, at + 2, -1),
        columns=np.where(inner, at // 2 % columns, 0),
        thresholds=np.zeros(count),
        nulls_go_left=np.zeros(count, dtype=bool),
        weights=np.exp2(-((at + 1) // 2), dtype=np.float64),
        values=np.sin(at, dtype=np.float64)[:, np.newaxis],
    )


def test_contributions_of_a_tree_of_a_hundred_columns_in_a_path_still_add_up() -> None:
    tree = TreeShap([deep_tree(depth=100, columns=100)])

    found = tree.contributions(np.ones((1, 100)))

    assert tree.base_values[0] + found.sum() == pytest.approx(np.sin(200.0), rel=1e-12)


@cache
def forest() -> tuple[Any, Any]:
    fitted = many.ExtraTreesRegressor(max_depth=9, **SOME).fit(with_nulls(matrix_of(ROWS)), targets("regression", ROWS))
    return fitted, tree_scores(fitted)


ANY_ROW = st.lists(st.floats(width=32, allow_infinity=False), min_size=K, max_size=K)


@settings(max_examples=80, deadline=None)
@given(row=ANY_ROW)
def test_base_value_and_contributions_of_any_row_add_up_to_the_prediction(row: list[float]) -> None:
    fitted, scores = forest()
    matrix = np.array([row], dtype=np.float32)

    total = scores.base_values[0] + scores.contributions(matrix).sum()

    assert total == pytest.approx(fitted.predict(matrix)[0], rel=1e-12, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(row=ANY_ROW, seed=st.integers(0, 1000))
def test_a_column_that_no_tree_splits_by_contributes_exactly_nothing(row: list[float], seed: int) -> None:
    columns = matrix_of(ROWS).copy()
    columns[:, 1] = 1
    fitted = DecisionTreeRegressor(random_state=seed, max_depth=4).fit(columns, targets("regression", ROWS))
    scores = tree_scores(fitted)

    assert scores is not None
    assert not scores.contributions(np.array([row], dtype=np.float32))[0, 1].any()


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.floats(-10, 10), min_size=3, max_size=3),
    x=st.floats(-5, 5),
    shares=st.tuples(*[st.floats(0.05, 0.95)] * 2),
)
def test_columns_that_the_trees_treat_alike_contribute_alike(
    values: list[float], x: float, shares: tuple[float, float]
) -> None:
    """Two trees with the two columns in opposite order."""
    first, second = shares

    def tree(columns: list[int]) -> Nodes:
        low, middle, high = values
        return Nodes(
            left=np.array([1, 3, -1, -1, -1]),
            right=np.array([2, 4, -1, -1, -1]),
            columns=np.array([*columns, 0, 0, 0]),
            thresholds=np.zeros(5),
            nulls_go_left=np.zeros(5, dtype=bool),
            weights=np.array([1, first, 1 - first, first * second, first * (1 - second)]),
            values=np.array([[0.0], [0.0], [high], [low], [middle]]),
        )

    found = TreeShap([tree([0, 1]), tree([1, 0])]).contributions(np.array([[x, x]]))

    assert found[0, 0, 0] == pytest.approx(found[0, 1, 0], rel=1e-12, abs=1e-12)


def with_own_codes(nulls: bool) -> Pipeline:
    rows = ROWS.copy()
    if nulls:
        rows[NAMES[1]] = with_nulls(matrix_of(ROWS))[:, 1]
    model = many.HistGradientBoostingRegressor(categorical_features=[NAMES[2]], **{**FEW, "max_leaf_nodes": 6})
    return make_pipeline(model).fit(rows, targets("regression", ROWS))


def known_alone(model: Any, row: Any, known: frozenset[int]) -> float:
    """Histogram boosting's trees by the definition of the game, with categories that come before numbers."""
    coded = model._preprocessor.transform(row)[0]
    original = [2, 0, 1, 3]
    total = 0.0
    for (predictor,) in model._predictors:
        nodes, sets = predictor.nodes, predictor.raw_left_cat_bitsets

        def value(at: int, nodes: Any = nodes, sets: Any = sets) -> float:
            node = nodes[at]
            if node["is_leaf"]:
                return float(node["value"])
            x, branches = coded[node["feature_idx"]], (int(node["left"]), int(node["right"]))
            if original[node["feature_idx"]] not in known:
                counts = [float(nodes[branch]["count"]) for branch in branches]
                return sum(c * value(b) for c, b in zip(counts, branches, strict=True)) / sum(counts)
            if np.isnan(x):
                left = bool(node["missing_go_to_left"])
            elif node["is_categorical"]:
                left = bool(int(sets[node["bitset_idx"]][int(x) // 32]) >> (int(x) % 32) & 1)
            else:
                left = bool(x <= node["num_threshold"])
            return value(branches[0] if left else branches[1])

        total += value(0)
    return total


@pytest.mark.parametrize("nulls", [False, True])
def test_splits_by_categories_are_explained_by_definition(nulls: bool) -> None:
    """Shap treats such a split as a threshold, which is wrong (shap issue 3436)."""
    pipeline = with_own_codes(nulls)
    assert any(predictor.nodes["is_categorical"].any() for (predictor,) in pipeline[-1]._predictors)
    unseen = some_rows(rows=6, seed=11)
    unseen.iloc[0, 2] = 9  # a category that training did not see
    if nulls:
        unseen.iloc[1, 1:3] = np.nan

    found = Explainer.of(pipeline, NAMES, "regression").explain(matrix_of(unseen))

    for number in range(len(unseen)):
        value = partial(known_alone, pipeline[-1], unseen.iloc[[number]])
        np.testing.assert_allclose(found.contributions[number], shapley_values(value, K), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        found.base_values + found.contributions.sum(axis=1), pipeline.predict(unseen), rtol=1e-12
    )


def test_trees_are_explained_without_shap_numba_and_llvm() -> None:
    """In a process that cannot import them."""
    code = """if True:
        import sys
        sys.modules.update(shap=None, numba=None, llvmlite=None)
        import numpy as np, pandas as pd
        from sklearn.ensemble import HistGradientBoostingRegressor
        from scoring.explanation import Explainer
        rows = pd.DataFrame({"a": np.arange(90.0), "b": np.arange(90.0) % 7})
        pipeline = HistGradientBoostingRegressor(max_iter=3).fit(rows, rows["a"] * rows["b"])
        print(Explainer.of(pipeline, ["a", "b"], "regression").explain(rows.to_numpy(np.float32)).contributions.shape)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "(90, 2)\n" == done.stdout
