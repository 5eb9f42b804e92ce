"""Models of categories and nulls, from the registration to the answer: by ONNX, or by scikit-learn with the reason."""

from collections.abc import Callable
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder

from contract.tasks import TaskKind
from scoring.agreement import CONVERTED, deviations
from scoring.models.model_frame import model_frame
from scoring.models.model_store import open_model
from scoring.models.task_models import task_model
from tests.integration.training.conftest import NAME, TEST_CUTOFF, Registry
from tests.models.mixed_model import AGE, CATEGORIES, NAMES, REGION, mixed_contract, mixed_rows
from training.bento_import import import_model
from training.gate.rules import PASSED
from training.tracking import run_log

Made = Callable[[TaskKind], Any]


def boosting(kind: TaskKind) -> Any:
    made = HistGradientBoostingRegressor if kind == "regression" else HistGradientBoostingClassifier
    return made(max_iter=8, random_state=1)


def forest(kind: TaskKind) -> Any:
    made = RandomForestRegressor if kind == "regression" else RandomForestClassifier
    return made(8, max_depth=6, random_state=1)


def by_name(estimator: Any) -> Pipeline:
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return make_pipeline(ColumnTransformer([("one-hot", encoder, CATEGORIES)], remainder="passthrough"), estimator)


MODELS: dict[str, tuple[Made, str]] = {
    "boosting": (boosting, "onnx"),
    "a forest whose nulls ONNX sends elsewhere": (forest, "sklearn"),
}


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_texts_and_nulls_is_served_from_codes_as_it_was_trained(
    models: Registry, name: str, kind: TaskKind
) -> None:
    made, runtime = MODELS[name]
    contract, client, artefacts = mixed_contract(kind), models.opened.client, models.opened.artefacts
    matrix, labels = mixed_rows(kind, 1)
    pipeline = by_name(made(kind)).fit(model_frame(contract.inputs, matrix.to_numpy()), labels)
    test, of_test = mixed_rows(kind, 2)

    with run_log.new_run(client, NAME):
        rows = test.assign(event_timestamp=pd.Timestamp(TEST_CUTOFF), label=of_test)
        drafted = contract.model_copy(update={"model_name": NAME})
        registered = run_log.register(client, pipeline, rows, drafted, features_sha256="0" * 64)
    version = registered.version
    client.set_model_version_tag(NAME, version.version, "gate", PASSED)
    servable = import_model(artefacts, NAME, str(version.version), artefacts.mlflow_tracking_uri)
    model = open_model(models.pinned)

    real = mixed_rows(kind, 3)[0].to_numpy()
    own, frame = task_model(contract.task), model_frame(contract.inputs, real)
    expected = own.scores(np.asarray(own.answered_by(pipeline, frame)))
    assert runtime == servable.runtime, str(servable)
    assert ("answers otherwise" in model.reason) == (runtime == "sklearn")
    assert model.reason in str(servable)
    assert deviations(expected, model.score(real)).max() <= CONVERTED
    # The version is of texts, as MLflow's own tools take it.
    as_logged = mlflow.pyfunc.load_model(version.source)
    types = [column.type.name for column in as_logged.metadata.get_input_schema().inputs]
    assert ["string", "float", "float", "string", "float", "string"] == types
    assert deviations(own.scores(np.asarray(as_logged.predict(frame))), expected).max() <= CONVERTED
    assert frame[AGE].isna().any()
    assert "__missing__" in set(frame[REGION])
    assert NAMES == as_logged.metadata.get_input_schema().input_names()
