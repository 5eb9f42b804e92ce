"""A model of each task that another framework trained on our rows: an ONNX file and recorded scores are all of it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
from mlflow.entities.model_registry import ModelVersion
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from artefacts.cutoffs import Cutoffs
from contract import FeatureSchema
from contract.tasks import TaskKind
from tests.integration.training.conftest import NAME, SETTINGS, Registry, customers
from training import register_onnx, splits
from training.data.dataset import LabelledRows
from training.promotion import judgement
from training.row_splits import time_splits
from training.row_splits.split_rows import Part
from training.row_splits.time_splits import LabelSource
from training.tasks import Task
from training.use_case import Binary, ByFeature, Multiclass, Population, Regression, UseCase

NOW = datetime(2026, 6, 1, tzinfo=UTC)
CUTOFFS = Cutoffs((NOW - timedelta(days=270),), NOW - timedelta(days=180), NOW - timedelta(days=90))
RECENCY = SETTINGS.recency_feature
TASKS: dict[TaskKind, Binary | Multiclass | Regression] = {
    "binary": Binary(target="churn", classes=("retained", "churned")),
    "multiclass": Multiclass(target="segment", classes=("low", "middle", "high")),
    "regression": Regression(target="spend", at_least=0.0),
}


def use_case(kind: TaskKind) -> UseCase:
    """With no candidate of its own."""
    return UseCase(
        name=NAME,
        feature_service=SETTINGS.feature_service,
        task=TASKS[kind],
        labels=lambda _: mock.Mock(spec=LabelSource),
        candidates={},
        baseline=ByFeature(RECENCY),
        populations={"active": Population(feature=RECENCY, at_most=1e6)},
        headline=None if kind != "binary" else ("active", "roc_auc"),
    )


def data_of(schema: FeatureSchema) -> type:
    """In the place of the point-in-time join: rows that are the same whenever they are read."""

    class Data:
        def __init__(self, *_: object) -> None:
            self.schema, self.entity, self.filled = schema, "customer", ""

        def view_ages(self, entities: pd.DataFrame) -> dict[str, Any]:
            return {"customer_lifetime": np.arange(len(entities), dtype=np.float64)}

        def rows(self, parts: Sequence[Part], task: Task) -> LabelledRows:
            times = [part.cutoff for part in parts if part.cutoff is not None]
            matrix, churned = customers([f.name for f in schema.features], seed=times[0].month)
            noise = np.random.default_rng(times[0].month).normal(0, 3, len(matrix))
            spend = (matrix["customer_lifetime__order_count"] * 2 - matrix[RECENCY] + 60 + noise).clip(lower=0)
            labels = {
                "binary": churned,
                "multiclass": np.digitize(spend, [45, 75]),
                "regression": spend.to_numpy(np.float64),
            }
            ids = pd.DataFrame({"customer_id": [f"{n:05d}" for n in range(len(matrix))], "event_timestamp": times[0]})
            return LabelledRows(ids, matrix.astype(np.float64), labels[task.kind], {})

    return Data


@dataclass(frozen=True)
class Elsewhere:
    """The use case of one task, and what the other framework left."""

    models: Registry
    kind: TaskKind
    onnx: Path
    scores: Path
    rows: pd.DataFrame
    answer: Callable[[pd.DataFrame], Any]

    def register(self, **changed: Any) -> ModelVersion:
        """As `make register-onnx`, with changed settings."""
        opened = self.models.opened
        settings = opened.settings.model_copy(update={"max_calibration_error": 1e6, **changed})
        return register_onnx.register_onnx(opened.client, opened.artefacts, settings, self.onnx, self.scores)

    def rescored(self, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
        """Have it record something else."""
        change(pd.read_parquet(self.scores)).to_parquet(self.scores)


@contextmanager
def elsewhere(models: Registry, schema: FeatureSchema, kind: TaskKind) -> Iterator[Elsewhere]:
    """Write the rows, fit a model on the training rows, write its ONNX file and its scores, and throw it away."""
    case = use_case(kind)
    with (
        mock.patch.object(splits, "TrainingData", data_of(schema)),
        mock.patch.object(time_splits, "cutoffs_of", return_value=CUTOFFS),
        mock.patch.object(register_onnx, "load_use_case", return_value=case),
        mock.patch.object(judgement, "current_use_case", return_value=case),
    ):
        rows = splits.rows_of(splits.read_splits(models.opened.artefacts, case, SETTINGS, fits=False))
        inputs = rows.columns[list(rows.columns).index("label") + 1 :]
        training = rows[rows["split"] == "training"]
        last = RandomForestRegressor(8, max_depth=6, random_state=1) if kind == "regression" else LogisticRegression()
        steps = [last] if kind == "regression" else [StandardScaler(), last]
        fitted = make_pipeline(*steps).fit(training[inputs].to_numpy(), training["label"])

        def answer(matrix: pd.DataFrame) -> Any:
            if kind == "regression":
                return fitted.predict(matrix.to_numpy())
            probabilities = fitted.predict_proba(matrix.to_numpy())
            return probabilities[:, 1] if kind == "binary" else probabilities

        others = rows[rows["split"] != "training"].reset_index(drop=True)
        given = answer(others[inputs])
        columns = {"score": given} if given.ndim == 1 else {f"score_{i}": given[:, i] for i in range(given.shape[1])}
        file, recorded = models.root / "net.onnx", models.root / "scores.parquet"
        options = {} if kind == "regression" else {"options": {id(fitted): {"zipmap": True}}}
        exported = to_onnx(fitted, initial_types=[("rows", FloatTensorType([None, len(inputs)]))], **options)
        file.write_bytes(exported.SerializeToString())
        others[["customer_id", "event_timestamp"]].assign(**columns).to_parquet(recorded)
        yield Elsewhere(models, kind, file, recorded, rows, answer)
