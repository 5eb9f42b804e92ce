"""What `make data` takes of a later state of the CSV file for which `make init` wrote a use case."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from tests.unit.training.tables.shop import customers, written
from training.errors import DatasetError
from training.tables.init import Written
from training.use_case_folder import function_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def fetched(made: Written, frame: pd.DataFrame) -> tuple[str, Path]:
    """As `make data TABLE=later.csv`: what it says, and the table."""
    root = made.folder.parents[1]
    frame.to_csv(root / "later.csv", index=False)
    environ = {"USE_CASE": str(made.folder), "OFFLINE_STORE_DIR": str(root), "TABLE": str(root / "later.csv")}
    fetch = function_of(made.folder / "data.py", "fetch")
    assert fetch is not None
    return fetch(environ, NOW, False), root / "table.parquet"


def test_a_later_file_replaces_the_table(tmp_path: Path) -> None:
    made = written(tmp_path, customers())

    said, table = fetched(made, customers(900).rename(columns={"plan": "Plan"}))

    assert f"900 rows of {tmp_path}/later.csv" == said
    assert customers().columns.tolist() == pq.read_schema(table).names
    assert 900 == pq.read_metadata(table).num_rows


@pytest.mark.parametrize(
    ("target", "later", "said"),
    [
        (["yes", "no"], "maybe", "'maybe' in 2 of 1,000 rows, .* classes no, yes; .* the task's `classes` in use_case"),
        ([0, 1], 7, "7 in 2 .* classes not_left, left; .* add it to `names` and the task's `classes` in use_case.py"),
        ([True, False], "maybe", "'maybe', which is no BOOLEAN"),
    ],
)
def test_a_class_that_the_use_case_does_not_know_is_refused_and_the_table_stays(
    tmp_path: Path, target: list[Any], later: Any, said: str
) -> None:
    frame = customers().assign(left=np.resize(np.array(target), 1000))
    made = written(tmp_path, frame)
    _, table = fetched(made, frame)
    before = table.read_bytes()

    changed = frame.assign(left=[later if row in (5, 8) else value for row, value in enumerate(frame["left"])])
    with pytest.raises(DatasetError, match=f"later.csv: column 'left' has {said}") as refused:
        fetched(made, changed)

    assert "\n" not in str(refused.value)
    assert before == table.read_bytes()


def test_outcomes_that_are_not_known_yet_are_taken(tmp_path: Path) -> None:
    frame = customers().assign(left=lambda rows: rows["left"] == "yes")
    young = frame["at"] > frame["at"].max() - pd.Timedelta(days=7)
    frame["left"] = frame["left"].astype(object).where(~young)
    made = written(tmp_path, frame, label_days=7)

    said, _ = fetched(made, frame)

    assert said.startswith("1,000 rows")


def test_numbers_of_a_regression_have_no_classes(tmp_path: Path) -> None:
    frame = customers().assign(left=lambda rows: rows["charge"].fillna(0) + rows["tenure"])

    said, _ = fetched(written(tmp_path, frame), frame)

    assert said.startswith("1,000 rows")


def test_a_column_is_asked_for_as_long_as_something_uses_it(tmp_path: Path) -> None:
    left_out = {"one": 1}  # from the beginning
    made = written(tmp_path, customers().rename(columns={"charge": "Monthly charge"}).assign(**left_out))
    later = customers()

    with pytest.raises(
        DatasetError, match=r"has no column 'Monthly charge', which feature_repo/feature_views.py names"
    ):
        fetched(made, later)
    views = made.folder / "feature_repo" / "feature_views.py"
    kept = [line for line in views.read_text().splitlines(keepends=True) if "Monthly_charge" not in line]
    views.write_text("".join(kept))
    said, table = fetched(made, later)

    assert f"1,000 rows of {tmp_path}/later.csv, without 'Monthly charge', 'one', which nothing uses" == said
    assert "Monthly_charge" not in pq.read_schema(table).names


def test_key_time_and_target_are_always_asked_for(tmp_path: Path) -> None:
    made = written(tmp_path, customers())

    for needed in ("customer_id", "at", "left"):
        with pytest.raises(DatasetError, match=f"has no column '{needed}', which .*py names"):
            fetched(made, customers().drop(columns=needed))
