"""For each estimator and task: contributions add up to the model's own score, in the space that is named."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn import ensemble as many
from sklearn import linear_model as linear
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVR
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from contract.tasks import TaskKind
from scoring.errors import ExplanationError
from scoring.explanation import Explainer, Space
from tests.unit.scoring.explanation.shapley import NAMES, Floats, matrix_of, some_rows, targets

ROWS = some_rows()
UNSEEN = matrix_of(some_rows(rows=60, seed=11))
SMALL = {"n_estimators": 12, "max_depth": 4, "random_state": 1}
FEW = {"max_iter": 8, "max_leaf_nodes": 6, "min_samples_leaf": 10, "random_state": 1}

Own = Callable[[Any, Any], Any]


def decision(model: Any, rows: Any) -> Any:
    return model.decision_function(rows)


def twice_the_decision(model: Any, rows: Any) -> Any:
    """With the exponential loss, a probability is expit(2 · raw score)."""
    return 2 * model.decision_function(rows)


def probability(model: Any, rows: Any) -> Any:
    found = model.predict_proba(rows)
    return found[:, 1] if found.shape[1] == 2 else found


def value(model: Any, rows: Any) -> Any:
    return model.predict(rows)


def log_of_value(model: Any, rows: Any) -> Any:
    return np.log(model.predict(rows))


@dataclass(frozen=True)
class Case:
    task: TaskKind
    space: Space
    own: Own
    estimator: Any
    scaled: bool = False

    def fitted(self, rows: pd.DataFrame = ROWS) -> Pipeline:
        steps = [StandardScaler(), self.estimator] if self.scaled else [self.estimator]
        return make_pipeline(*steps).fit(rows, targets(self.task, rows))

    def own_scores(self, pipeline: Pipeline, matrix: NDArray[np.float32]) -> Floats:
        """The pipeline's scores; of a linear model in float64, of trees on float32 rows, as they were fitted."""
        dtype = np.float64 if self.scaled else np.float32
        return np.asarray(self.own(pipeline, pd.DataFrame(matrix.astype(dtype), columns=NAMES)), dtype=np.float64)


def binary(space: Space, own: Own, estimator: Any, scaled: bool = False) -> Case:
    return Case("binary", space, own, estimator, scaled)


def multiclass(space: Space, own: Own, estimator: Any, scaled: bool = False) -> Case:
    return Case("multiclass", space, own, estimator, scaled)


def regression(space: Space, own: Own, estimator: Any, scaled: bool = False) -> Case:
    return Case("regression", space, own, estimator, scaled)


