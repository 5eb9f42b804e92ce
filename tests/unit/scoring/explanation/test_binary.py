"""An explanation adds up to the prediction, names the right input, and is refused where it could not be exact."""

import functools
import sys
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import PowerTransformer, QuantileTransformer, StandardScaler

from scoring.errors import ExplanationError
from scoring.explanation import Explainer
from scoring.models.onnx_scorer import onnx_scorer
from tests.models.fakes import DAYS_SINCE, DEFAULTS, MEMBER, SPEND, training_rows
from training.churn.candidates import histogram_boosting, logistic
from training.compilation.onnx_model import MAX_DIFFERENCE, compile_to_onnx

NAMES = list(DEFAULTS)
ROWS = 600


def linear() -> Pipeline:
    return logistic(seed=5)


def trees(**parameters: object) -> Pipeline:
    """The shipped candidate on leaves so small that few rows suffice for deep trees."""
    pipeline = histogram_boosting(seed=3).set_params(classifier__min_samples_leaf=8, classifier__max_iter=20)
    return pipeline.set_params(**{f"classifier__{name}": value for name, value in parameters.items()})


def scaled_trees() -> Pipeline:
    return Pipeline([("scale", StandardScaler()), *trees().steps])


def categorical_trees() -> Pipeline:
    return trees(categorical_features=[MEMBER])


def twice_transformed() -> Pipeline:
    return Pipeline(
        [
            ("ranks", QuantileTransformer(n_quantiles=50, output_distribution="normal")),
            ("standard", StandardScaler()),
            ("classifier", LogisticRegression()),
        ]
    )


@functools.cache
def fitted(make: Callable[[], Pipeline]) -> Pipeline:
    return make().fit(*training_rows(rows=ROWS))


@functools.cache
def explainer_of(kind: Callable[[], Pipeline]) -> Explainer:
    return Explainer.of(fitted(kind), NAMES)


KINDS = [linear, twice_transformed, trees, scaled_trees]


def float32(rows: pd.DataFrame) -> NDArray[np.float32]:
    return np.ascontiguousarray(rows.to_numpy(dtype=np.float32))


def log_odds(pipeline: Pipeline, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
    """The pipeline's own, before they become a probability."""
    with np.errstate(over="ignore"):  # a scaled value may be beyond float32; trees take infinity for what it is
        return np.asarray(pipeline.decision_function(frame(pipeline, matrix)))


def frame(pipeline: Pipeline, matrix: NDArray[np.float32]) -> pd.DataFrame:
    """What to score so that a comparison to 1e-9 means something: linear models round in float32, trees do not."""
    dtype = np.float64 if isinstance(pipeline[-1], LogisticRegression) else np.float32
    return pd.DataFrame(matrix.astype(dtype), columns=NAMES)


def check_additivity(pipeline: Pipeline, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
    """The log-odds that the explanation adds up to, having held them against the pipeline's."""
    found = Explainer.of(pipeline, NAMES).explain(matrix)
    assert matrix.shape == found.contributions.shape
    assert np.dtype(np.float64) == found.contributions.dtype
    total: NDArray[np.float64] = found.base_value + found.contributions.sum(axis=1)
    np.testing.assert_allclose(total, log_odds(pipeline, matrix), rtol=1e-9, atol=1e-9)
    return total


def probability(total: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-total)))


@pytest.mark.parametrize("kind", KINDS)
def test_contributions_and_base_add_up_to_the_served_probability(kind: Callable[[], Pipeline]) -> None:
    pipeline, matrix = fitted(kind), float32(training_rows(seed=77, rows=1000)[0])

    total = check_additivity(pipeline, matrix)

    expected = pipeline.predict_proba(frame(pipeline, matrix))[:, 1]
    np.testing.assert_allclose(probability(total), expected, rtol=0, atol=1e-12)
    if kind is not twice_transformed:  # ONNX has no quantile transform
        served = onnx_scorer(compile_to_onnx(pipeline, len(NAMES)))(matrix)
        np.testing.assert_allclose(probability(total), served, rtol=0, atol=1e-6)


ANY_FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(row=st.lists(ANY_FLOAT32, min_size=len(NAMES), max_size=len(NAMES)))
def test_contributions_add_up_for_any_finite_row(kind: Callable[[], Pipeline], row: list[float]) -> None:
    matrix = np.array([row], dtype=np.float32)
    found = explainer_of(kind).explain(matrix)

    assert np.isfinite(found.contributions).all()
    # Huge contributions of opposite sign leave a sum that is only as exact as the largest of them.
    largest = float(np.abs(found.contributions).max())
    expected = log_odds(fitted(kind), matrix)[0]
    assert found.base_value + found.contributions.sum() == pytest.approx(expected, rel=1e-9, abs=1e-9 + 1e-12 * largest)


