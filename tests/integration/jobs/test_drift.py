"""Drift, from files of the inference log to report and exit code, with a real model and Evidently."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from contract import FeatureInput, ModelContract, RawFeatures, Resolver
from contract.histogram import Histogram
from jobs.__main__ import main
from jobs.drift import SCORE, DriftError, NothingToCompareError, outcome_line, watch_drift
from jobs.errors import JobError
from scoring.inference_log import Answers, log_table
from scoring.model import ImportedModel
from scoring.outcomes import outcomes
from tests.fakes import DAYS_SINCE, MEMBER, NOW, NOW_US, ORDERS, SPEND, small_contract, store_model, training_rows

Changed = Callable[[pd.DataFrame], pd.DataFrame]
COLUMNS = small_contract().feature_names


def counted_contract(model: ImportedModel) -> ModelContract:
    """The model's contract with what it was trained on, as training writes it."""
    matrix, _ = training_rows(seed=1, rows=20_000)
    inputs = [
        FeatureInput.model_validate(
            {
                **feature.model_dump(),
                "distribution": {
                    **feature.distribution.model_dump(),
                    "histogram": Histogram.of(matrix[feature.name]).model_dump(),
                },
            }
        )
        for feature in model.contract.inputs
    ]
    scores = Histogram.of(model.score(matrix[COLUMNS].to_numpy(dtype=np.float32)))
    return model.contract.model_copy(update={"inputs": tuple(inputs), "scores": scores})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ImportedModel:
    loaded = store_model(tmp_path_factory.mktemp("model"), small_contract()).load()
    return replace(loaded, contract=counted_contract(loaded))


def as_it_was(rows: pd.DataFrame) -> pd.DataFrame:
    return rows


def log(
    folder: Path, model: ImportedModel, count: int = 3000, changed: Changed = as_it_was, seed: int = 2, name: str = "a"
) -> None:
    """Answers to customers like those of training, each of them once."""
    matrix, _ = training_rows(seed=seed, rows=count)
    values = changed(matrix[COLUMNS]).to_numpy(dtype=np.float64)
    resolved = Resolver.of(model.contract).resolve(RawFeatures(values, np.full((count, 2), NOW - 60.0)), NOW)
    answers = Answers(
        request_ids=[f"{name}{n}" for n in range(count)],
        rows=[0] * count,
        customer_ids=[f"c{n:06d}" for n in range(count)],
        as_of_unix_us=NOW_US,
        model=model,
        answered=np.ones(count, dtype=bool),
        resolved=resolved,
        outcomes=outcomes(resolved, model.score(resolved.matrix), model.contract.threshold.value),
    )
    day = folder / f"date={datetime.fromtimestamp(NOW, UTC):%Y-%m-%d}"
    day.mkdir(parents=True, exist_ok=True)
    pq.write_table(log_table(answers), day / f"{name}.parquet")


def test_customers_like_those_of_training_have_not_drifted(tmp_path: Path, model: ImportedModel) -> None:
    log(tmp_path / "log", model)

    report = watch_drift(tmp_path / "log", tmp_path / "out", opened=lambda _: model)

    (found,) = report["models"]
    assert [] == found["drifted"]
    assert (3000, "7") == (found["customers"], found["version"])
    assert {*COLUMNS, SCORE} == {column["column"] for column in found["columns"]}
    assert report == json.loads((tmp_path / "out" / "drift.json").read_text())
    metrics = (tmp_path / "out" / "drift.prom").read_text()
    assert 'churn_drift_columns{version="7"} 0.0' in metrics
    page = (tmp_path / "out" / "drift-7.html").read_text()
    assert DAYS_SINCE in page
    assert not re.findall(r"<(?:script|link)[^>]+(?:src|href)=[\"']https?:", page)


