"""Thresholds that lie between two float32 values: compiled to the same answers, and proven where they lie."""

import hashlib

import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier, LGBMRegressor
from numpy.typing import NDArray
from onnxruntime import InferenceSession
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.base import BaseEstimator, is_regressor
from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    BaggingClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from xgboost import XGBClassifier, XGBRegressor

from scoring.models.onnx_scorer import ANY_BINARY, onnx_scorer
from training.compilation.boosters import booster_in, register_converters
from training.compilation.float32_thresholds import round_down_to_float32, with_float32_thresholds
from training.compilation.onnx_model import MAX_DIFFERENCE, compare, compile_to_onnx
from training.compilation.proof_rows import proof_rows

NAMES = ["a", "b", "c"]


def neighbours(seed: int = 1, rows: int = 600) -> tuple[pd.DataFrame, NDArray[np.bool_]]:
    """Values that are float32 neighbours of each other, so that every threshold lies between two of them."""
    random = np.random.default_rng(seed)
    steps = random.integers(0, 40, (rows, 3))
    bits = np.array([1000.0, 0.1, 3e6], np.float32).view(np.int32)
    matrix = pd.DataFrame((bits + steps).astype(np.int32).view(np.float32), columns=NAMES)
    churned: NDArray[np.bool_] = random.random(rows) < 0.1 + 0.8 * ((steps[:, 0] + steps[:, 1]) % 7 < 3)
    return matrix, churned