LINEAR = [
    binary("log-odds", decision, linear.LogisticRegression(), scaled=True),
    binary("log-odds", decision, linear.SGDClassifier(loss="log_loss", random_state=1), scaled=True),
    binary("log-odds", decision, LinearDiscriminantAnalysis(), scaled=True),
    multiclass("class score", decision, linear.LogisticRegression(), scaled=True),
    multiclass("class score", decision, linear.SGDClassifier(loss="log_loss", random_state=1), scaled=True),
    multiclass("class score", decision, LinearDiscriminantAnalysis(), scaled=True),
    regression("value", value, linear.LinearRegression(), scaled=True),
    regression("value", value, linear.Ridge(alpha=2.0), scaled=True),
    regression("value", value, linear.RidgeCV(), scaled=True),
    regression("value", value, linear.Lasso(alpha=0.01), scaled=True),
    regression("value", value, linear.ElasticNet(alpha=0.01), scaled=True),
    regression("value", value, linear.HuberRegressor(), scaled=True),
    regression("value", value, linear.SGDRegressor(random_state=1), scaled=True),
    regression("value", value, linear.BayesianRidge(), scaled=True),
    regression("value", value, LinearSVR(random_state=1), scaled=True),
    regression("value", value, linear.TweedieRegressor(power=0), scaled=True),
    regression("log of value", log_of_value, linear.PoissonRegressor(), scaled=True),
    regression("log of value", log_of_value, linear.GammaRegressor(), scaled=True),
    regression("log of value", log_of_value, linear.TweedieRegressor(power=1.5), scaled=True),
    regression("log of value", log_of_value, linear.TweedieRegressor(power=0, link="log"), scaled=True),
]
TREES = [
    binary("log-odds", decision, many.HistGradientBoostingClassifier(**FEW)),
    binary("log-odds", decision, many.GradientBoostingClassifier(**SMALL)),
    binary("log-odds", decision, many.GradientBoostingClassifier(init="zero", **SMALL)),
    binary("log-odds", twice_the_decision, many.GradientBoostingClassifier(loss="exponential", **SMALL)),
    binary("probability", probability, many.RandomForestClassifier(**SMALL)),
    binary("probability", probability, many.ExtraTreesClassifier(class_weight="balanced", **SMALL)),
    binary("probability", probability, DecisionTreeClassifier(max_depth=4)),
    multiclass("class score", decision, many.HistGradientBoostingClassifier(**FEW)),
    multiclass("class score", decision, many.HistGradientBoostingClassifier(categorical_features=[NAMES[2]], **FEW)),
    multiclass("class score", decision, many.GradientBoostingClassifier(**SMALL)),
    multiclass("class score", decision, many.GradientBoostingClassifier(init="zero", subsample=0.5, **SMALL)),
    multiclass("probability", probability, many.RandomForestClassifier(**SMALL)),
    multiclass("probability", probability, many.ExtraTreesClassifier(**SMALL)),
    multiclass("probability", probability, DecisionTreeClassifier(max_depth=4)),
    regression("value", value, many.HistGradientBoostingRegressor(**FEW)),
    regression("value", value, many.HistGradientBoostingRegressor(categorical_features=[NAMES[2]], **FEW)),
    regression("value", value, many.HistGradientBoostingRegressor(loss="absolute_error", **FEW)),
    regression("value", value, many.HistGradientBoostingRegressor(loss="quantile", quantile=0.8, **FEW)),
    regression("log of value", log_of_value, many.HistGradientBoostingRegressor(loss="poisson", **FEW)),
    regression("log of value", log_of_value, many.HistGradientBoostingRegressor(loss="gamma", **FEW)),
    regression("value", value, many.GradientBoostingRegressor(**SMALL)),
    regression("value", value, many.GradientBoostingRegressor(loss="huber", init="zero", **SMALL)),
    regression("value", value, many.GradientBoostingRegressor(loss="quantile", **SMALL)),
    regression("value", value, many.RandomForestRegressor(**SMALL)),
    regression("value", value, many.RandomForestRegressor(criterion="absolute_error", **SMALL)),
    regression("value", value, many.ExtraTreesRegressor(**SMALL)),
    regression("value", value, DecisionTreeRegressor(max_depth=4)),
]
CASES = [pytest.param(case, id=f"{case.task}-{case.estimator!r}") for case in LINEAR + TREES]


