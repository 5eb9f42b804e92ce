"""The scores of a log as tables, for each task; rows of other outputs and populations that are not known are told."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contract import ModelContract, Population
from contract.tasks import TaskKind
from jobs.errors import ArgumentError
from jobs.inference_log.logged_scores import LoggedScores, Populations, entity_numbers, open_scores
from jobs.inference_log.reading import LoggedRows, LogReading, logged_keys
from scoring.errors import ModelError
from scoring.inference_log import log_table
from scoring.models.imported_model import ImportedModel, load_model
from tests.models.answers import answers
from tests.models.fakes import DAYS_SINCE, SPEND, contract_of, store_model

RECENT = {"recent": Population(feature=DAYS_SINCE, at_most=5.0)}
SPENDERS = {"spenders": Population(feature=SPEND, at_least=2.0)}


def model_of(folder: Path, kind: TaskKind, populations: dict[str, Population], version: str = "7") -> ImportedModel:
    contract = contract_of(kind).model_copy(update={"populations": populations, "model_version": version})
    stored = store_model(folder / kind / version, contract)
    return load_model(f"small:{kind}{version}", stored.folder, stored.labels, stored.metadata, "champion")


def put(folder: Path, name: str, rows: pa.Table) -> None:
    day = folder / "date=2025-06-15"
    day.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, day / f"{name}.parquet")


def sorted_rows(scores: LoggedScores) -> list[dict[str, Any]]:
    table = scores.connection.execute("FROM scores ORDER BY model_tag, row").to_arrow_table()
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_score_and_answer_are_the_first_and_the_last_output(tmp_path: Path, kind: TaskKind) -> None:
    model = model_of(tmp_path, kind, {})
    made = answers(model, 5)
    put(tmp_path / "log", "a", log_table(made))

    with open_scores(LogReading(tmp_path / "log")) as scores:
        rows = sorted_rows(scores)
        read = scores.arrays("SELECT score FROM scores WHERE score IS NOT NULL ORDER BY row")["score"]

    assert [f"c{n}" for n in range(5)] == [row["key"] for row in rows]
    np.testing.assert_array_equal(made.outcomes.outputs[0][made.outcomes.scored], read)
    logged = log_table(made)[model.contract.outputs[-1].name].to_pylist()
    assert logged == [row["answer"] for row in rows]


def test_each_model_has_its_own_populations(tmp_path: Path) -> None:
    models = {
        model.tag: model
        for model in (model_of(tmp_path, "binary", RECENT), model_of(tmp_path, "binary", SPENDERS, "8"))
    }
    for tag, model in models.items():
        put(tmp_path / "log", tag, log_table(answers(model, 10)))

    with open_scores(LogReading(tmp_path / "log"), Populations(), models.__getitem__) as scores:
        rows = sorted_rows(scores)
        rules = scores.rules(Populations())

    assert {"recent": [f"{DAYS_SINCE} ≤ 5"], "spenders": [f"2 ≤ {SPEND}"]} == rules
    known = [True, True, True, None, True, True, False, False, None, False]
    assert known == [row["population_recent"] for row in rows[:10]], "unknown keys are in no population"
    spent = [row["population_spenders"] for row in rows[10:]]
    assert [False, False, None, None, True, True, True, None, None, True] == spent, "a default is not known"
    assert {None} == {row["population_spenders"] for row in rows[:10]}


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (Populations(), {"recent": Population(feature=DAYS_SINCE, at_most=5.0), **SPENDERS}),
        (Populations("spenders"), SPENDERS),
        (Populations("nobody"), {}),
        (Populations("recent", at_most=30), {"recent": Population(feature=DAYS_SINCE, at_most=30)}),
        (Populations("new", SPEND, 3), {"new": Population(feature=SPEND, at_most=3)}),
        (Populations("new", at_most=3), {}),
    ],
)
def test_populations_are_chosen_by_name_or_rule(chosen: Populations, expected: dict[str, Population]) -> None:
    contract = contract_of("binary").model_copy(update={"populations": {**RECENT, **SPENDERS}})

    assert expected == chosen.of(contract)


def test_a_population_that_no_model_has_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    model = model_of(tmp_path, "binary", RECENT)
    put(tmp_path / "log", "a", log_table(answers(model, 5)))

    with (
        pytest.raises(ArgumentError, match=r"--population lost: no model of the log has it; there are recent, or"),
        open_scores(LogReading(tmp_path / "log"), Populations("lost"), lambda _: model),
    ):
        pass


def test_rows_with_other_outputs_are_told_and_left_out(tmp_path: Path) -> None:
    kinds: list[TaskKind] = ["binary", "regression"]
    for number, kind in enumerate(kinds):
        put(tmp_path / "log", str(number), log_table(answers(model_of(tmp_path, kind, {}), 5)))

    with open_scores(LogReading(tmp_path / "log")) as scores:
        assert 5 == scores.count("SELECT count(*) FROM scores")
        (problem,) = scores.problems

    assert problem == (
        "rows of model small:regression7 have customer_id (string), spend (double), "
        "the rows before them customer_id (string), churn_probability (double), churn (bool)"
    )


def test_an_empty_log_has_no_scores(tmp_path: Path) -> None:
    with open_scores(LogReading(tmp_path / "log"), Populations()) as scores:
        assert (0, 0) == (scores.count("SELECT count(*) FROM scores"), scores.count("SELECT count(*) FROM reused"))


@pytest.mark.parametrize(
    ("contract", "said"),
    [
        (contract_of("multiclass"), "column 'segment_probabilities' is missing.*customer_id, churn_probability, churn"),
        (contract_of("regression"), "column 'spend' is missing"),
    ],
)
def test_rows_of_one_contract_are_not_taken_for_anothers(tmp_path: Path, contract: ModelContract, said: str) -> None:
    rows = log_table(answers(model_of(tmp_path, "binary", {}), 5))

    with pytest.raises(ModelError, match=said):
        LoggedRows.of(rows, logged_keys(rows, contract), contract)


def test_rows_with_another_key_are_not_taken_for_the_contracts(tmp_path: Path) -> None:
    rows = log_table(answers(model_of(tmp_path, "binary", {}), 5)).rename_columns({"customer_id": "shop_id"})

    with pytest.raises(ModelError, match=r"no column 'customer_id', the contract's join key; .* are shop_id, churn"):
        logged_keys(rows, contract_of("binary"))


def test_entities_are_numbered_without_gaps() -> None:
    assert [1, 0, 1, 2] == entity_numbers(np.array([7, 3, 7, 9], dtype=np.uint64)).tolist()
