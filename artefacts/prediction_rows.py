"""Columns of predictions in files, as batch and stream write them: the names and values of the HTTP API."""

import pyarrow as pa

from artefacts.output_columns import key_fields, output_fields
from contract import ModelContract

ISSUE = pa.struct(
    [("feature", pa.string()), ("state", pa.string()), ("age_seconds", pa.float64()), ("used", pa.string())]
)


def prediction_schema(contract: ModelContract) -> pa.Schema:
    """One row per key. Outputs are null where the row is refused or unknown."""
    return pa.schema(
        [
            *key_fields(contract),
            *output_fields(contract),
            pa.field("status", pa.string()),
            pa.field("feature_issues", pa.list_(ISSUE)),
            pa.field("model_name", pa.string()),
            pa.field("model_version", pa.string()),
            pa.field("as_of", pa.timestamp("us", tz="UTC")),
        ]
    )