@pytest.mark.parametrize("case", CASES)
def test_base_value_and_contributions_add_up_to_the_models_own_score(case: Case) -> None:
    pipeline = case.fitted()

    found = Explainer.of(pipeline, NAMES, case.task).explain(UNSEEN)

    scores = case.own_scores(pipeline, UNSEEN)
    if case.task == "multiclass":
        answered = pipeline.predict_proba(pd.DataFrame(UNSEEN, columns=NAMES)).argmax(axis=1)
        assert found.classes is not None
        np.testing.assert_array_equal(answered, found.classes)
        scores = scores[np.arange(len(UNSEEN)), answered]
    else:
        assert found.classes is None
    assert case.space == found.space
    assert (UNSEEN.shape, (len(UNSEEN),)) == (found.contributions.shape, found.base_values.shape)
    np.testing.assert_allclose(found.base_values + found.contributions.sum(axis=1), scores, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("case", CASES)
def test_the_space_leads_to_the_prediction(case: Case) -> None:
    """Log-odds by the logistic function to the probability, values as they are, and so on."""
    pipeline = case.fitted()
    explainer = Explainer.of(pipeline, NAMES, case.task)
    frame = pd.DataFrame(UNSEEN, columns=NAMES)

    def score(classes: list[int] | None = None) -> Floats:
        found = explainer.explain(UNSEEN, classes)
        return np.asarray(found.base_values + found.contributions.sum(axis=1))

    if case.task == "regression":
        expected = pipeline.predict(frame)
        total = np.exp(score()) if case.space == "log of value" else score()
    elif case.task == "binary":
        expected = pipeline.predict_proba(frame)[:, 1]
        total = 1 / (1 + np.exp(-score())) if case.space == "log-odds" else score()
    else:
        expected = pipeline.predict_proba(frame)
        total = np.stack([score([number] * len(UNSEEN)) for number in range(3)], axis=1)
        if case.space == "class score":
            one_vs_rest = isinstance(case.estimator, linear.SGDClassifier)
            total = 1 / (1 + np.exp(-total)) if one_vs_rest else np.exp(total)
            total /= total.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(total, expected, rtol=2e-5, atol=2e-6)  # linear models are predicted in float32


@pytest.mark.parametrize("case", CASES)
def test_an_input_that_the_model_does_not_use_contributes_exactly_nothing(case: Case) -> None:
    constant = ROWS.assign(**{NAMES[3]: np.float32(1)})  # no tree splits by it, and its centred column is 0
    unseen = UNSEEN.copy()
    unseen[:, 3] = 1

    found = Explainer.of(case.fitted(constant), NAMES, case.task).explain(unseen).contributions

    assert not found[:, 3].any()
    assert found[:, :2].any(axis=0).all()


@pytest.mark.parametrize("case", [pytest.param(case, id=f"{case.task}-{case.estimator!r}") for case in LINEAR])
def test_a_linear_contribution_is_the_coefficient_times_the_distance_from_the_mean(case: Case) -> None:
    pipeline = case.fitted()
    coefficients = np.atleast_2d(pipeline[-1].coef_)

    found = Explainer.of(pipeline, NAMES, case.task).explain(UNSEEN)

    scaler = pipeline[0]
    chosen = np.zeros(len(UNSEEN), dtype=int) if found.classes is None else found.classes
    expected = (UNSEEN.astype(np.float64) - scaler.mean_) / scaler.scale_ * coefficients[chosen]
    np.testing.assert_allclose(found.contributions, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(found.base_values, np.ravel(pipeline[-1].intercept_)[chosen])


def test_the_caller_says_which_class_was_answered() -> None:
    pipeline = multiclass("class score", decision, many.HistGradientBoostingClassifier(**FEW)).fitted()

    found = Explainer.of(pipeline, NAMES, "multiclass").explain(UNSEEN[:3], classes=[2, 0, 1])

    own = pipeline.decision_function(pd.DataFrame(UNSEEN[:3], columns=NAMES))[[0, 1, 2], [2, 0, 1]]
    assert found.classes is not None
    assert [2, 0, 1] == found.classes.tolist()
    np.testing.assert_allclose(found.base_values + found.contributions.sum(axis=1), own, rtol=1e-10)


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=repr(case.estimator)) for case in LINEAR + TREES if case.task == "binary"]
)
def test_a_multi_class_task_of_two_classes_is_explained_for_the_answered_one(case: Case) -> None:
    pipeline = case.fitted()

    found = Explainer.of(pipeline, NAMES, "multiclass").explain(UNSEEN)

    of_positive = Explainer.of(pipeline, NAMES, "binary").explain(UNSEEN)
    assert found.classes is not None
    positive = found.classes == 1
    np.testing.assert_array_equal(pipeline.predict(pd.DataFrame(UNSEEN, columns=NAMES)), positive)
    sign = np.where(positive, 1.0, -1.0)
    np.testing.assert_array_equal(found.contributions, sign[:, np.newaxis] * of_positive.contributions)
    rest = 1.0 if case.space == "probability" else 0.0
    np.testing.assert_array_equal(
        found.base_values, np.where(positive, of_positive.base_value, rest - of_positive.base_value)
    )
    assert case.space == found.space


