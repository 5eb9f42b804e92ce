"""A compiled model gives the same answers as the pipeline, and `compare` would notice if it did not."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import Pipeline

from contract import BinaryTask, DecisionThreshold, MulticlassTask, RegressionTask
from scoring.models.onnx_scorer import ANY_BINARY, onnx_scorer
from tests.models.fakes import DAYS_SINCE, DEFAULTS, training_rows
from training.churn.candidates import CANDIDATES
from training.compilation.onnx_model import MAX_DIFFERENCE, compare, compile_to_onnx
from training.errors import ModelImportError

# skl2onnx hands booleans to integer fields; raised as an error inside protobuf, this reads "cannot be expressed"

CANDIDATE_NAMES = sorted(CANDIDATES)
INPUTS = len(DEFAULTS)


def fitted(candidate: str, seed: int = 5) -> Pipeline:
    return CANDIDATES[candidate](seed).fit(*training_rows(seed, rows=600))


@pytest.mark.parametrize("candidate", CANDIDATE_NAMES)
@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.9])
def test_a_candidate_and_its_compiled_form_agree_on_new_rows(candidate: str, threshold: float) -> None:
    pipeline = fitted(candidate)
    task = BinaryTask(classes=("a", "b"), threshold=DecisionThreshold(value=threshold, rule="given by the test"))

    found = compare(pipeline, compile_to_onnx(pipeline, INPUTS), training_rows(seed=77, rows=2000)[0], task)

    assert 2000 == found.rows
    assert found.largest_difference <= MAX_DIFFERENCE
    assert 0 == found.changed_decisions


def extremes() -> pd.DataFrame:
    """Each input in turn at the ends of what a float32 can hold, the others as they usually are."""
    ends = np.finfo(np.float32)
    values = [0.0, -0.0, ends.tiny, -ends.tiny, 1e-30, -1.0, 1e4, 1e6, -1e6, 1e12, -1e12, 1e30, ends.max, ends.min]
    rows = [DEFAULTS | {name: value} for name in DEFAULTS for value in values]
    return pd.DataFrame(rows, dtype=np.float32)


@pytest.mark.parametrize("candidate", CANDIDATE_NAMES)
def test_a_compiled_candidate_answers_extreme_but_finite_rows_with_a_probability(candidate: str) -> None:
    compiled = compile_to_onnx(fitted(candidate), INPUTS)

    answered = onnx_scorer(compiled)(extremes().to_numpy(dtype=np.float32))

    assert [] == [str(row) for row, p in zip(extremes().to_dict("records"), answered, strict=True) if not 0 <= p <= 1]


@pytest.mark.parametrize("candidate", CANDIDATE_NAMES)
def test_a_candidate_and_its_compiled_form_agree_on_extreme_but_finite_rows(candidate: str) -> None:
    pipeline = fitted(candidate)
    rows = extremes()
    # scikit-learn's own power transform overflows, and refuses the row, at the most negative float32
    rows = rows[(rows > np.finfo(np.float32).min).all(axis=1)]

    expected = pipeline.predict_proba(rows)[:, 1]
    found = onnx_scorer(compile_to_onnx(pipeline, INPUTS))(rows.to_numpy(dtype=np.float32))

    apart = [
        f"{row}: {e} and {f}"
        for row, e, f in zip(rows.to_dict("records"), expected, found, strict=True)
        if not abs(e - f) <= MAX_DIFFERENCE
    ]
    assert [] == apart


@pytest.mark.parametrize("candidate", CANDIDATE_NAMES)
def test_compiling_answers_each_row_by_itself(candidate: str) -> None:
    compiled = compile_to_onnx(fitted(candidate), INPUTS)
    matrix = training_rows(seed=8, rows=20)[0].to_numpy(dtype=np.float32)

    score = onnx_scorer(compiled)
    together = score(matrix)
    alone = np.array([score(matrix[i : i + 1])[0] for i in range(len(matrix))])

    assert (20,) == together.shape
    np.testing.assert_allclose(alone, together, rtol=0, atol=1e-6)


@pytest.mark.parametrize("candidate", CANDIDATE_NAMES)
def test_comparing_reports_a_model_trained_on_other_rows(candidate: str) -> None:
    other = compile_to_onnx(fitted(candidate, seed=6), INPUTS)

    found = compare(fitted(candidate, seed=5), other, training_rows(seed=77)[0], ANY_BINARY)

    assert found.largest_difference > 100 * MAX_DIFFERENCE
    assert found.changed_decisions
    assert found.changed_decisions > 0


def test_comparing_reports_swapped_columns() -> None:
    pipeline = fitted("logistic")
    rows = training_rows(seed=77)[0]
    names = list(rows.columns)
    swapped = CANDIDATES["logistic"](5).fit(
        training_rows(5, rows=600)[0][[*names[1:], names[0]]], training_rows(5, rows=600)[1]
    )

    found = compare(pipeline, compile_to_onnx(swapped, INPUTS), rows, ANY_BINARY)

    assert found.largest_difference > 0.01


def test_comparing_reports_a_difference_of_a_single_row() -> None:
    pipeline, rows = fitted("histogram_boosting"), training_rows(seed=77)[0]
    answers = pipeline.predict_proba(rows)[:, 1]
    pushed = rows.copy()
    pushed.iloc[int(answers.argmax()), list(rows.columns).index(DAYS_SINCE)] = 0.0
    compiled = compile_to_onnx(pipeline, INPUTS)

    moved = np.abs(onnx_scorer(compiled)(pushed.to_numpy(dtype=np.float32)) - answers)

    assert 1 == int((moved > MAX_DIFFERENCE).sum())


def test_classes_with_equal_votes_are_the_same_answer_and_a_less_likely_class_is_a_changed_decision() -> None:
    random = np.random.default_rng(1)
    rows = pd.DataFrame(np.floor(random.exponential(20, (600, 4))), columns=list("abcd"), dtype=np.float32)
    labels = np.digitize(rows["b"] - 2 * rows["a"], [-30, 0])
    task = MulticlassTask(classes=("low", "middle", "high"))
    forest = Pipeline([("model", RandomForestClassifier(8, max_depth=4, random_state=1))]).fit(rows, labels)
    other = Pipeline([("model", RandomForestClassifier(8, max_depth=4, random_state=1))]).fit(rows, 2 - labels)

    same = compare(forest, compile_to_onnx(forest, 4, task), rows, task)
    turned = compare(forest, compile_to_onnx(other, 4, task), rows, task)

    assert same.equal, str(same)
    assert turned.changed_decisions
    assert not turned.equal


def test_a_regression_is_compared_relative_to_its_values_and_decides_nothing() -> None:
    rows, churned = training_rows(seed=5, rows=300)
    value = 1e6 * (1 + churned + rows[DAYS_SINCE] / 100)
    pipeline = Pipeline([("model", LinearRegression())]).fit(rows, value)

    found = compare(pipeline, compile_to_onnx(pipeline, INPUTS, RegressionTask()), rows, RegressionTask())

    assert found.equal, str(found)
    assert found.changed_decisions is None
    assert "decisions" not in str(found)


class _HomeMade(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A transformer that ONNX knows nothing of."""

    def fit(self, rows: pd.DataFrame, _: object = None) -> "_HomeMade":
        self.n_features_in_ = rows.shape[1]
        return self

    def transform(self, rows: pd.DataFrame) -> pd.DataFrame:
        return rows


def test_a_step_without_a_counterpart_in_onnx_is_refused_with_a_reason() -> None:
    pipeline = Pipeline([("home_made", _HomeMade()), ("classifier", LogisticRegression())]).fit(*training_rows())

    with pytest.raises(ModelImportError, match=r"cannot be expressed in ONNX: .*_HomeMade"):
        compile_to_onnx(pipeline, INPUTS)
