"""Columns of predictions in files, as batch and stream write them: the names and values of the HTTP API."""

import pyarrow as pa

ISSUE = pa.struct(
    [("feature", pa.string()), ("state", pa.string()), ("age_seconds", pa.float64()), ("used", pa.string())]
)

PREDICTIONS = pa.schema(
    [
        ("customer_id", pa.string()),
        ("churn_probability", pa.float64()),  # null where refused or unknown
        ("churn", pa.bool_()),
        ("status", pa.string()),
        ("feature_issues", pa.list_(ISSUE)),
        ("model_name", pa.string()),
        ("model_version", pa.string()),
        ("as_of", pa.timestamp("us", tz="UTC")),
    ]
)
"""One row for each customer."""
