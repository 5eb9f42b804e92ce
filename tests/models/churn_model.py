"""A real model over the project's own feature service, made in a second: for tests that need scores, not good ones."""

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from artefacts.addresses import Artefacts
from contract import (
    BinaryTask,
    DecisionThreshold,
    FeatureInput,
    Headline,
    ModelContract,
    TrainingDistribution,
    outputs_of,
)
from contract.inputs import QUANTILES
from contract.registry_schema import read_feature_schema
from contract.tasks import TaskKind
from jobs.feature_store import open_feature_store
from scoring.models.imported_model import ImportedModel
from tests.models.fakes import contract_of, store_model
from training.churn.candidates import logistic


def churn_contract(artefacts: Artefacts, refuse_missing: tuple[str, ...] = ()) -> ModelContract:
    """A contract that takes every feature of `churn_v1` as the registry offers it; defaults are 1, 2, 3 …"""
    store = open_feature_store(artefacts)
    schema = read_feature_schema(store.registry, store.project, "churn_v1")
    return ModelContract(
        model_name="test_churn",
        model_version="1",
        run_id="0" * 32,
        feature_schema=schema,
        inputs=tuple(
            FeatureInput.model_validate(
                {
                    **feature.model_dump(),
                    "default": float(position + 1),
                    "default_from": "feature_repo",
                    "distribution": TrainingDistribution(quantiles=(0.0,) * len(QUANTILES), null_rate=0.0),
                    **({"on_missing": "refuse"} if feature.name in refuse_missing else {}),
                }
            )
            for position, feature in enumerate(schema.features)
        ),
        entity="customer",
        task=BinaryTask(
            classes=("retained", "churned"), threshold=DecisionThreshold(value=0.5, rule="given by the test")
        ),
        outputs=outputs_of("binary", "churn"),
        headline=Headline(population="all", metric="roc_auc"),
        training_window={},
        data_fingerprint="0" * 64,
        metrics={},
        library_versions={},
    )


def churn_pipeline(names: list[str]) -> Pipeline:
    """A pipeline whose every input matters, fitted on noise."""
    random = np.random.default_rng(11)
    matrix = pd.DataFrame(random.exponential(20, (400, len(names))).astype(np.float32), columns=names)
    return logistic(seed=1).fit(matrix, random.random(400) < 0.4)


def churn_model(artefacts: Artefacts, folder: Path, refuse_missing: tuple[str, ...] = ()) -> ImportedModel:
    """That model as the import leaves it, loaded."""
    contract = churn_contract(artefacts, refuse_missing)
    return store_model(folder, contract, churn_pipeline(contract.feature_names)).load()


def task_model_of(model: ImportedModel, kind: TaskKind, folder: Path) -> ImportedModel:
    """A model of another task over the same inputs: `contract_of(kind)`'s target, fitted on noise."""
    like = contract_of(kind)
    changed = {"task": like.task, "outputs": like.outputs, "headline": like.headline}
    contract = model.contract.model_copy(update=changed)
    random = np.random.default_rng(12)
    matrix = random.exponential(20, (400, len(contract.inputs))).astype(np.float32)
    estimator = Ridge() if kind == "regression" else LogisticRegression(max_iter=500)
    target = matrix[:, ::2].sum(axis=1) - matrix[:, 1::2].sum(axis=1)
    borders = [0.6] if kind == "binary" else [0.3, 0.6]
    classes = np.digitize(target, np.quantile(target, borders))
    rows = pd.DataFrame(matrix, columns=contract.feature_names)
    pipeline = make_pipeline(StandardScaler(), estimator).fit(rows, target if kind == "regression" else classes)
    return store_model(folder, contract, pipeline).load()
