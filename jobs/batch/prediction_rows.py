"""Predictions as a table, one row per key, with the HTTP API's words and numbers."""

from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from artefacts.output_columns import output_columns
from artefacts.prediction_rows import ISSUE, prediction_schema
from contract import ModelContract, ResolvedFeatures
from contract.resolved import STATE_WORDS
from scoring.outcomes import Outcomes, statuses_of

_WORDS = pa.array([STATE_WORDS.get(state) for state in range(max(STATE_WORDS) + 1)], pa.string())


def feature_issues(resolved: ResolvedFeatures) -> pa.Array:
    """The features of each row that are not fresh, in model order; list<ISSUE> (n,)."""
    found = resolved.all_issues()
    counts = np.bincount(found.rows, minlength=len(resolved.known))
    used = pc.if_else(pa.array(found.kept), "null", pc.if_else(pa.array(found.defaulted), "default", "value"))
    issues = pa.StructArray.from_arrays(
        [
            pa.array(map(resolved.feature_of, range(len(resolved.names))), pa.string()).take(pa.array(found.columns)),
            _WORDS.take(pa.array(found.states)),
            pa.array(found.ages, pa.float64(), from_pandas=True),
            pc.if_else(pa.array(found.refused), pa.scalar(None, pa.string()), used),
        ],
        fields=list(ISSUE),
    )
    return pa.ListArray.from_arrays(pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32()), issues)


def predictions(keys: pa.Table, made: Outcomes, issues: pa.Array, contract: ModelContract, as_of: datetime) -> pa.Table:
    """Make n rows of `prediction_schema`.

    Args:
        keys: n rows, a column per join key.
        issues: from `feature_issues`.
    """
    n = len(keys)
    columns = {
        **{name: keys[name] for name in keys.column_names},
        **output_columns(contract, made.outputs, made.scored),
        "status": pa.array(statuses_of(contract), pa.string()).take(pa.array(made.statuses)),
        "feature_issues": issues,
        "model_name": pa.repeat(contract.model_name, n),
        "model_version": pa.repeat(contract.model_version, n),
        "as_of": pa.repeat(pa.scalar(as_of, pa.timestamp("us", tz="UTC")), n),
    }
    return pa.table(columns, schema=prediction_schema(contract))


def counts(table: pa.Table, contract: ModelContract) -> dict[str, int]:
    """Status → number of rows, 0 included."""
    found = {row["values"]: row["counts"] for row in pc.value_counts(table["status"]).to_pylist()}
    return {status: found.get(status, 0) for status in statuses_of(contract)}