@pytest.mark.parametrize("kind", [many.HistGradientBoostingRegressor(**FEW), many.RandomForestRegressor(**SMALL)])
def test_a_row_is_explained_alike_alone_and_among_others(kind: Any) -> None:
    explainer = Explainer.of(regression("value", value, kind).fitted(), NAMES, "regression")

    together = explainer.explain(UNSEEN).contributions

    alone = [explainer.explain(UNSEEN[at : at + 1]).contributions for at in range(len(UNSEEN))]
    np.testing.assert_array_equal(together, np.concatenate(alone))


@pytest.mark.parametrize(
    ("task", "estimator", "reason"),
    [
        (
            "regression",
            TransformedTargetRegressor(linear.Ridge(), func=np.log, inverse_func=np.exp),
            "TransformedTargetRegressor",
        ),
        ("regression", MLPRegressor(hidden_layer_sizes=(2,), max_iter=5), "MLPRegressor"),
        ("regression", many.VotingRegressor([("ridge", linear.Ridge())]), "VotingRegressor"),
        ("regression", many.StackingRegressor([("ridge", linear.Ridge())]), "StackingRegressor"),
        ("binary", CalibratedClassifierCV(linear.LogisticRegression(), cv=2), "CalibratedClassifierCV"),
        ("binary", linear.SGDClassifier(loss="modified_huber"), "SGDClassifier with the loss modified_huber"),
        ("multiclass", many.AdaBoostClassifier(n_estimators=2), "AdaBoostClassifier"),
        ("regression", many.GradientBoostingRegressor(init=linear.Ridge(), n_estimators=2), "first stage"),
        ("regression", linear.Ridge(), f"not centred on the training rows, made of {NAMES[0]}"),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_model_without_an_exact_explanation_is_refused_by_name(task: TaskKind, estimator: Any, reason: str) -> None:
    pipeline = make_pipeline(estimator).fit(ROWS, targets(task, ROWS))

    with pytest.raises(ExplanationError, match=reason):
        Explainer.of(pipeline, NAMES, task)


@pytest.mark.parametrize(
    ("of", "task", "reason"),
    [
        ("regression", "binary", "predicts a value; the contract's task is binary"),
        ("binary", "regression", "2 classes apart; the contract's task is regression"),
        ("multiclass", "binary", "3 classes apart; the contract's task is binary"),
        ("regression", "multiclass", "predicts a value; the contract's task is multiclass"),
    ],
)
def test_a_model_of_another_task_is_refused(of: TaskKind, task: TaskKind, reason: str) -> None:
    estimator = DecisionTreeRegressor() if of == "regression" else DecisionTreeClassifier()
    pipeline = make_pipeline(estimator).fit(ROWS, targets(of, ROWS))

    with pytest.raises(ExplanationError, match=reason):
        Explainer.of(pipeline, NAMES, task)


def test_contributions_that_do_not_add_up_are_never_given(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = make_pipeline(many.RandomForestRegressor(**SMALL)).fit(ROWS, targets("regression", ROWS))
    monkeypatch.setattr(type(pipeline[-1]), "predict", lambda _, rows: np.full(len(rows), 7.25))
    explainer = Explainer.of(pipeline, NAMES, "regression")

    with pytest.raises(ExplanationError, match="do not add up") as refused:
        explainer.explain(UNSEEN)

    assert "7.25" not in str(refused.value)
