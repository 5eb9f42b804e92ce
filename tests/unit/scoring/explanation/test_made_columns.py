"""Each column that the transforms make is followed back to its input, and contributions are added up there."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer, make_column_selector, make_column_transformer
from sklearn.decomposition import PCA
from sklearn.ensemble import GradientBoostingClassifier, RandomForestRegressor
from sklearn.feature_selection import SelectKBest, VarianceThreshold, f_regression
from sklearn.impute import KNNImputer, MissingIndicator, SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline, make_union
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
    TargetEncoder,
)
from sklearn.tree import DecisionTreeClassifier

from contract.tasks import TaskKind
from scoring.errors import ExplanationError
from scoring.explanation import Explainer
from scoring.explanation.made_columns import Column, columns_after
from scoring.models.stored_pipeline import foreign_types, read_pipeline
from scoring.models.trusted_types import SETTING
from tests.unit.scoring.explanation.shapley import NAMES, Floats, matrix_of, some_rows, targets

ROWS = some_rows()
UNSEEN = matrix_of(some_rows(rows=40, seed=11))
COUNT, DAYS, PLAN, NOISE = NAMES


def rows_with_gaps() -> pd.DataFrame:
    rows = ROWS.copy()
    rows.loc[::7, COUNT] = np.nan
    rows.loc[::5, NOISE] = np.nan
    return rows


def rare_plan() -> pd.DataFrame:
    """Two of the four plans are rare."""
    return ROWS.assign(**{PLAN: np.array([0, 0, 0, 0, 0, 1, 1, 1, 2, 3] * 30, dtype=np.float32)})


def one_hot(**parameters: object) -> ColumnTransformer:
    return make_column_transformer(
        (OneHotEncoder(**parameters), [PLAN]), (StandardScaler(), [DAYS, COUNT]), remainder="drop"
    )


def repeated(times: int) -> list[int]:
    return np.repeat(range(len(NAMES)), times).tolist()


TRANSFORMS: dict[str, tuple[Any, list[int]]] = {
    "one-hot": (one_hot(), [2, 2, 2, 2, 1, 0]),
    "one-hot, dense": (one_hot(sparse_output=False), [2, 2, 2, 2, 1, 0]),
    "one-hot less the first": (one_hot(drop="first"), [2, 2, 2, 1, 0]),
    "one-hot of frequent ones": (one_hot(min_frequency=50, handle_unknown="infrequent_if_exist"), [2, 2, 2, 1, 0]),
    "one-hot of frequent ones less one": (one_hot(max_categories=2, drop="first"), [2, 1, 0]),
    "one-hot of all": (OneHotEncoder(max_categories=3, handle_unknown="ignore"), repeated(3)),
    "ordinal": (make_column_transformer((OrdinalEncoder(), [2]), remainder="passthrough"), [2, 0, 1, 3]),
    "bins": (
        KBinsDiscretizer(n_bins=[2, 3, 2, 4], quantile_method="averaged_inverted_cdf"),
        [0, 0, 1, 1, 1, 2, 2, 3, 3, 3, 3],
    ),
    "bins by number": (KBinsDiscretizer(encode="ordinal", strategy="uniform"), [0, 1, 2, 3]),
    "scaled bins": (make_pipeline(StandardScaler(), KBinsDiscretizer(strategy="uniform", n_bins=3)), repeated(3)),
    "scalers": (make_pipeline(MinMaxScaler(), RobustScaler(), MaxAbsScaler(), Binarizer()), [0, 1, 2, 3]),
    "splines": (SplineTransformer(n_knots=3, degree=2), repeated(4)),
    "splines without one": (
        SplineTransformer(n_knots=3, degree=2, include_bias=False),
        repeated(3),
    ),
    "target encoder": (TargetEncoder(cv=2), [0, 1, 2, 3]),
    "a numpy function": (FunctionTransformer(np.cbrt), [0, 1, 2, 3]),
    "imputer": (SimpleImputer(add_indicator=True), [0, 1, 2, 3, 0, 3]),
    "indicator": (make_union(MissingIndicator(), SimpleImputer()), [0, 3, 0, 1, 2, 3]),
    "selection": (make_pipeline(VarianceThreshold(), SelectKBest(f_regression, k=2)), [0, 1]),
    "by name and slice": (
        ColumnTransformer([("a", "passthrough", slice(COUNT, DAYS)), ("b", StandardScaler(), slice(2, None))]),
        [0, 1, 2, 3],
    ),
    "by mask and last": (
        ColumnTransformer([("a", StandardScaler(), [False, True, False, True]), ("b", "passthrough", [-2])]),
        [1, 3, 2],
    ),
    "by one name": (ColumnTransformer([("a", StandardScaler(), [NOISE]), ("b", MinMaxScaler(), [COUNT])]), [3, 0]),
    "by selector": (
        ColumnTransformer(
            [
                ("none", StandardScaler(), []),
                ("profile", QuantileTransformer(n_quantiles=20), make_column_selector("^profile")),
                ("dropped", "drop", [COUNT]),
            ],
            remainder=StandardScaler(),
        ),
        [2, 3, 1],
    ),
    "columns twice": (
        FeatureUnion([("a", PowerTransformer()), ("no", "drop"), ("b", one_hot()), ("c", "passthrough")]),
        [0, 1, 2, 3, 2, 2, 2, 2, 1, 0, 0, 1, 2, 3],
    ),
    "parts of parts": (
        make_pipeline(
            ColumnTransformer(
                [("numbers", make_pipeline(StandardScaler(), SplineTransformer(n_knots=2, degree=1)), [NOISE, COUNT])],
                remainder="passthrough",
            ),
            StandardScaler(),
        ),
        [3, 3, 0, 0, 1, 2],
    ),
}


def fitting_rows(name: str) -> pd.DataFrame:
    if name in ("imputer", "indicator"):
        return rows_with_gaps()
    return rare_plan() if "frequent" in name else ROWS


@pytest.mark.parametrize("name", TRANSFORMS)
def test_every_made_column_is_followed_to_its_input(name: str) -> None:
    transform, expected = TRANSFORMS[name]
    rows = fitting_rows(name)
    fitted = transform.fit(rows, targets("regression", ROWS))

    made = columns_after(fitted, [Column(at) for at in range(len(NAMES))])

    assert expected == [column.input for column in made]
    before = dense(fitted.transform(rows))
    assert len(expected) == before.shape[1]
    for number, name_of_input in enumerate(NAMES):  # and only its columns change with an input
        changed = dense(fitted.transform(rows.assign(**{name_of_input: rows[name_of_input].to_numpy()[::-1]})))
        differs = ~np.isclose(changed, before, equal_nan=True).all(axis=0)
        assert {number} >= {made[at].input for at in np.flatnonzero(differs)}


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_contributions_are_added_up_to_their_input(name: str, task: TaskKind) -> None:
    """Held against the same estimator, explained over the made columns."""
    rows = fitting_rows(name)
    model = (
        RandomForestRegressor(3, max_depth=4) if task == "regression" else GradientBoostingClassifier(n_estimators=3)
    )
    pipeline = make_pipeline(TRANSFORMS[name][0], model)
    target = targets(task, ROWS)
    pipeline.fit(rows, target)

    found = Explainer.of(pipeline, NAMES, task).explain(UNSEEN)

    made_of = [column.input for column in columns_after(pipeline[0], [Column(at) for at in range(len(NAMES))])]
    columns = [f"made_{at}" for at in range(len(made_of))]
    made = pd.DataFrame(dense(pipeline[0].transform(pd.DataFrame(UNSEEN, columns=NAMES))), columns=columns)
    inner = pipeline[-1]
    inner.feature_names_in_ = np.array(columns, dtype=object)  # as if it had been trained without the transforms
    direct = Explainer.of(inner, columns, task).explain(made.to_numpy(dtype=np.float32), _listed(found.classes))
    expected = np.zeros_like(found.contributions)
    for at, column in enumerate(made_of):
        expected[:, column] += direct.contributions[:, at]
    np.testing.assert_allclose(found.contributions, expected, rtol=1e-12, atol=1e-12)
    unused = sorted(set(range(len(NAMES))) - set(made_of))
    assert not found.contributions[:, unused].any()


def _listed(classes: NDArray[np.intp] | None) -> list[int] | None:
    return None if classes is None else classes.tolist()


def dense(columns: Any) -> Floats:
    return np.asarray(columns.toarray() if hasattr(columns, "toarray") else columns, dtype=np.float64)


@pytest.mark.parametrize(
    "transform", [one_hot(), one_hot(drop="first"), make_pipeline(StandardScaler(), MaxAbsScaler())]
)
def test_a_linear_model_is_explained_on_centred_and_one_hot_columns(transform: Any) -> None:
    pipeline = make_pipeline(transform, Ridge()).fit(ROWS, targets("regression", ROWS))

    found = Explainer.of(pipeline, NAMES, "regression").explain(UNSEEN)

    own = pipeline.predict(pd.DataFrame(UNSEEN, columns=NAMES))
    np.testing.assert_allclose(found.base_values + found.contributions.sum(axis=1), own, rtol=1e-5)
    assert found.base_value == pytest.approx(float(pipeline[-1].intercept_))


@pytest.mark.parametrize(
    "transform",
    [
        MinMaxScaler(),
        OrdinalEncoder(),
        RobustScaler(),
        SplineTransformer(),
        FunctionTransformer(np.cbrt),
        make_pipeline(StandardScaler(), MinMaxScaler()),
        SimpleImputer(missing_values=1.0),
        make_column_transformer((OneHotEncoder(), [PLAN]), remainder="passthrough"),
    ],
)
def test_a_linear_model_on_other_columns_is_refused_with_the_inputs_named(transform: Any) -> None:
    pipeline = make_pipeline(transform, Ridge()).fit(ROWS, targets("regression", ROWS))

    with pytest.raises(ExplanationError, match=f"not centred on the training rows, made of {COUNT}, {DAYS}"):
        Explainer.of(pipeline, NAMES, "regression")

    centred = make_pipeline(transform, *_dense_and_centred(), Ridge()).fit(ROWS, targets("regression", ROWS))
    Explainer.of(centred, NAMES, "regression")


def _dense_and_centred() -> list[Any]:
    return [MaxAbsScaler(), StandardScaler()]


def log_of(rows: Any) -> Any:
    return np.log1p(np.abs(rows))


@pytest.mark.parametrize(
    ("transform", "reason"),
    [
        (PCA(2), "PCA"),
        (PolynomialFeatures(2), "PolynomialFeatures"),
        (Normalizer(), "Normalizer"),
        (KNNImputer(), "KNNImputer"),
        (FunctionTransformer(log_of), "FunctionTransformer's log_of"),
        (make_column_transformer((PCA(1), [0, 1]), remainder="passthrough"), "PCA"),
        (make_union(StandardScaler(), make_pipeline(StandardScaler(), PCA(1))), "PCA"),
    ],
)
def test_a_transform_that_mixes_columns_or_is_not_known_is_refused_by_name(transform: Any, reason: str) -> None:
    pipeline = make_pipeline(transform, DecisionTreeClassifier(max_depth=2)).fit(ROWS, targets("binary", ROWS))

    with pytest.raises(ExplanationError, match=f"{reason} is not known to map each input by itself"):
        Explainer.of(pipeline, NAMES)


def test_a_category_that_training_did_not_have_is_refused_without_its_value() -> None:
    pipeline = make_pipeline(one_hot(), LogisticRegression()).fit(ROWS, targets("binary", ROWS))
    row = UNSEEN[:1].copy()
    row[0, 2] = 77

    with pytest.raises(ExplanationError, match="ColumnTransformer does not take this row") as refused:
        Explainer.of(pipeline, NAMES).explain(row)

    assert "77" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_transforms_that_make_other_columns_than_they_should_are_refused() -> None:
    pipeline = make_pipeline(StandardScaler(), Selecting(), Ridge()).fit(ROWS, targets("regression", ROWS))

    with pytest.raises(ExplanationError, match="make 3 columns, not 4"):
        Explainer.of(pipeline, NAMES, "regression").explain(UNSEEN)


class Selecting(StandardScaler):  # type: ignore[misc]
    """A scaler of somebody's own that leaves the last column out."""

    def transform(self, X: Any, copy: bool | None = None) -> Any:
        return super().transform(X, copy=copy)[:, :-1]


