"""What a row of the log says, and which files are refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artefacts.log_rows import inference_log_schema
from contract import FeatureState
from scoring.errors import ModelError
from scoring.inference_log import Answers, log_table, read_log, together
from scoring.models.imported_model import ImportedModel
from tests.models.answers import answers, small_model
from tests.models.fakes import ACTIVITY_TTL, DEFAULTS, NOW, ORDERS_30D, SPEND

NAMES = list(DEFAULTS)
STALE, MISSING, UNKNOWN = 1, 2, 3


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ImportedModel:
    return small_model(tmp_path_factory.mktemp("model"))


def rows(batch: Answers) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = log_table(batch).to_pylist()
    return found


def test_a_row_holds_what_the_model_saw_bit_for_bit(model: ImportedModel) -> None:
    made = answers(model, 5)

    logged = rows(made)

    for n in (0, STALE, MISSING):
        assert made.resolved.matrix[n].tolist() == logged[n]["inputs"]
        assert made.resolved.defaulted[n].tolist() == logged[n]["defaulted"]
        assert [FeatureState(s).name.lower() for s in made.resolved.states[n]] == logged[n]["states"]
        assert made.outcomes.outputs[0][n] == logged[n]["churn_probability"]
    assert "stale" == logged[STALE]["states"][NAMES.index(ORDERS_30D)]
    assert "missing" == logged[MISSING]["states"][NAMES.index(SPEND)]


def test_an_event_timestamp_is_that_of_the_stored_row_to_the_microsecond(model: ImportedModel) -> None:
    logged = rows(answers(model, 2))

    assert {NOW - 100.25} == {at.timestamp() for at in logged[0]["event_timestamps"]}
    assert NOW - 100.25 - ACTIVITY_TTL == logged[STALE]["event_timestamps"][NAMES.index(ORDERS_30D)].timestamp()


def test_an_unknown_customer_has_neither_inputs_nor_a_probability(model: ImportedModel) -> None:
    unknown = rows(answers(model, 5))[UNKNOWN]

    assert "unknown_customer" == unknown["status"]
    nothing = ("inputs", "event_timestamps", "states", "defaulted", "churn_probability", "churn", "cached_seconds")
    assert {None} == {unknown[name] for name in nothing}


def test_batches_together_are_their_rows_one_after_another(model: ImportedModel) -> None:
    batches = [answers(model, 3), answers(model, 1, 3), answers(model, 9, 4)]
    batches[1] = replace(batches[1], as_of_unix_us=np.array([int(NOW) * 1_000_000 - 5]))
    batches[2] = replace(batches[2], cached_seconds=np.full(9, 2.5))

    assert pa.concat_tables(map(log_table, batches)).combine_chunks() == log_table(together(batches)).combine_chunks()


def test_a_batch_of_nobody_makes_no_row(model: ImportedModel) -> None:
    assert 0 == len(log_table(answers(model, 0)))


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "cannot be read"), (b"PAR1", "cannot be read"), (None, "has no column request_id; it is not an inference")],
)
def test_what_is_no_log_is_named(tmp_path: Path, content: bytes | None, said: str) -> None:
    file = tmp_path / "x.parquet"
    if content is None:
        pq.write_table(pa.table({"a": [1]}), file)
    else:
        file.write_bytes(content)

    with pytest.raises(ModelError, match=f"{file}: {said}"):
        read_log(file)


def test_a_column_of_another_type_is_no_log_either(tmp_path: Path, model: ImportedModel) -> None:
    made = log_table(answers(model, 2))
    as_text = made.set_column(made.column_names.index("inputs"), "inputs", pa.array(["0.5", "a few"]))
    pq.write_table(as_text, tmp_path / "x.parquet")

    with pytest.raises(ModelError, match=rf"{tmp_path}/x.parquet: cannot be read as inference log"):
        read_log(tmp_path / "x.parquet")


def test_columns_beyond_those_of_the_log_are_no_hindrance(tmp_path: Path, model: ImportedModel) -> None:
    made = log_table(answers(model, 2))
    pq.write_table(made.append_column("later", pa.array([1, 2])), tmp_path / "x.parquet")

    assert inference_log_schema(model.contract) == read_log(tmp_path / "x.parquet").schema
