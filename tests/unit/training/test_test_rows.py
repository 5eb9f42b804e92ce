"""The test rows beside a version are read as they were written, those of version 1 too."""

import numpy as np
import pandas as pd
import pytest

from tests.models.mixed_model import STORE, mixed_inputs, mixed_rows
from training.errors import ModelImportError, TrainingError
from training.tracking.test_rows import JudgedRows, refuse_other_codes
from training.tracking.test_rows import test_rows as written

ROWS = pd.DataFrame({"visits__days": [1.0, 2.0, 3.0]}, dtype=np.float32)
AT = pd.Series(pd.to_datetime(["2026-06-01"] * 3, utc=True))
ALL, RECENT = np.ones(3, dtype=bool), np.array([True, True, False])
THREE = np.eye(3)


@pytest.mark.parametrize(
    ("labels", "scores", "columns"),
    [
        (np.array([True, False, True]), np.array([0.2, 0.3, 0.4]), ["score"]),
        (np.array([2, 0, 1]), THREE, ["score_0", "score_1", "score_2"]),
        (np.array([1.5, 0.0, -2.0]), np.array([1.0, 2.0, 3.0]), ["score"]),
    ],
)
def test_rows_of_each_task_come_back(labels: np.ndarray, scores: np.ndarray, columns: list[str]) -> None:
    rows = written(ROWS, AT, labels, {"all": ALL, "recent": RECENT}, scores)

    found = JudgedRows.of(rows)

    assert ["visits__days", "event_timestamp", "label", "population_recent", *columns] == list(rows.columns)
    assert (labels.tolist(), labels.dtype) == (found.labels.tolist(), found.labels.dtype)
    assert {"all": ALL.tolist(), "recent": RECENT.tolist()} == {n: m.tolist() for n, m in found.populations.items()}
    assert AT.tolist() == found.requested_at.tolist()


def test_rows_of_version_1_are_read() -> None:
    rows = ROWS.assign(event_timestamp=AT, active=RECENT, churned=[True, False, True], probability=[0.2, 0.3, 0.4])

    found = JudgedRows.of(rows)

    assert [True, False, True] == found.labels.tolist()
    assert {"all": ALL.tolist(), "active": RECENT.tolist()} == {n: m.tolist() for n, m in found.populations.items()}


def test_rows_without_labels_are_refused_by_the_column() -> None:
    with pytest.raises(TrainingError, match="its test rows lack the column label"):
        JudgedRows.of(ROWS.assign(event_timestamp=AT))


def test_codes_that_the_vocabulary_does_not_have_are_refused_by_the_input() -> None:
    rows, inputs = mixed_rows("binary", 1)[0], mixed_inputs()
    refuse_other_codes(rows, inputs, "version 3")
    rows.loc[4, STORE] = 4

    with pytest.raises(
        ModelImportError, match=f"version 3: its test rows have codes of '{STORE}' that .* of 4 values; train it again"
    ):
        refuse_other_codes(rows, inputs, "version 3")