TREES = [
    DecisionTreeClassifier(random_state=1),
    RandomForestClassifier(8, random_state=1),
    ExtraTreesClassifier(8, random_state=1),
    GradientBoostingClassifier(n_estimators=8, random_state=1),
    HistGradientBoostingClassifier(max_iter=8, min_samples_leaf=5),
    BaggingClassifier(DecisionTreeClassifier(), n_estimators=4, random_state=1),
    AdaBoostClassifier(DecisionTreeClassifier(max_depth=3), n_estimators=4, random_state=1),
    LGBMClassifier(n_estimators=8, min_child_samples=5, verbose=-1),
    XGBClassifier(n_estimators=8),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("estimator", TREES, ids=lambda each: type(each).__name__)
def test_trees_with_thresholds_between_two_float32_values_are_compiled_to_the_same_answers(
    estimator: BaseEstimator,
) -> None:
    pipeline = Pipeline([("classifier", estimator)]).fit(*neighbours())

    found = compare(pipeline, compile_to_onnx(pipeline, 3), neighbours(2, 2_000)[0], ANY_BINARY)

    assert found.equal, str(found)
    assert found.threshold_rows > 50


REGRESSORS = [
    DecisionTreeRegressor(random_state=1),
    RandomForestRegressor(8, random_state=1),
    ExtraTreesRegressor(8, random_state=1),
    GradientBoostingRegressor(n_estimators=8, random_state=1),
    HistGradientBoostingRegressor(max_iter=8, min_samples_leaf=5),
    BaggingRegressor(DecisionTreeRegressor(), n_estimators=4, random_state=1),
    AdaBoostRegressor(DecisionTreeRegressor(max_depth=3), n_estimators=4, random_state=1),
    LGBMRegressor(n_estimators=8, min_child_samples=5, verbose=-1),
    LGBMRegressor(objective="poisson", n_estimators=8, min_child_samples=5, verbose=-1),
    XGBRegressor(n_estimators=8),
    XGBRegressor(objective="count:poisson", n_estimators=8),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("estimator", TREES + REGRESSORS, ids=lambda each: type(each).__name__)
def test_trees_of_several_classes_and_of_regressions_are_compiled_to_the_same_answers_too(
    estimator: BaseEstimator,
) -> None:
    matrix, labels = neighbours()
    steps = matrix["a"].to_numpy().view(np.int32) % 3
    pipeline = Pipeline([("model", estimator)]).fit(
        matrix, (steps + labels) % 3 if estimator in TREES else 1.0 + steps + 4 * labels
    )
    rows = pd.DataFrame(np.concatenate([neighbours(2)[0], proof_rows(pipeline, matrix.to_numpy())]), columns=NAMES)

    found = InferenceSession(compiled_by_converter(with_float32_thresholds(pipeline))).run(
        None, {"features": rows.to_numpy()}
    )[-1]

    expected = pipeline.predict(rows) if estimator in REGRESSORS else pipeline.predict_proba(rows)
    assert len(rows) > 700
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=MAX_DIFFERENCE, atol=MAX_DIFFERENCE)


def compiled_by_converter(pipeline: Pipeline) -> bytes:
    register_converters()
    model = to_onnx(
        pipeline,
        initial_types=[("features", FloatTensorType([None, 3]))],
        options=None if is_regressor(pipeline) else {id(pipeline): {"zipmap": False}},
        target_opset={"": 15, "ai.onnx.ml": 3} if booster_in(pipeline) else None,
    )
    return bytes(model.SerializeToString())


def test_the_pipeline_itself_stays_as_it_is() -> None:
    pipeline = Pipeline([("classifier", RandomForestClassifier(2, random_state=1))]).fit(*neighbours())
    before = [hashlib.sha256(each.tree_.threshold.tobytes()).digest() for each in pipeline[-1].estimators_]

    rounded = with_float32_thresholds(pipeline)

    assert before == [hashlib.sha256(each.tree_.threshold.tobytes()).digest() for each in pipeline[-1].estimators_]
    rows = pd.DataFrame(proof_rows(pipeline, neighbours()[0].to_numpy()), columns=NAMES)
    np.testing.assert_array_equal(pipeline.predict_proba(rows), rounded.predict_proba(rows))


def test_one_threshold_rounded_to_the_wrong_side_is_found_although_no_test_row_lies_there() -> None:
    matrix, churned = neighbours()
    pipeline = Pipeline([("classifier", HistGradientBoostingClassifier(max_iter=1, max_leaf_nodes=2))])
    pipeline.fit(matrix[["a"]], churned)
    low = np.float32(1000.0)
    # three quarters of the way to the next float32, to which the converter by itself rounds it
    pipeline[-1]._predictors[0][0].nodes["num_threshold"][0] = float(low) + 0.75 * float(np.spacing(low))
    far = pd.DataFrame({"a": np.array([1.0, 999.0, 1001.0, 5000.0], np.float32)})
    rounded = to_onnx(
        pipeline,
        initial_types=[("features", FloatTensorType([None, 1]))],
        options={id(pipeline): {"zipmap": False}},
    )

    found = compare(pipeline, bytes(rounded.SerializeToString()), far, ANY_BINARY)

    assert found.largest_difference <= MAX_DIFFERENCE
    assert found.difference_at_thresholds > 1e-3
    assert not found.equal
    assert compare(pipeline, compile_to_onnx(pipeline, 1), far, ANY_BINARY).equal


@pytest.mark.parametrize("estimator", TREES[:5], ids=lambda each: type(each).__name__)
def test_a_scaler_before_trees_is_found_out_at_the_thresholds(estimator: BaseEstimator) -> None:
    random = np.random.default_rng(3)
    matrix = pd.DataFrame(random.gamma(2, 300, (800, 3)), columns=NAMES, dtype=np.float32)
    pipeline = make_pipeline(StandardScaler(), estimator).fit(matrix, random.random(800) < 0.4)

    found = compare(pipeline, compile_to_onnx(pipeline, 3), matrix, ANY_BINARY)

    assert not found.equal
    assert found.difference_at_thresholds > 1e-3


def test_missing_values_that_onnx_sends_down_another_branch_are_found_out() -> None:
    matrix, churned = neighbours()
    matrix = matrix.mask(np.random.default_rng(4).random(matrix.shape) < 0.2)
    pipeline = Pipeline([("classifier", RandomForestClassifier(8, random_state=1))]).fit(matrix, churned)

    assert not compare(pipeline, compile_to_onnx(pipeline, 3), matrix, ANY_BINARY).equal


def test_inputs_that_vary_by_less_than_a_percent_are_judged_by_their_difference() -> None:
    random = np.random.default_rng(5)
    matrix = pd.DataFrame(1e6 + random.normal(0, 30, (800, 3)), columns=NAMES, dtype=np.float32)
    churned = random.random(800) < 1 / (1 + np.exp(-(matrix["a"] - 1e6).to_numpy() / 10))
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=100)).fit(matrix, churned)
    compiled = compile_to_onnx(pipeline, 3)

    found = compare(pipeline, compiled, matrix, ANY_BINARY)

    differences = np.abs(pipeline.predict_proba(matrix)[:, 1] - onnx_scorer(compiled)(matrix.to_numpy()))
    assert found.equal == bool(differences.max() <= MAX_DIFFERENCE and not found.changed_decisions)


def test_rows_of_a_large_ensemble_are_bounded() -> None:
    random = np.random.default_rng(6)
    matrix = pd.DataFrame(random.random((2_000, 3)), columns=NAMES, dtype=np.float32)
    pipeline = Pipeline([("classifier", RandomForestClassifier(60, random_state=1))]).fit(
        matrix, random.random(2_000) < 0.5
    )

    assert 1_000 < len(proof_rows(pipeline, matrix.to_numpy())) < 20_000


@pytest.mark.parametrize("threshold", [0.0, 0.1, 1 / 3, -0.1, 1e-50, -1e-50, 1e300, -1e300, 16_777_217.0, np.inf])
def test_a_float32_is_at_most_a_threshold_if_it_is_at_most_the_float32_below_it(threshold: float) -> None:
    below = round_down_to_float32(np.array([threshold]))

    assert below.dtype == np.float32
    near = below
    for towards in (-np.inf, np.inf):
        with np.errstate(over="ignore"):
            values = [near, np.nextafter(near, np.float32(towards))]
        for value in values:
            assert (float(value[0]) <= threshold) == (value[0] <= below[0])
