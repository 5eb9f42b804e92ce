"""Examples of what differs, with the values of the row."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from artefacts.log_rows import keys_of
from contract import FeatureInput
from jobs.inference_log.input_values import told
from jobs.inference_log.reading import LoggedRows
from jobs.skew.audit_result import AuditResult
from jobs.skew.evidence import Replayed, Served
from jobs.skew.findings import FINDINGS, Finding, code
from jobs.skew.past_rows import TIMESTAMP


def add_examples(
    result: AuditResult,
    rows: LoggedRows,
    inputs: Sequence[FeatureInput],
    codes: NDArray[np.uint8],
    served: Served,
    valid: Replayed,
) -> None:
    """Add examples of n rows while there is room for them.

    Args:
        inputs: the k inputs.
        codes: uint8 (n, k), the findings.
        served, valid: the vectors that were served, and those of the point-in-time join.
    """
    for number in np.unique(codes[codes > code(Finding.OVERRIDE)]).tolist():
        finding = FINDINGS[number - 1]
        for row, column in np.argwhere(codes == number)[:3].tolist():
            if result.wants_example(finding):
                values = {
                    "served": told(float(served.values[row, column]), inputs[column]),
                    "offline": None
                    if valid.missing[row, column]
                    else told(float(valid.values[row, column]), inputs[column]),
                    "served_event_time": _time(served.event_us[row, column]),
                    "offline_event_time": _time(valid.event_us[row, column]),
                    "lag_seconds": _seconds(valid.event_us[row, column] - served.event_us[row, column])
                    if finding is Finding.LAG
                    else None,
                }
                result.examples.append({**example_of(rows, row, inputs[column].name, finding), **values})


def example_of(rows: LoggedRows, row: int, feature: str, finding: Finding) -> dict[str, Any]:
    """Which row and feature an example is about, and what was found."""
    keys = [key.name for key in keys_of(rows.table.schema)]
    logged = rows.table.slice(row, 1).select(["request_id", "row", *keys, "as_of", "model_tag"])
    return {**logged.to_pylist()[0], "feature": feature, "class": finding.kind, "evidence": finding.proof}


def _time(unix_us: float) -> Any:
    return None if np.isnan(unix_us) else pa.scalar(int(unix_us), TIMESTAMP).as_py()


def _seconds(micros: float) -> float:
    return float(micros) / 1e6
