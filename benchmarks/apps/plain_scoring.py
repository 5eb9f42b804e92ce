"""Scoring of P0 and P1: features from Feast's SDK, scores from the scikit-learn pipeline.

Faster than in most documentation: the feature service is looked up once, not in every call.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import bentoml
import mlflow.sklearn
import pandas as pd
from feast import FeatureStore

from contract import ModelContract
from contract.tasks import TaskKind
from contract.values.vocabulary import MISSING_TEXT, UNSEEN_TEXT

_SCORES: Mapping[TaskKind, Callable[[Any, pd.DataFrame], Any]] = {
    "binary": lambda pipeline, frame: pipeline.predict_proba(frame)[:, 1],
    "multiclass": lambda pipeline, frame: pipeline.predict_proba(frame),
    "regression": lambda pipeline, frame: pipeline.predict(frame),
}


class PlainScoring:
    """Entity rows → scores, as the documentation of Feast and MLflow shows it."""

    def __init__(self) -> None:
        self._store = FeatureStore(repo_path=os.environ["BENCHMARKS_FEATURE_REPO"])
        self._service = self._store.get_feature_service(os.environ["BENCHMARKS_FEATURE_SERVICE"])
        self._pipeline: Any = mlflow.sklearn.load_model(os.environ["BENCHMARKS_MODEL_URI"])
        stored = bentoml.models.get(os.environ["BENCHMARKS_MODEL_TAG"])
        contract = ModelContract.from_json(Path(stored.path_of("contract.json")).read_bytes())
        self._names = contract.feature_names
        # With full names, Feast omits the outputs of on-demand views.
        self._bare = [name.partition("__")[2] for name in self._names]
        self._request_inputs = [given.name for given in contract.feature_schema.request_inputs]
        self._scores = _SCORES[contract.task.kind]
        kinds = {each.name: each.kind for each in contract.inputs}
        self._categories = {each.name: {*map(str, each.vocabulary)} for each in contract.inputs if each.vocabulary}
        self._times = [name for name, kind in kinds.items() if kind == "age"]
        kept = any(each.on_missing == "keep" for each in contract.inputs)
        self._numbers = [name for name, kind in kinds.items() if kept and kind == "numeric"]

    def score(self, entity_rows: Sequence[dict[str, Any]]) -> list[Any]:
        """One score per row, same order."""
        as_of = time.time_ns() // 1000
        asked = dict.fromkeys(self._request_inputs, as_of)
        rows = [{**row, **asked} for row in entity_rows]
        frame = self._store.get_online_features(features=self._service, entity_rows=rows).to_df()
        matrix = frame[self._bare].set_axis(self._names, axis="columns")
        # What the pipeline was trained on: categories as text, ages for times, NaN for nulls.
        for name, known in self._categories.items():
            matrix[name] = [_text(value, known) for value in matrix[name].tolist()]
        for name in self._times:
            seconds = pd.Timestamp(as_of, unit="us", tz="UTC") - pd.to_datetime(matrix[name], utc=True)
            matrix[name] = seconds.dt.total_seconds()
        if self._numbers:
            matrix = matrix.astype(dict.fromkeys([*self._numbers, *self._times], "float32"))
        scores: list[Any] = self._scores(self._pipeline, matrix).tolist()
        return scores


def _text(value: Any, known: set[str]) -> str:
    if pd.isna(value):
        return MISSING_TEXT
    text = value if isinstance(value, str) else str(int(value))
    return text if text in known else UNSEEN_TEXT