@pytest.mark.parametrize("kind", [linear, trees])
@settings(max_examples=60, deadline=None)
@given(row=st.lists(st.floats(-1e4, 1e4, width=32), min_size=len(NAMES), max_size=len(NAMES)))
def test_the_served_probability_is_never_further_off_than_the_import_allows(
    kind: Callable[[], Pipeline], row: list[float]
) -> None:
    matrix = np.array([row], dtype=np.float32)
    found = explainer_of(kind).explain(matrix)
    total = found.base_value + found.contributions.sum(axis=1)

    np.testing.assert_allclose(probability(total), compiled(kind)(matrix), rtol=0, atol=MAX_DIFFERENCE)


@functools.cache
def compiled(kind: Callable[[], Pipeline]) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    return onnx_scorer(compile_to_onnx(fitted(kind), len(NAMES)))


@pytest.mark.parametrize("kind", [trees, scaled_trees])
def test_rows_that_lie_on_the_trees_thresholds_add_up_too(kind: Callable[[], Pipeline]) -> None:
    pipeline = fitted(kind)
    nodes = np.concatenate([predictor.nodes for (predictor,) in pipeline[-1]._predictors])
    splits = nodes[nodes["is_leaf"] == 0]
    matrix = np.repeat(float32(training_rows(seed=8, rows=1)[0]), 3 * len(splits), axis=0)
    for number, (column, threshold) in enumerate(zip(splits["feature_idx"], splits["num_threshold"], strict=True)):
        nearest = np.float32(threshold)
        below, above = np.nextafter(nearest, np.array([-np.inf, np.inf], dtype=np.float32))
        matrix[3 * number : 3 * number + 3, column] = below, nearest, above

    check_additivity(pipeline, matrix)


def test_trees_that_split_by_categories_add_up_too() -> None:
    check_additivity(fitted(categorical_trees), float32(training_rows(seed=8)[0]))


def test_trees_that_never_split_give_everyone_the_base_value() -> None:
    pipeline = trees(min_samples_leaf=ROWS).fit(*training_rows(rows=ROWS))

    found = Explainer.of(pipeline, NAMES).explain(float32(training_rows()[0]))

    assert not found.contributions.any()
    assert found.base_value == pytest.approx(log_odds(pipeline, float32(training_rows()[0]))[0], abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_base_value_is_the_mean_log_odds_of_the_training_rows(kind: Callable[[], Pipeline]) -> None:
    pipeline, rows = fitted(kind), float32(training_rows(rows=ROWS)[0])

    base_value = Explainer.of(pipeline, NAMES).explain(rows[:1]).base_value

    assert base_value == pytest.approx(log_odds(pipeline, rows).mean(), abs=1e-5)  # transforms are fitted in float32


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("changed", range(len(NAMES)))
def test_a_contribution_stands_in_the_place_of_its_input(kind: Callable[[], Pipeline], changed: int) -> None:
    """Of two rows that differ in one input, a model without interactions explains the others alike."""
    pipeline = fitted(kind)
    if kind in (trees, scaled_trees):
        stumps = {"classifier__max_leaf_nodes": 2}
        pipeline = kind().set_params(**stumps).fit(*training_rows(rows=ROWS))
    rows = np.repeat(float32(training_rows(rows=1)[0]), 2, axis=0)
    rows[:, changed] = 1, 300

    found = Explainer.of(pipeline, NAMES).explain(rows).contributions

    difference = np.abs(found[1] - found[0])
    assert not difference[np.arange(len(NAMES)) != changed].any()
    if changed == NAMES.index(DAYS_SINCE):
        assert difference[changed] > 0


@pytest.mark.parametrize("kind", [linear, twice_transformed])
@settings(max_examples=50, deadline=None)
@given(column=st.integers(0, len(NAMES) - 1), values=st.tuples(st.floats(0, 500), st.floats(0, 500)))
def test_a_linear_models_contribution_moves_with_its_input_in_the_coefficients_direction(
    kind: Callable[[], Pipeline], column: int, values: tuple[float, float]
) -> None:
    rows = np.repeat(float32(training_rows(rows=1)[0]), 2, axis=0)
    rows[:, column] = sorted(values)

    low, high = explainer_of(kind).explain(rows).contributions[:, column]

    assert (high - low) * np.sign(fitted(kind)[-1].coef_[0, column]) >= -1e-9


def test_monotone_trees_give_a_longer_silence_never_less() -> None:
    pipeline = trees(monotonic_cst={DAYS_SINCE: 1}).fit(*training_rows(rows=ROWS))
    rows = np.repeat(float32(training_rows(rows=1)[0]), 200, axis=0)
    rows[:, NAMES.index(DAYS_SINCE)] = np.linspace(0, 400, 200)

    found = Explainer.of(pipeline, NAMES).explain(rows).contributions[:, NAMES.index(DAYS_SINCE)]

    assert (np.diff(found) >= -1e-9).all()
    assert found[-1] > 0 > found[0]


def test_an_input_that_the_trees_never_use_contributes_nothing() -> None:
    rows, churned = training_rows(rows=ROWS)
    pipeline = trees().fit(rows.assign(**{MEMBER: np.float32(1)}), churned)

    found = Explainer.of(pipeline, NAMES).explain(float32(training_rows(seed=9)[0])).contributions

    assert not found[:, NAMES.index(MEMBER)].any()
    assert found[:, NAMES.index(DAYS_SINCE)].any()


def test_a_row_is_explained_alike_alone_and_among_others() -> None:
    explainer, rows = explainer_of(trees), float32(training_rows(seed=4, rows=20)[0])

    together = explainer.explain(rows).contributions

    alone = np.concatenate([explainer.explain(rows[i : i + 1]).contributions for i in range(20)])
    np.testing.assert_array_equal(together, alone)


def bare_logistic() -> Pipeline:
    return Pipeline([("classifier", LogisticRegression(max_iter=5000))])


def uncentred_logistic() -> Pipeline:
    steps = [("scale", StandardScaler(with_mean=False)), ("classifier", LogisticRegression(max_iter=5000))]
    return Pipeline(steps)


def unstandardised_logistic() -> Pipeline:
    return Pipeline([("power", PowerTransformer(standardize=False)), ("classifier", LogisticRegression(max_iter=5000))])


def mixed_inputs() -> Pipeline:
    return Pipeline([("mix", PCA()), ("scale", StandardScaler()), ("classifier", LogisticRegression())])


def neighbours() -> Pipeline:
    return Pipeline([("classifier", KNeighborsClassifier())])


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (neighbours, "KNeighborsClassifier"),
        (mixed_inputs, "PCA"),
        (bare_logistic, "not centred"),
        (uncentred_logistic, "not centred"),
        (unstandardised_logistic, "not centred"),
    ],
)
def test_a_pipeline_without_an_exact_explanation_is_refused_with_the_reason(
    kind: Callable[[], Pipeline], reason: str
) -> None:
    with pytest.raises(ExplanationError, match=reason):
        Explainer.of(fitted(kind), NAMES)


