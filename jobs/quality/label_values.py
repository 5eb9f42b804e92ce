"""How a label is written, by the task."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from contract.tasks import TaskKind


@dataclass(frozen=True)
class LabelValues:
    """SQL over the column `label`, which is text.

    type: of the labels in DuckDB.
    wrong: true for text that is no label; not null.
    value: the label.
    expected: what a label looks like.
    """

    type: str
    wrong: str
    value: str
    expected: str


LABEL_VALUES: Mapping[TaskKind, LabelValues] = MappingProxyType(
    {
        "binary": LabelValues(
            "BOOLEAN",
            "coalesce(lower(label), '') NOT IN ('true', 'false', '1', '0')",
            "lower(label) IN ('true', '1')",
            "true, false, 1 or 0",
        ),
        "multiclass": LabelValues("VARCHAR", "coalesce(label, '') = ''", "label", "the name of a class"),
        "regression": LabelValues(
            "DOUBLE", "NOT coalesce(isfinite(TRY_CAST(label AS DOUBLE)), false)", "label::DOUBLE", "a finite number"
        ),
    }
)
