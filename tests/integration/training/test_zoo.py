"""The usual estimators, each from its fit to an answer: registered, imported, loaded, scored. Never a wrong answer."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LinearRegression, LogisticRegression, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, PowerTransformer, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier
from xgboost import XGBClassifier

from contract import ModelContract
from scoring.errors import ModelError
from scoring.explanation import Explainer
from scoring.models.model_store import open_model
from scoring.models.onnx_scorer import ANY_BINARY
from scoring.models.trusted_types import SETTING
from tests.integration.training.conftest import NAME, TEST_CUTOFF, Registry, customers
from training.bento_import import Servable, import_model
from training.compilation.preflight import check_candidate
from training.compilation.proof_rows import proof_rows
from training.errors import TrainingError
from training.gate.rules import PASSED
from training.tracking import run_log

import mlflow  # isort: skip

Labels = NDArray[np.bool_]

LIGHTGBM = "collections.OrderedDict lightgbm.basic.Booster lightgbm.sklearn.LGBMClassifier"
XGBOOST = "xgboost.core.Booster xgboost.sklearn.XGBClassifier"
BY_CATEGORY = "functools.partial sklearn.utils.validation.check_array"


@dataclass(frozen=True)
class Case:
    """An estimator, what serves it, what its users must trust, and whether its answers can be explained."""

    made: Callable[[], BaseEstimator]
    runtime: str = "onnx"
    trusted: str = ""
    explained: bool = False


def tree() -> DecisionTreeClassifier:
    return DecisionTreeClassifier(max_depth=4, random_state=1)


def forest() -> RandomForestClassifier:
    return RandomForestClassifier(8, max_depth=6, random_state=1)


def linear() -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression())


def scaled(estimator: BaseEstimator) -> Pipeline:
    return make_pipeline(StandardScaler(), estimator)


def boosted(**settings: object) -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(max_iter=10, random_state=1, **settings)


ZOO = {
    "logistic": Case(linear, explained=True),
    "power transform": Case(lambda: make_pipeline(PowerTransformer(), LogisticRegression()), explained=True),
    "gradient descent": Case(lambda: scaled(SGDClassifier(loss="log_loss", random_state=1)), explained=True),
    "tree": Case(tree, explained=True),
    "random forest": Case(forest, explained=True),
    "extra trees": Case(lambda: ExtraTreesClassifier(8, max_depth=6, random_state=1), explained=True),
    "gradient boosting": Case(lambda: GradientBoostingClassifier(n_estimators=8, random_state=1), explained=True),
    "histogram boosting": Case(boosted, explained=True),
    "bagging": Case(lambda: BaggingClassifier(tree(), n_estimators=4, max_features=0.5, random_state=1)),
    "AdaBoost": Case(lambda: AdaBoostClassifier(n_estimators=6, random_state=1)),
    "calibrated forest": Case(lambda: CalibratedClassifierCV(forest(), cv=2)),
    "calibrated by steps": Case(lambda: CalibratedClassifierCV(tree(), method="isotonic", cv=2)),
    "calibrated linear SVC": Case(lambda: scaled(CalibratedClassifierCV(LinearSVC(), cv=2))),
    "stacking": Case(lambda: StackingClassifier([("forest", forest()), ("linear", linear())], cv=2)),
    "voting": Case(lambda: VotingClassifier([("forest", forest()), ("linear", linear())], voting="soft")),
    "neural network": Case(lambda: scaled(MLPClassifier((6,), max_iter=30, random_state=1))),
    "nearest neighbours": Case(lambda: scaled(KNeighborsClassifier(7)), "sklearn"),
    "naive Bayes": Case(GaussianNB, "sklearn"),  # 1.4e-05 apart
    "support vectors": Case(lambda: scaled(CalibratedClassifierCV(SVC(), cv=2))),
    "LightGBM": Case(lambda: LGBMClassifier(n_estimators=10, verbose=-1), trusted=LIGHTGBM),
    "XGBoost": Case(lambda: XGBClassifier(n_estimators=10), trusted=XGBOOST),
    # what is converted without an error, and wrongly
    "splits by categories": Case(lambda: boosted(categorical_features=[0]), "sklearn", BY_CATEGORY, explained=True),
    "a scaler before boosted trees": Case(lambda: scaled(boosted()), "sklearn", explained=True),
    "a scaler before a tree": Case(lambda: scaled(tree()), "sklearn", explained=True),
    "linear discriminant": Case(lambda: scaled(LinearDiscriminantAnalysis()), "sklearn", explained=True),
}


def as_pipeline(estimator: BaseEstimator) -> Pipeline:
    return estimator if isinstance(estimator, Pipeline) else Pipeline([("classifier", estimator)])


def data(contract: ModelContract, seed: int = 1) -> tuple[pd.DataFrame, Labels]:
    matrix, churned = customers(contract.feature_names, seed)
    matrix.iloc[:, 0] = np.floor(matrix.iloc[:, 0] / 4)  # a few whole numbers, as of a category
    return matrix, churned


def imported(models: Registry, contract: ModelContract, pipeline: Pipeline) -> Servable:
    """As training registers it and `make import-model` imports it."""
    test, churned = data(contract, seed=2)
    test_set = test.assign(
        event_timestamp=pd.Timestamp(TEST_CUTOFF),
        active=True,
        churned=churned,
        probability=pipeline.predict_proba(test)[:, 1],
    )
    client, artefacts = models.opened.client, models.opened.artefacts
    with mlflow.start_run():
        made = run_log.register(client, pipeline, test_set, contract, features_sha256="0" * 64)
    client.set_model_version_tag(NAME, made.version.version, "gate", PASSED)
    return import_model(artefacts, NAME, str(made.version.version), artefacts.mlflow_tracking_uri)


@pytest.mark.filterwarnings("ignore")  # of estimators that are fitted on little
@pytest.mark.parametrize("name", ZOO)
def test_an_estimator_is_served_and_answers_as_it_was_trained(
    models: Registry, contract: ModelContract, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    case = ZOO[name]
    monkeypatch.setenv(SETTING, case.trusted)
    matrix, churned = data(contract)
    check_candidate(name, lambda: as_pipeline(case.made()), matrix, churned, contract.task)
    pipeline = as_pipeline(case.made()).fit(matrix, churned)

    servable = imported(models, contract, pipeline)
    model = open_model(models.pinned)

    real = data(contract, seed=3)[0]
    near = proof_rows(pipeline, real.to_numpy(np.float32), seed=9)
    rows = pd.concat([real, pd.DataFrame(near, columns=real.columns)], ignore_index=True)
    expected = pipeline.predict_proba(rows)[:, 1]
    found = model.score(np.ascontiguousarray(rows.to_numpy(np.float32)))
    assert case.runtime == servable.runtime, servable.reason
    assert (case.runtime == "sklearn") == bool(model.reason)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert case.explained == _is_explained(model)


def _is_explained(model: object) -> bool:
    try:
        Explainer.of(model.load_pipeline(), model.contract.feature_names)  # type: ignore[attr-defined]
    except ModelError:  # which the service answers by 501
        return False
    return True


REFUSED = {
    "LightGBM that nobody trusts": (LGBMClassifier(n_estimators=2, verbose=-1), "MODEL_TRUSTED_TYPES=.*lightgbm.basic"),
    "XGBoost that nobody trusts": (XGBClassifier(n_estimators=2), "MODEL_TRUSTED_TYPES=.*xgboost.core"),
    "a function of one's own": (
        make_pipeline(FunctionTransformer(np.sqrt, feature_names_out=lambda _, n: n), LogisticRegression()),
        "(stored by skops|MODEL_TRUSTED_TYPES)",
    ),
    "a regression": (LinearRegression(), "LinearRegression gives no probabilities .*two classes are expected"),
    "a classifier without probabilities": (LinearSVC(), "LinearSVC gives no probabilities"),
    "a hard vote": (VotingClassifier([("tree", tree())], voting="hard"), "VotingClassifier gives no probabilities"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_served_is_refused_by_one_line_before_it_is_fitted_on_all_rows(name: str) -> None:
    estimator, said = REFUSED[name]
    random = np.random.default_rng(1)
    matrix = pd.DataFrame(random.random((5_000, 3)), columns=["a", "b", "c"], dtype=np.float32)
    rows_fitted: list[int] = []

    class Counted(Pipeline):  # type: ignore[misc]
        def fit(self, rows: pd.DataFrame, labels: Labels) -> Pipeline:
            rows_fitted.append(len(rows))
            return as_pipeline(estimator).fit(rows, labels)

    with pytest.raises(TrainingError, match=rf"candidate {name!r} cannot be .*{said}") as refused:
        check_candidate(name, lambda: Counted([("x", estimator)]), matrix, random.random(5_000) < 0.5, ANY_BINARY)

    assert "\n" not in str(refused.value)
    assert max(rows_fitted) < 200


def test_a_booster_that_onnx_does_not_express_is_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SETTING, LIGHTGBM)
    random = np.random.default_rng(1)
    matrix = pd.DataFrame(random.random((500, 3)), columns=["a", "b", "c"], dtype=np.float32)
    bagged = BaggingClassifier(make_pipeline(FunctionTransformer(), LGBMClassifier(verbose=-1)), n_estimators=2)

    with pytest.raises(TrainingError, match=r"lightgbm .* served only as ONNX, and this one cannot be: .*use"):
        check_candidate("bagged", lambda: as_pipeline(bagged), matrix, random.random(500) < 0.5, ANY_BINARY)
