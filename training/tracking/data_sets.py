"""Logs the data sets of a run: what was fitted on and judged by, with a digest and where it came from."""

import mlflow
import pandas as pd
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.pandas_dataset import from_pandas

from contract import FeatureSchema
from scoring.evaluation import Labels

_DIGEST_CHARACTERS = 32
"""MLflow keeps 36."""


def log_data_set(
    name: str, rows: pd.DataFrame, target: str, labels: Labels, sha256: str, schema: FeatureSchema, made_of: str
) -> None:
    """Log one data set as an input of the active run; its rows stay where they are.

    Args:
        name: of the split: `training`, `validation` or `test`.
        rows: the model's inputs, categories as text.
        labels: (n,).
        sha256: of ids, request times, values and labels.
        schema: of the feature service that the rows were joined from.
        made_of: digest of what the features were built from.
    """
    # A point-in-time join has no address that MLflow could open again; these names and digests say how to join it.
    source = CodeDatasetSource(
        {
            "feast.project": schema.project,
            "feast.feature_service": schema.feature_service,
            "feast.feature_views": ", ".join(view.name for view in schema.views),
            "features_sha256": made_of,
            "rows_sha256": sha256,
        }
    )
    data_set = from_pandas(
        rows.assign(**{target: labels}),
        source=source,
        targets=target,
        name=f"{schema.feature_service} {name}",
        digest=sha256[:_DIGEST_CHARACTERS],
    )
    mlflow.log_input(data_set, context=name)
