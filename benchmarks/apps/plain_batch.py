"""Batch scoring as the documentation of Feast and MLflow shows it: point-in-time join, DataFrame, `predict_proba`.

`python -m benchmarks.apps.plain_batch CUSTOMERS AS_OF OUT`, both files Parquet.
"""

import os
import sys
from typing import Any

import mlflow.sklearn
import pandas as pd
from feast import FeatureStore

from artefacts.addresses import PROJECT_ROOT


def main(customers: str, as_of: str, out: str) -> None:
    """Score the customers in a file as they were at a time."""
    store = FeatureStore(repo_path=str(PROJECT_ROOT / "feature_repo"))
    service = store.get_feature_service(os.environ["BENCHMARKS_FEATURE_SERVICE"])
    pipeline: Any = mlflow.sklearn.load_model(os.environ["BENCHMARKS_MODEL_URI"])
    at = pd.Timestamp(as_of)
    entities = pd.read_parquet(customers, columns=["customer_id"])
    entities = entities.assign(event_timestamp=at, as_of=int(at.timestamp() * 1e6))
    frame = store.get_historical_features(entity_df=entities, features=service, full_feature_names=True).to_df()
    probabilities = pipeline.predict_proba(frame[list(pipeline.feature_names_in_)])[:, 1]
    pd.DataFrame({"customer_id": frame["customer_id"], "churn_probability": probabilities}).to_parquet(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
