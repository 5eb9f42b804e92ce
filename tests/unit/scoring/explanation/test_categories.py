"""Explanations of pipelines that take texts and nulls: one contribution per input, and they add up to the score."""

from typing import Any

import numpy as np
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler, TargetEncoder

from contract.tasks import TaskKind
from contract.values.vocabulary import MISSING_CODE, UNSEEN_CODE
from scoring.errors import ExplanationError
from scoring.explanation.explainer import TOLERANCE, Explainer
from scoring.models.model_frame import CodedColumns
from tests.models.mixed_model import CATEGORIES, NAMES, NUMBERS, REGION, mixed_inputs, mixed_rows

KINDS: list[TaskKind] = ["binary", "multiclass", "regression"]
CODED = CodedColumns.of(mixed_inputs())

LINEAR = {"regression": Ridge, "binary": LogisticRegression, "multiclass": LogisticRegression}
BOOSTING = {
    "regression": HistGradientBoostingRegressor,
    "binary": HistGradientBoostingClassifier,
    "multiclass": HistGradientBoostingClassifier,
}
FOREST = {
    "regression": RandomForestRegressor,
    "binary": RandomForestClassifier,
    "multiclass": RandomForestClassifier,
}


def one_hot(**settings: Any) -> OneHotEncoder:
    return OneHotEncoder(handle_unknown="ignore", **settings)


def ordinal() -> OrdinalEncoder:
    return OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)


def by_name(encoder: Any, numbers: Any = "passthrough") -> ColumnTransformer:
    return ColumnTransformer([("categories", encoder, CATEGORIES), ("numbers", numbers, NUMBERS)], sparse_threshold=0)


def scaled() -> Pipeline:
    return make_pipeline(SimpleImputer(), StandardScaler())


def pipelines(kind: TaskKind) -> dict[str, Pipeline]:
    linear, boosting, forest = LINEAR[kind], BOOSTING[kind], FOREST[kind]
    return {
        "one-hot": make_pipeline(by_name(one_hot(), scaled()), linear()),
        "one-hot of frequent values": make_pipeline(
            by_name(OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=80), scaled()), linear()
        ),
        "ordinal": make_pipeline(by_name(make_pipeline(ordinal(), StandardScaler()), scaled()), linear()),
        "target encoder": make_pipeline(
            by_name(make_pipeline(TargetEncoder(cv=KFold(5)), StandardScaler()), scaled()), linear()
        ),
        "boosting with nulls": make_pipeline(by_name(ordinal()), boosting(max_iter=8, random_state=1)),
        "boosting of codes": make_pipeline(
            by_name(ordinal()), boosting(max_iter=8, categorical_features=[0], random_state=1)
        ),
        "boosting of texts": make_pipeline(boosting(max_iter=8, categorical_features=CATEGORIES, random_state=1)),
        "boosting after one-hot": make_pipeline(by_name(one_hot()), boosting(max_iter=8, random_state=1)),
        "a forest": make_pipeline(
            by_name(one_hot(), SimpleImputer()), forest(n_estimators=8, max_depth=6, random_state=1)
        ),
        "a forest with nulls": make_pipeline(by_name(one_hot()), forest(n_estimators=8, max_depth=6, random_state=1)),
    }


def fitted(pipeline: Pipeline, kind: TaskKind) -> Pipeline:
    matrix, labels = mixed_rows(kind, 1)
    fitted: Pipeline = pipeline.fit(CODED.frame(matrix.to_numpy(), NAMES), labels)
    return fitted


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", pipelines("binary"))
def test_contributions_per_input_add_up_to_the_pipelines_own_score(name: str, kind: TaskKind) -> None:
    pipeline = fitted(pipelines(kind)[name], kind)
    matrix = mixed_rows(kind, 2)[0].to_numpy()

    found = Explainer.of(pipeline, NAMES, kind, CODED).explain(matrix)

    frame = CODED.frame(matrix, NAMES)
    if kind == "regression":
        scores = pipeline.predict(frame)
    elif found.space == "probability":
        scores = pipeline.predict_proba(frame)
    else:
        scores = pipeline.decision_function(frame)
    if kind == "binary" and scores.ndim == 2:
        scores = scores[:, 1]
    if kind == "multiclass":
        scores = scores.max(axis=1)
    assert (len(matrix), len(NAMES)) == found.contributions.shape
    total = found.base_values + found.contributions.sum(axis=1)
    # A linear model behind float32 steps: scikit-learn may compute in float32, where `Explainer` uses float64.
    np.testing.assert_allclose(total, scores, rtol=0, atol=2e-6 if found.space != "probability" else TOLERANCE)
    assert np.isnan(matrix).any()
    assert {UNSEEN_CODE, MISSING_CODE} <= set(matrix[:, NAMES.index(REGION)])


def test_the_columns_of_a_category_are_one_contribution() -> None:
    pipeline = fitted(pipelines("regression")["one-hot"], "regression")
    row = mixed_rows("regression", 2, rows=1)[0].to_numpy()
    rows = np.repeat(row, 3, axis=0)
    rows[:, NAMES.index(REGION)] = [0, 5, MISSING_CODE]

    found = Explainer.of(pipeline, NAMES, "regression", CODED).explain(rows)

    others = [at for at, name in enumerate(NAMES) if name != REGION]
    assert (found.contributions[0, others] == found.contributions[1:, others]).all()
    moved = np.diff(found.contributions[:, NAMES.index(REGION)])
    np.testing.assert_allclose(moved, np.diff(pipeline.predict(CODED.frame(rows, NAMES))), rtol=0, atol=1e-5)
    assert (np.abs(moved) > 0.1).all()


@pytest.mark.parametrize(
    ("pipeline", "said"),
    [
        (make_pipeline(by_name(ordinal(), scaled()), LogisticRegression()), "not centred .* made of household__plan"),
    ],
)
def test_what_has_no_exact_explanation_is_refused(pipeline: Pipeline, said: str) -> None:
    with pytest.raises(ExplanationError, match=said):
        Explainer.of(fitted(pipeline, "binary"), NAMES, "binary", CODED)