def test_a_classifier_outside_a_pipeline_is_explained_or_refused_like_one_inside() -> None:
    Explainer.of(fitted(trees)[-1], NAMES)
    with pytest.raises(ExplanationError, match="not centred"):
        Explainer.of(fitted(bare_logistic)[-1], NAMES)


@pytest.mark.parametrize("classifier", [LogisticRegression(max_iter=5000), HistGradientBoostingClassifier(max_iter=3)])
def test_more_than_two_classes_are_refused(classifier: object) -> None:
    rows, _ = training_rows(rows=ROWS)
    pipeline = Pipeline([("scale", StandardScaler()), ("classifier", classifier)]).fit(rows, np.arange(ROWS) % 3)

    with pytest.raises(ExplanationError, match="3 classes"):
        Explainer.of(pipeline, NAMES)


def test_a_pipeline_that_takes_other_inputs_is_refused() -> None:
    nameless = trees().fit(*(np.asarray(part) for part in training_rows(rows=ROWS)))

    with pytest.raises(ExplanationError, match="inputs"):
        Explainer.of(nameless, NAMES)
    for names in (NAMES[::-1], NAMES[:-1], [*NAMES[:-1], "another"]):
        with pytest.raises(ExplanationError, match="inputs"):
            Explainer.of(fitted(trees), names)


def test_a_row_that_overflows_is_refused_without_its_values() -> None:
    rows, churned = training_rows(rows=ROWS)
    pipeline = Pipeline([("power", PowerTransformer()), ("classifier", LogisticRegression())]).fit(rows, churned)
    pipeline[0].lambdas_[NAMES.index(SPEND)] = 12
    row = float32(rows.iloc[:1])
    row[0, NAMES.index(SPEND)] = 3.25e38

    with pytest.raises(ExplanationError) as refused:
        Explainer.of(pipeline, NAMES).explain(row)

    assert "3.25" not in str(refused.value)


def test_neither_trees_nor_linear_models_need_shap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shap", None)

    for kind in (linear, trees):
        check_additivity(fitted(kind), float32(training_rows(seed=8)[0]))