@pytest.mark.parametrize("nested", [lambda: Pipeline([("inner", make_pipeline(StandardScaler(), Ridge()))])])
def test_a_pipeline_within_a_pipeline_is_explained(nested: Callable[[], Pipeline]) -> None:
    pipeline = nested().fit(ROWS, targets("regression", ROWS))
    flat = make_pipeline(StandardScaler(), "passthrough", Ridge()).fit(ROWS, targets("regression", ROWS))

    inside, outside = (Explainer.of(each, NAMES, "regression").explain(UNSEEN) for each in (pipeline, flat))

    np.testing.assert_array_equal(inside.contributions, outside.contributions)


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_a_stored_pipeline_is_explained_like_the_one_that_was_trained(
    name: str, task: TaskKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = (
        RandomForestRegressor(2, max_depth=3) if task == "regression" else GradientBoostingClassifier(n_estimators=2)
    )
    trained = make_pipeline(TRANSFORMS[name][0], model).fit(fitting_rows(name), targets(task, ROWS))
    document = skops.io.dumps(trained)
    monkeypatch.setenv(SETTING, " ".join(foreign_types(document)))  # splines and selectors: the operator trusts them

    stored = read_pipeline(document, promised=foreign_types(document))

    expected, found = (Explainer.of(each, NAMES, task).explain(UNSEEN) for each in (trained, stored))
    np.testing.assert_array_equal(expected.contributions, found.contributions)
