"""Pipelines that choose columns by name and take text: one float32 matrix gives their answers, or ONNX is not used."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import pytest
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer, make_column_selector, make_column_transformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler, TargetEncoder
from xgboost import XGBClassifier, XGBRegressor

from contract.tasks import TaskKind
from contract.values.vocabulary import MISSING_CODE, UNSEEN_CODE
from scoring.models.model_frame import CodedColumns
from scoring.models.onnx_scorer import onnx_scorer
from scoring.models.task_models import task_model
from scoring.models.trusted_types import SETTING
from tests.models.fakes import contract_of
from tests.models.mixed_model import (
    AGE,
    CATEGORIES,
    NAMES,
    NUMBERS,
    PLAN,
    REGION,
    SPEND,
    STORE,
    VISITS,
    mixed_inputs,
    mixed_rows,
)
from training.compilation.onnx_model import MAX_DIFFERENCE, OnnxComparison, compare, compile_to_onnx
from training.compilation.preflight import check_candidate, check_registrable
from training.errors import ModelImportError, TrainingError

KINDS: list[TaskKind] = ["binary", "multiclass", "regression"]
CODED = CodedColumns.of(mixed_inputs())
TRUSTED = (
    "collections.OrderedDict lightgbm.basic.Booster lightgbm.sklearn.LGBMClassifier lightgbm.sklearn.LGBMRegressor "
    "xgboost.core.Booster xgboost.sklearn.XGBClassifier xgboost.sklearn.XGBRegressor "
    "functools.partial sklearn.utils.validation.check_array"
)

Part = tuple[str, Any, Any]


def one_hot(**settings: Any) -> OneHotEncoder:
    return OneHotEncoder(handle_unknown="ignore", sparse_output=False, **settings)


def ordinal() -> OrdinalEncoder:
    return OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)


def scaled() -> Pipeline:
    return make_pipeline(SimpleImputer(), StandardScaler())


def columns(encoder: BaseEstimator, numbers: Any = None, **settings: Any) -> ColumnTransformer:
    """Chosen by name, categories first."""
    numbers = scaled() if numbers is None else numbers
    return ColumnTransformer([("categories", encoder, CATEGORIES), ("numbers", numbers, NUMBERS)], **settings)


def linear(kind: TaskKind) -> BaseEstimator:
    return Ridge() if kind == "regression" else LogisticRegression(max_iter=500)


def boosting(kind: TaskKind, **settings: Any) -> BaseEstimator:
    made = HistGradientBoostingRegressor if kind == "regression" else HistGradientBoostingClassifier
    return made(max_iter=8, random_state=1, **settings)


def forest(kind: TaskKind) -> BaseEstimator:
    made = RandomForestRegressor if kind == "regression" else RandomForestClassifier
    return made(8, max_depth=6, random_state=1)


def light(kind: TaskKind) -> BaseEstimator:
    return (LGBMRegressor if kind == "regression" else LGBMClassifier)(n_estimators=8, verbose=-1, n_jobs=1)


def extreme(kind: TaskKind) -> BaseEstimator:
    return (XGBRegressor if kind == "regression" else XGBClassifier)(n_estimators=8, n_jobs=1)


def with_rest(encoder: BaseEstimator) -> ColumnTransformer:
    return ColumnTransformer([("categories", encoder, CATEGORIES)], remainder="passthrough")


def nested(kind: TaskKind) -> Pipeline:
    inner = ColumnTransformer([("ordinal", ordinal(), [REGION]), ("numbers", SimpleImputer(), [VISITS, AGE])])
    outer = ColumnTransformer([("inner", inner, [AGE, REGION, VISITS]), ("plan", one_hot(), [PLAN])])
    return make_pipeline(outer, boosting(kind))


def voting(kind: TaskKind) -> BaseEstimator:
    both = [
        ("linear", make_pipeline(columns(one_hot()), linear(kind))),
        ("forest", make_pipeline(columns(ordinal(), SimpleImputer()), forest(kind))),
    ]
    return VotingRegressor(both) if kind == "regression" else VotingClassifier(both, voting="soft")


@dataclass(frozen=True)
class Case:
    """A pipeline for each task, and what serves it: `said` is why scikit-learn does."""

    made: Callable[[TaskKind], Any]
    said: str = ""
    said_of: Sequence[TaskKind] = ("binary", "multiclass", "regression")


UNEQUAL = "answers otherwise"

ZOO: dict[str, Case] = {
    "one-hot": Case(lambda kind: make_pipeline(columns(one_hot()), linear(kind))),
    "one-hot, sparse": Case(lambda kind: make_pipeline(columns(OneHotEncoder(handle_unknown="ignore")), linear(kind))),
    "one-hot without the first": Case(lambda kind: make_pipeline(columns(one_hot(drop="first")), linear(kind))),
    "ordinal": Case(lambda kind: make_pipeline(columns(ordinal()), linear(kind))),
    "target encoder": Case(
        lambda kind: make_pipeline(columns(TargetEncoder(random_state=1)), linear(kind)),
        "TargetEncoder for binary",
        ["multiclass"],
    ),
    "by position": Case(
        lambda kind: make_pipeline(
            ColumnTransformer([("a", one_hot(), [0, 3, 5]), ("b", scaled(), [1, 2, 4])]), linear(kind)
        )
    ),
    "by mask and slice": Case(
        lambda kind: make_pipeline(
            ColumnTransformer(
                [("a", one_hot(), [True, False, False, True, False, True]), ("b", scaled(), slice(AGE, SPEND))]
            ),
            linear(kind),
        )
    ),
    "in another order": Case(
        lambda kind: make_pipeline(
            ColumnTransformer([("a", one_hot(), [STORE, PLAN, REGION]), ("b", scaled(), [VISITS, AGE, SPEND])]),
            linear(kind),
        )
    ),
    "some columns": Case(
        lambda kind: make_pipeline(
            ColumnTransformer([("a", one_hot(), [STORE, PLAN]), ("b", scaled(), [VISITS, AGE])]), linear(kind)
        )
    ),
    "categories alone": Case(
        lambda kind: make_pipeline(ColumnTransformer([("a", one_hot(), CATEGORIES)]), linear(kind))
    ),
    "numbers alone": Case(lambda kind: make_pipeline(ColumnTransformer([("b", scaled(), NUMBERS)]), linear(kind))),
    "a selector by type": Case(
        lambda kind: make_pipeline(
            make_column_transformer(
                (one_hot(), make_column_selector(dtype_include=object)),
                (scaled(), make_column_selector(dtype_include=np.number)),
            ),
            linear(kind),
        )
    ),
    "imputed texts": Case(
        lambda kind: make_pipeline(
            columns(make_pipeline(SimpleImputer(strategy="most_frequent", missing_values="__missing__"), one_hot())),
            linear(kind),
        )
    ),
    "nested": Case(nested),
    "side by side": Case(
        lambda kind: make_pipeline(
            FeatureUnion([("a", columns(one_hot())), ("b", ColumnTransformer([("c", ordinal(), [REGION])]))]),
            linear(kind),
        )
    ),
    "DataFrames between the steps": Case(
        lambda kind: make_pipeline(columns(one_hot()).set_output(transform="pandas"), StandardScaler(), linear(kind))
    ),
    "boosting with nulls": Case(lambda kind: make_pipeline(with_rest(ordinal()), boosting(kind))),
    "boosting after one-hot": Case(lambda kind: make_pipeline(with_rest(one_hot()), boosting(kind))),
    "a forest": Case(lambda kind: make_pipeline(columns(one_hot(), SimpleImputer()), forest(kind))),
    "LightGBM": Case(lambda kind: make_pipeline(with_rest(one_hot()), light(kind))),
    "LightGBM on ordinals": Case(lambda kind: make_pipeline(with_rest(ordinal()), light(kind))),
    "XGBoost": Case(lambda kind: make_pipeline(with_rest(one_hot()), extreme(kind))),
    "XGBoost on ordinals": Case(lambda kind: make_pipeline(columns(ordinal(), SimpleImputer()), extreme(kind))),
    "voting": Case(voting),
    # what ONNX cannot express, or expresses otherwise
    "categorical splits": Case(
        lambda kind: make_pipeline(with_rest(ordinal()), boosting(kind, categorical_features=[0, 1, 2])), UNEQUAL
    ),
    "a forest with nulls": Case(lambda kind: make_pipeline(with_rest(one_hot()), forest(kind)), UNEQUAL),
    "a scaler before trees": Case(lambda kind: make_pipeline(columns(one_hot()), boosting(kind)), UNEQUAL),
    "one-hot of frequent values": Case(
        lambda kind: make_pipeline(
            columns(OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=80, sparse_output=False)),
            linear(kind),
        ),
        "no answer to some rows",
    ),
    "imputed texts that are never null": Case(
        lambda kind: make_pipeline(
            columns(make_pipeline(SimpleImputer(strategy="most_frequent"), one_hot())), linear(kind)
        ),
        "missing values are string",
    ),
    "an indicator of nulls": Case(
        lambda kind: make_pipeline(
            columns(one_hot(), make_pipeline(SimpleImputer(add_indicator=True), StandardScaler())), linear(kind)
        ),
        "Mismatch",
    ),
    "a function": Case(
        lambda kind: make_pipeline(
            columns(one_hot(), make_pipeline(SimpleImputer(), FunctionTransformer(np.cbrt))), linear(kind)
        ),
        "FunctionTransformer",
    ),
    "everything encoded": Case(lambda kind: make_pipeline(ordinal(), boosting(kind)), "could not convert"),
}


def fitted(made: Any, kind: TaskKind, seed: int = 1) -> Any:
    matrix, labels = mixed_rows(kind, seed)
    return made.fit(CODED.frame(matrix.to_numpy(), NAMES), labels)


def compared(pipeline: Any, kind: TaskKind) -> tuple[bytes, OnnxComparison]:
    task = contract_of(kind).task
    compiled = compile_to_onnx(pipeline, len(NAMES), task, CODED)
    return compiled, compare(pipeline, compiled, mixed_rows(kind, 2)[0], task, coded=CODED)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ZOO)
def test_one_matrix_of_codes_is_answered_as_the_texts_are_or_onnx_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, kind: TaskKind
) -> None:
    case, task = ZOO[name], contract_of(kind).task
    monkeypatch.setenv(SETTING, TRUSTED)
    matrix, labels = mixed_rows(kind, 1)
    check_candidate(name, lambda: case.made(kind), matrix, labels, task, CODED)
    pipeline = fitted(case.made(kind), kind)
    said = case.said if kind in case.said_of else ""

    if said not in ("", UNEQUAL):
        with pytest.raises(ModelImportError, match=said):
            compared(pipeline, kind)
        return
    compiled, found = compared(pipeline, kind)

    assert (said == "") == found.equal, str(found)
    assert 3 + 9 + 4 + 20 * (3 + 2 + 1) == found.planted_rows
    (given,) = onnx.load_model_from_string(compiled).graph.input
    assert ("features", len(NAMES)) == (given.name, given.type.tensor_type.shape.dim[1].dim_value)


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "an encoder that takes only what it knows": (
        lambda: make_pipeline(columns(OneHotEncoder()), linear("binary")),
        f"takes no value of '{PLAN}' that training did not see; give its encoder handle_unknown",
    ),
    "a model that takes no null": (
        lambda: make_pipeline(columns(one_hot(), "passthrough"), linear("binary")),
        f"takes no null of '{AGE}', which the feature's tag on_missing",
    ),
    "a booster after a function": (
        lambda: make_pipeline(columns(one_hot(), FunctionTransformer(np.cbrt)), light("binary")),
        "served only as ONNX, and this one cannot be: .*FunctionTransformer",
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_served_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    made, said = REFUSED[name]
    monkeypatch.setenv(SETTING, TRUSTED)
    matrix, labels = mixed_rows("binary", 1)

    with pytest.raises(TrainingError, match=rf"candidate {name!r} cannot be served: .*{said}") as refused:
        check_candidate(name, made, matrix.fillna({AGE: 30.0}), labels, contract_of("binary").task, CODED)

    assert "\n" not in str(refused.value)


def test_an_encoder_may_take_only_what_it_knows_where_unseen_values_do_not_reach_it() -> None:
    known = {"on_unseen": "use_default"}
    coded = CodedColumns.of(mixed_inputs(plan=known, region=known, store=known))
    matrix, labels = mixed_rows("binary", 1)
    matrix[REGION] = matrix[REGION].replace(UNSEEN_CODE, 0)
    pipeline = make_pipeline(columns(OneHotEncoder(sparse_output=False)), linear("binary"))

    check_candidate("plain", lambda: pipeline, matrix, labels, contract_of("binary").task, coded)


@pytest.mark.parametrize("kind", KINDS)
def test_unseen_values_and_kept_nulls_are_told_apart_in_the_graph(kind: TaskKind) -> None:
    task = contract_of(kind).task
    pipeline = fitted(make_pipeline(columns(one_hot()), linear(kind)), kind)
    row = mixed_rows(kind, 3, rows=1)[0]
    rows = np.repeat(row.to_numpy(np.float32), 5, axis=0)
    rows[:, NAMES.index(REGION)] = [0, UNSEEN_CODE, MISSING_CODE, 0, MISSING_CODE]
    rows[:, NAMES.index(AGE)] = [20, 20, 20, np.nan, np.nan]

    served = onnx_scorer(compile_to_onnx(pipeline, len(NAMES), task, CODED), task)(rows)

    texts = CODED.frame(rows, NAMES)
    assert ["region a", "__unseen__", "__missing__", "region a", "__missing__"] == texts[REGION].tolist()
    own = task_model(task)
    expected = own.scores(np.asarray(own.answered_by(pipeline, texts)))
    np.testing.assert_allclose(served, expected, rtol=MAX_DIFFERENCE, atol=MAX_DIFFERENCE)
    assert len(np.unique(expected.reshape(5, -1), axis=0)) >= 4


def test_numbers_by_name_in_another_order_are_compiled() -> None:
    names = ["a", "b", "c"]
    random = np.random.default_rng(3)
    values = (random.normal(size=(300, 3)) * [1, 10, 100]).astype(np.float32)
    matrix = CodedColumns().frame(values, names)
    labels = matrix["a"] + matrix["b"] / 10 > 0
    task = contract_of("binary").task
    pipeline = make_pipeline(ColumnTransformer([("all", StandardScaler(), ["c", "a", "b"])]), LogisticRegression())
    pipeline.fit(matrix, labels)

    found = compare(pipeline, compile_to_onnx(pipeline, 3, task), matrix, task)

    assert found.equal, str(found)


def test_a_value_that_the_contract_names_and_the_rows_lack_is_refused_before_it_is_asked_for() -> None:
    known = {"on_unseen": "use_default"}
    coded = CodedColumns.of(mixed_inputs(plan=known, region=known, store=known))
    matrix, labels = mixed_rows("binary", 1)
    matrix[REGION] = matrix[REGION].replace(UNSEEN_CODE, 0)
    without = matrix.replace({STORE: {3: 0}})
    pipeline = make_pipeline(columns(OneHotEncoder(sparse_output=False)), linear("binary"))
    pipeline.fit(coded.frame(without.to_numpy(), NAMES), labels)

    with pytest.raises(TrainingError, match=f"not take every value of '{STORE}' that its contract names"):
        check_registrable(pipeline, without, contract_of("binary").task, "model 'x'", coded)