@pytest.mark.parametrize(
    ("changed", "drifted"),
    [
        (lambda rows: rows.assign(**{SPEND: rows[SPEND] * 1.5}), {SPEND}),
        (lambda rows: rows.assign(**{MEMBER: 1.0}), {MEMBER}),
        (lambda rows: rows.assign(**{ORDERS: rows[ORDERS].where(np.arange(len(rows)) % 5 > 0)}), {ORDERS}),
        (lambda rows: rows.assign(**{DAYS_SINCE: rows[DAYS_SINCE] + 40}), {DAYS_SINCE, SCORE}),
    ],
    ids=["another unit", "a constant", "missing values", "a shift, which the scores show"],
)
def test_planted_drifts_are_found_and_named(
    tmp_path: Path, model: ImportedModel, changed: Changed, drifted: set[str]
) -> None:
    log(tmp_path / "log", model, changed=changed)

    with pytest.raises(DriftError) as raised:
        watch_drift(tmp_path / "log", tmp_path / "out", opened=lambda _: model)

    (found,) = json.loads((tmp_path / "out" / "drift.json").read_text())["models"]
    assert drifted == set(found["drifted"])
    assert all(name in str(raised.value) for name in drifted)
    assert ("drifted", 3) == (raised.value.prefix, raised.value.exit_code)


def test_a_customer_who_is_asked_for_again_and_again_counts_once(tmp_path: Path, model: ImportedModel) -> None:
    log(tmp_path / "log", model)
    for number in range(20):
        log(tmp_path / "log", model, count=50, changed=lambda rows: rows * 3, name=f"again{number}")

    report = watch_drift(tmp_path / "log", tmp_path / "out", opened=lambda _: model)

    assert 3000 == report["models"][0]["customers"]


def test_too_few_customers_say_nothing(tmp_path: Path, model: ImportedModel) -> None:
    log(tmp_path / "log", model, count=100)

    with pytest.raises(NothingToCompareError, match="100 customers of small_churn:v7; at least 200") as raised:
        watch_drift(tmp_path / "log", tmp_path / "out", opened=lambda _: model)

    assert raised.value.exit_code == 4
    assert not (tmp_path / "out").exists()


def test_a_model_from_before_contracts_counted_is_refused_by_version(tmp_path: Path, model: ImportedModel) -> None:
    log(tmp_path / "log", model)
    old = replace(model, contract=small_contract())

    with pytest.raises(JobError, match="model version 7 was trained before contracts counted"):
        watch_drift(tmp_path / "log", tmp_path / "out", opened=lambda _: old)


def test_rows_under_another_contract_than_the_models_are_not_compared(tmp_path: Path, model: ImportedModel) -> None:
    log(tmp_path / "log", replace(model, contract_sha256="0" * 64))

    with pytest.raises(JobError, match="small_churn:v7 has another contract than the rows were logged with"):
        watch_drift(tmp_path / "log", tmp_path / "out", opened=lambda _: model)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path, model: ImportedModel) -> None:
    log(tmp_path / "log", model)
    (tmp_path / "file").touch()

    with pytest.raises(JobError, match="file/out: the report cannot be written: Not a directory"):
        watch_drift(tmp_path / "log", tmp_path / "file" / "out", opened=lambda _: model)


def test_a_model_of_too_few_customers_is_named_beside_the_others(tmp_path: Path, model: ImportedModel) -> None:
    log(tmp_path / "log", model)
    log(tmp_path / "log", replace(model, tag="small_churn:v8"), count=100, name="new")

    report = watch_drift(tmp_path / "log", tmp_path / "out", opened=lambda tag: replace(model, tag=tag))

    assert ["100 customers of small_churn:v8"] == report["too_few"]
    assert "not compared: 100 customers of small_churn:v8" in outcome_line(report)


def test_a_damaged_file_is_named_and_the_others_are_compared(tmp_path: Path, model: ImportedModel) -> None:
    log(tmp_path / "log", model)
    (next((tmp_path / "log").glob("date=*")) / "b.parquet").write_bytes(b"PAR1 no PAR1")

    with pytest.raises(JobError, match=r"b\.parquet") as raised:
        watch_drift(tmp_path / "log", tmp_path / "out", opened=lambda _: model)

    assert raised.value.exit_code == 1
    assert (tmp_path / "out" / "drift.json").exists()


def test_without_a_log_the_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("INFERENCE_LOG_DIR", str(tmp_path / "nowhere"))

    assert 4 == main(["drift", "--out", str(tmp_path / "out")])
    assert "no inference log is there; a service with SERVICE_INFERENCE_LOG=true writes" in capsys.readouterr().err
