"""Scoring of P0 and P1: features from Feast's SDK, probabilities from the scikit-learn pipeline.

Faster than in most documentation: the feature service is looked up once, not in every call.
"""

import os
import time
from typing import Any

import mlflow.sklearn
from feast import FeatureStore

from artefacts.addresses import PROJECT_ROOT


class PlainScoring:
    """Customer ids → probabilities, as the documentation of Feast and MLflow shows it."""

    def __init__(self) -> None:
        self._store = FeatureStore(repo_path=str(PROJECT_ROOT / "feature_repo"))
        self._service = self._store.get_feature_service(os.environ["BENCHMARKS_FEATURE_SERVICE"])
        self._pipeline: Any = mlflow.sklearn.load_model(os.environ["BENCHMARKS_MODEL_URI"])
        self._names = list(self._pipeline.feature_names_in_)
        # With full names, Feast omits the outputs of on-demand views.
        self._bare = [name.partition("__")[2] for name in self._names]

    def score(self, customer_ids: list[str]) -> list[float]:
        """One probability per id, same order."""
        as_of = time.time_ns() // 1000
        rows = [{"customer_id": customer_id, "as_of": as_of} for customer_id in customer_ids]
        frame = self._store.get_online_features(features=self._service, entity_rows=rows).to_df()
        matrix = frame[self._bare].set_axis(self._names, axis="columns")
        probabilities: list[float] = self._pipeline.predict_proba(matrix)[:, 1].tolist()
        return probabilities
