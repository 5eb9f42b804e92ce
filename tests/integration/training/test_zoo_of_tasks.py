"""The usual estimators of several classes and of numbers, each from its fit to an answer. Never a wrong answer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
from feast.mlflow_integration.config import MlflowConfig
from lightgbm import LGBMClassifier, LGBMRegressor
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    StackingRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from xgboost import XGBClassifier, XGBRegressor

from contract import Headline, ModelContract, MulticlassTask, RegressionTask, Task, outputs_of
from contract.tasks import TaskKind
from jobs.feature_store import apply, open_feature_store
from scoring.agreement import CONVERTED, deviations
from scoring.models.model_store import open_model
from scoring.models.task_models import task_model
from scoring.models.trusted_types import SETTING
from tests.integration.training.conftest import NAME, SETTINGS, TEST_CUTOFF, Registry
from training.bento_import import Servable, import_model
from training.compilation.onnx_model import compile_to_onnx
from training.compilation.preflight import check_candidate
from training.compilation.proof_rows import proof_rows
from training.errors import TrainingError
from training.gate.rules import PASSED
from training.tracking import run_log
from training.tracking.test_rows import test_rows as kept_rows

Labels = NDArray[Any]

TASKS: dict[TaskKind, Task] = {
    "multiclass": MulticlassTask(classes=("low", "middle", "high")),
    "regression": RegressionTask(at_least=-20.0, unit="EUR"),
}
METRICS: dict[TaskKind, str] = {"multiclass": "log_loss", "regression": "mae"}

LIGHTGBM = (
    "collections.OrderedDict lightgbm.basic.Booster lightgbm.sklearn.LGBMClassifier lightgbm.sklearn.LGBMRegressor"
)
XGBOOST = "xgboost.core.Booster xgboost.sklearn.XGBClassifier xgboost.sklearn.XGBRegressor"


@dataclass(frozen=True)
class Case:
    """An estimator for each task, and what serves it. missing: its rows have empty values."""

    several_classes: Callable[[], BaseEstimator]
    number: Callable[[], BaseEstimator]
    runtime: str = "onnx"
    said: str = ""
    missing: bool = False

    def made(self, kind: TaskKind) -> Pipeline:
        """Not fitted yet."""
        estimator = {"multiclass": self.several_classes, "regression": self.number}[kind]()
        return estimator if isinstance(estimator, Pipeline) else Pipeline([("model", estimator)])


def forest() -> RandomForestClassifier:
    return RandomForestClassifier(8, max_depth=6, random_state=1)


def forest_of_numbers() -> RandomForestRegressor:
    return RandomForestRegressor(8, max_depth=6, random_state=1)


def extreme(estimator: type[BaseEstimator]) -> BaseEstimator:
    return estimator(n_estimators=8, n_jobs=1)


def logistic() -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression())


def ridge() -> Pipeline:
    return make_pipeline(StandardScaler(), Ridge())


def columns() -> ColumnTransformer:
    """A category of its own, scaled and imputed inputs, and the rest."""
    return ColumnTransformer(
        [
            ("category", OneHotEncoder(handle_unknown="ignore", sparse_output=False), [CATEGORY]),
            ("scaled", make_pipeline(SimpleImputer(), StandardScaler()), [SCALED]),
        ],
        remainder="passthrough",
    )


def boosted(estimator: type[BaseEstimator], **settings: Any) -> BaseEstimator:
    return estimator(max_iter=8, random_state=1, **settings)


def light(estimator: type[BaseEstimator]) -> BaseEstimator:
    return estimator(n_estimators=8, verbose=-1, n_jobs=1)


CATEGORY, SCALED = "customer_lifetime__order_count", SETTINGS.recency_feature

ZOO = {
    "linear": Case(logistic, ridge),
    "random forest": Case(forest, forest_of_numbers),
    "gradient boosting": Case(
        lambda: GradientBoostingClassifier(n_estimators=6, random_state=1),
        lambda: GradientBoostingRegressor(n_estimators=6, random_state=1),
    ),
    "histogram boosting": Case(
        lambda: boosted(HistGradientBoostingClassifier), lambda: boosted(HistGradientBoostingRegressor)
    ),
    "histogram boosting with empty values": Case(
        lambda: boosted(HistGradientBoostingClassifier), lambda: boosted(HistGradientBoostingRegressor), missing=True
    ),
    "stacking": Case(
        lambda: StackingClassifier([("forest", forest()), ("linear", logistic())], cv=2),
        lambda: StackingRegressor([("forest", forest_of_numbers()), ("linear", ridge())], cv=2),
    ),
    "LightGBM": Case(lambda: light(LGBMClassifier), lambda: light(LGBMRegressor)),
    "XGBoost": Case(lambda: extreme(XGBClassifier), lambda: extreme(XGBRegressor)),
    # what ONNX cannot express, or expresses otherwise
    "calibrated, and a transformed target": Case(
        lambda: CalibratedClassifierCV(forest(), method="isotonic", cv=2),
        lambda: TransformedTargetRegressor(Ridge(), transformer=StandardScaler()),
        "sklearn",
        "answers otherwise|TransformedTargetRegressor",
    ),
    "a scaler before trees": Case(
        lambda: make_pipeline(StandardScaler(), boosted(HistGradientBoostingClassifier)),
        lambda: make_pipeline(StandardScaler(), boosted(HistGradientBoostingRegressor)),
        "sklearn",
        "answers otherwise",
    ),
    "columns by name": Case(
        lambda: make_pipeline(columns(), LogisticRegression(max_iter=1_000)),
        lambda: make_pipeline(columns(), Ridge()),
    ),
    "a function that is not converted": Case(
        lambda: make_pipeline(FunctionTransformer(np.log1p), LogisticRegression(max_iter=1_000)),
        lambda: make_pipeline(FunctionTransformer(np.log1p), Ridge()),
        "sklearn",
        "FunctionTransformer is not supported",
    ),
    "LightGBM after steps": Case(
        lambda: make_pipeline(columns(), light(LGBMClassifier)),
        lambda: make_pipeline(columns(), light(LGBMRegressor)),
    ),
    "XGBoost after steps": Case(
        lambda: make_pipeline(columns(), extreme(XGBClassifier)),
        lambda: make_pipeline(columns(), extreme(XGBRegressor)),
    ),
}


def of_task(contract: ModelContract, kind: TaskKind) -> ModelContract:
    changed = {
        "task": TASKS[kind],
        "outputs": outputs_of(kind, "spend"),
        "headline": Headline(population="all", metric=METRICS[kind]),
    }
    return contract.model_copy(update=changed)


def data(names: list[str], kind: TaskKind, seed: int, missing: bool = False) -> tuple[pd.DataFrame, Labels]:
    random = np.random.default_rng(seed)
    matrix = pd.DataFrame(random.exponential(20, (500, len(names))).astype(np.float32), columns=names)
    matrix[CATEGORY] = np.floor(matrix[CATEGORY] / 8).clip(upper=5)
    spend = (4 * matrix[CATEGORY] - matrix[SCALED] + random.normal(0, 3, len(matrix))).to_numpy(np.float64)
    if missing:
        matrix = matrix.mask(random.random(matrix.shape) < 0.2)
    return matrix, spend if kind == "regression" else np.digitize(spend, np.quantile(spend, [0.4, 0.7]))


def imported(models: Registry, contract: ModelContract, pipeline: Pipeline, rows: tuple[pd.DataFrame, Any]) -> Servable:
    """As training registers it and `make import-model` imports it."""
    test, labels = rows
    test_set = test.assign(event_timestamp=pd.Timestamp(TEST_CUTOFF), label=labels)
    client, artefacts = models.opened.client, models.opened.artefacts
    with run_log.new_run(client, NAME):
        made = run_log.register(client, pipeline, test_set, contract, features_sha256="0" * 64)
    client.set_model_version_tag(NAME, made.version.version, "gate", PASSED)
    return import_model(artefacts, NAME, str(made.version.version), artefacts.mlflow_tracking_uri)


@pytest.mark.filterwarnings("ignore")  # of estimators that are fitted on little
@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("name", ZOO)
def test_an_estimator_is_served_and_answers_as_it_was_trained(
    models: Registry, contract: ModelContract, monkeypatch: pytest.MonkeyPatch, name: str, kind: TaskKind
) -> None:
    case, promised, own = ZOO[name], of_task(contract, kind), task_model(TASKS[kind])
    names = promised.feature_names
    monkeypatch.setenv(SETTING, f"{LIGHTGBM} {XGBOOST}")
    matrix, labels = data(names, kind, 1, case.missing)
    check_candidate(name, lambda: case.made(kind), matrix, labels, promised.task)
    pipeline = case.made(kind).fit(matrix, labels)

    servable = imported(models, promised, pipeline, data(names, kind, 2, case.missing))
    model = open_model(models.pinned)

    real = data(names, kind, 3, case.missing)[0]
    finite = real.dropna().to_numpy(np.float32)
    near = pd.DataFrame(proof_rows(pipeline, finite, seed=9) if len(finite) else [], columns=names, dtype=np.float32)
    rows = pd.concat([real, near], ignore_index=True)
    expected = own.scores(np.asarray(own.answered_by(pipeline, rows)))
    assert case.runtime == servable.runtime, servable.reason
    assert (case.runtime == "sklearn") == bool(model.reason)
    assert any(said in model.reason for said in case.said.split("|"))
    assert deviations(expected, model.score(np.ascontiguousarray(rows.to_numpy(np.float32)))).max() <= CONVERTED


@pytest.mark.parametrize("kind", TASKS)
def test_a_model_of_another_framework_is_served_and_answers_as_it_was_recorded(
    models: Registry, contract: ModelContract, kind: TaskKind
) -> None:
    promised, own = of_task(contract, kind), task_model(TASKS[kind])
    names, client, artefacts = promised.feature_names, models.opened.client, models.opened.artefacts
    of_the_other = ZOO["random forest"].made(kind).fit(*data(names, kind, 1))
    document = compile_to_onnx(of_the_other, len(names), promised.task)
    test, labels = data(names, kind, 2)
    recorded = own.scores(np.asarray(own.answered_by(of_the_other, test)))

    with run_log.new_run(client, NAME):
        rows = kept_rows(test, pd.Series([pd.Timestamp(TEST_CUTOFF)] * len(test)), labels, {}, recorded)
        made = run_log.register_onnx(client, document, rows, promised, features_sha256="0" * 64)
    client.set_model_version_tag(NAME, made.version.version, "gate", PASSED)
    servable = import_model(artefacts, NAME, str(made.version.version), artefacts.mlflow_tracking_uri)

    real = data(names, kind, 3)[0]
    expected = own.scores(np.asarray(own.answered_by(of_the_other, real)))
    model = open_model(models.pinned)
    assert ("onnx", made.has_signature) == (servable.runtime, True)
    assert deviations(expected, model.score(real.to_numpy(np.float32))).max() <= CONVERTED


REFUSED: dict[str, tuple[TaskKind, BaseEstimator, str]] = {
    "a regression for classes": ("multiclass", LinearRegression(), "LinearRegression gives no probabilities"),
    "classes for a regression": ("regression", LogisticRegression(), "LogisticRegression tells classes apart"),
    "no probabilities": ("multiclass", RidgeClassifier(), "RidgeClassifier gives no probabilities .*low, middle and"),
    "LightGBM after a step that is not converted": (
        "regression",
        make_pipeline(FunctionTransformer(np.log1p), light(LGBMRegressor)),
        "served only as ONNX, and this one cannot be: .*FunctionTransformer",
    ),
    "a booster that nobody trusts": ("regression", XGBRegressor(n_estimators=2), "MODEL_TRUSTED_TYPES=.*XGBRegressor"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_served_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    kind, estimator, said = REFUSED[name]
    monkeypatch.setenv(SETTING, LIGHTGBM)
    matrix, labels = data(["a", "b", CATEGORY, SCALED], kind, 1)
    made = Pipeline([("model", estimator)])

    with pytest.raises(TrainingError, match=rf"candidate {name!r} cannot be .*{said}") as refused:
        check_candidate(name, lambda: made, matrix, np.digitize(labels, [0, 1, 2]), TASKS[kind])

    assert "\n" not in str(refused.value)


def test_feasts_own_client_resolves_a_version_to_its_feature_service(models: Registry) -> None:
    artefacts = models.opened.artefacts
    apply(artefacts)
    store = open_feature_store(artefacts)
    store.config.mlflow_config = MlflowConfig(enabled=True, tracking_uri=artefacts.mlflow_tracking_uri)

    assert "churn_v1" == store.mlflow.resolve_features(f"models:/{NAME}/1")
