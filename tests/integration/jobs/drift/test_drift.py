"""Drift, from files of the inference log to report and exit code, with a real model."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from contract import FeatureInput, ModelContract, RawFeatures, Resolver
from contract.inputs import COUNTED_AT
from contract.values.histogram import Histogram
from jobs.__main__ import main
from jobs.drift.baseline import BaselineChoice
from jobs.drift.statistics import Thresholds
from jobs.drift.watch import DriftError, DriftWatch, NothingToCompareError, outcome_line, watch_drift
from jobs.errors import ArgumentError, JobError
from jobs.settings import JobsSettings
from scoring.inference_log import Answers, log_table
from scoring.models.imported_model import ImportedModel
from scoring.outcomes import outcomes
from scoring.task_outputs import task_outputs
from tests.models.fakes import (
    DAYS_SINCE,
    MEMBER,
    NOW,
    NOW_US,
    ORDERS,
    SPEND,
    small_contract,
    store_model,
    training_rows,
)
from training.churn.candidates import logistic

Changed = Callable[[pd.DataFrame], pd.DataFrame]
COLUMNS = small_contract().feature_names
SCORE = "churn_probability"


def counted_inputs(model: ImportedModel) -> ModelContract:
    """The model's contract with the inputs that it was trained on, as training writes them."""
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
    window = {**model.contract.training_window, COUNTED_AT: "2025-03-01T00:00:00+00:00"}
    return model.contract.model_copy(update={"inputs": tuple(inputs), "training_window": window})


def counted_contract(model: ImportedModel) -> ModelContract:
    """The same with the scores of these rows."""
    matrix, _ = training_rows(seed=1, rows=20_000)
    scores = Histogram.of(model.score(matrix[COLUMNS].to_numpy(dtype=np.float32)))
    return counted_inputs(model).model_copy(update={"scores": scores})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ImportedModel:
    loaded = store_model(tmp_path_factory.mktemp("model"), small_contract()).load()
    return replace(loaded, contract=counted_contract(loaded))


def as_it_was(rows: pd.DataFrame) -> pd.DataFrame:
    return rows


def log(
    folder: Path,
    model: ImportedModel,
    count: int = 3000,
    changed: Changed = as_it_was,
    seed: int = 2,
    name: str = "a",
    days: float = 0,
) -> None:
    """Answers to customers like those of training, each of them once, so many days after `NOW`."""
    at_us = NOW_US + int(days * 86_400e6)
    matrix, _ = training_rows(seed=seed, rows=count)
    values = changed(matrix[COLUMNS]).to_numpy(dtype=np.float64)
    resolved = Resolver.of(model.contract).resolve(
        RawFeatures(values, np.full((count, 2), at_us / 1e6 - 60.0)), at_us / 1e6
    )
    answers = Answers(
        request_ids=[f"{name}{n}" for n in range(count)],
        rows=[0] * count,
        keys=[f"c{n:06d}" for n in range(count)],
        as_of_unix_us=at_us,
        model=model,
        answered=np.ones(count, dtype=bool),
        resolved=resolved,
        outcomes=outcomes(resolved, model.score(resolved.matrix), task_outputs(model.contract)),
    )
    day = folder / f"date={datetime.fromtimestamp(at_us / 1e6, UTC):%Y-%m-%d}"
    day.mkdir(parents=True, exist_ok=True)
    pq.write_table(log_table(answers), day / f"{name}.parquet")


def test_customers_like_those_of_training_have_not_drifted(tmp_path: Path, model: ImportedModel) -> None:
    log(tmp_path / "log", model)

    report = watch_drift(tmp_path / "log", DriftWatch(tmp_path / "out"), opened=lambda _: model)

    (found,) = report["models"]
    assert [] == found["drifted"]
    assert (3000, "7") == (found["entities"], found["version"])
    assert {*COLUMNS, SCORE} == {column["column"] for column in found["columns"]}
    assert report == json.loads((tmp_path / "out" / "drift.json").read_text())
    metrics = (tmp_path / "out" / "drift.prom").read_text()
    assert 'model_jobs_drift_columns{model="small_churn",version="7"} 0.0' in metrics
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
        watch_drift(tmp_path / "log", DriftWatch(tmp_path / "out"), opened=lambda _: model)

    (found,) = json.loads((tmp_path / "out" / "drift.json").read_text())["models"]
    assert drifted == set(found["drifted"])
    assert all(name in str(raised.value) for name in drifted)
    assert ("drifted", 3) == (raised.value.prefix, raised.value.exit_code)


def test_a_customer_who_is_asked_for_again_and_again_counts_once(tmp_path: Path, model: ImportedModel) -> None:
    log(tmp_path / "log", model)
    for number in range(20):
        log(tmp_path / "log", model, count=50, changed=lambda rows: rows * 3, name=f"again{number}")

    report = watch_drift(tmp_path / "log", DriftWatch(tmp_path / "out"), opened=lambda _: model)

    assert 3000 == report["models"][0]["entities"]


def test_too_few_customers_say_nothing(tmp_path: Path, model: ImportedModel) -> None:
    log(tmp_path / "log", model, count=100)

    with pytest.raises(NothingToCompareError, match="100 entities of small_churn:v7; at least 200") as raised:
        watch_drift(tmp_path / "log", DriftWatch(tmp_path / "out"), opened=lambda _: model)

    assert raised.value.exit_code == 4
    assert not (tmp_path / "out").exists()


def test_a_model_from_before_contracts_counted_is_refused_by_version(tmp_path: Path, model: ImportedModel) -> None:
    log(tmp_path / "log", model)
    old = replace(model, contract=small_contract())

    with pytest.raises(JobError, match="model version 7 was trained before contracts counted"):
        watch_drift(tmp_path / "log", DriftWatch(tmp_path / "out"), opened=lambda _: old)


def test_rows_under_another_contract_than_the_models_are_not_compared(tmp_path: Path, model: ImportedModel) -> None:
    log(tmp_path / "log", replace(model, contract_sha256="0" * 64))

    with pytest.raises(JobError, match="small_churn:v7 has another contract than the rows were logged with"):
        watch_drift(tmp_path / "log", DriftWatch(tmp_path / "out"), opened=lambda _: model)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path, model: ImportedModel) -> None:
    log(tmp_path / "log", model)
    (tmp_path / "file").touch()

    with pytest.raises(JobError, match="file/out: the report cannot be written: Not a directory"):
        watch_drift(tmp_path / "log", DriftWatch(tmp_path / "file" / "out"), opened=lambda _: model)


def test_a_model_of_too_few_customers_is_named_beside_the_others(tmp_path: Path, model: ImportedModel) -> None:
    log(tmp_path / "log", model)
    log(tmp_path / "log", replace(model, tag="small_churn:v8"), count=100, name="new")

    report = watch_drift(tmp_path / "log", DriftWatch(tmp_path / "out"), opened=lambda tag: replace(model, tag=tag))

    assert ["100 entities of small_churn:v8; at least 200 entities are needed"] == report["too_few"]
    assert "not compared: 100 entities of small_churn:v8" in outcome_line(report)


def test_a_damaged_file_is_named_and_the_others_are_compared(tmp_path: Path, model: ImportedModel) -> None:
    log(tmp_path / "log", model)
    (next((tmp_path / "log").glob("date=*")) / "b.parquet").write_bytes(b"PAR1 no PAR1")

    with pytest.raises(JobError, match=r"b\.parquet") as raised:
        watch_drift(tmp_path / "log", DriftWatch(tmp_path / "out"), opened=lambda _: model)

    assert raised.value.exit_code == 1
    assert (tmp_path / "out" / "drift.json").exists()


def test_without_a_log_the_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("INFERENCE_LOG_DIR", str(tmp_path / "nowhere"))

    assert 4 == main(["drift", "--out", str(tmp_path / "out")])
    assert "no inference log is there; a service with SERVICE_INFERENCE_LOG=true writes" in capsys.readouterr().err


def spend_times(factor: float) -> Changed:
    return lambda rows: rows.assign(**{SPEND: rows[SPEND] * factor})


def test_page_json_metrics_and_exit_code_say_one_verdict_and_drifted_columns_come_first(
    tmp_path: Path, model: ImportedModel
) -> None:
    log(tmp_path / "log", model, changed=lambda rows: spend_times(1.5)(rows).assign(**{MEMBER: 1.0}))

    with pytest.raises(DriftError):
        watch_drift(tmp_path / "log", DriftWatch(tmp_path / "out"), opened=lambda _: model)

    report = json.loads((tmp_path / "out" / "drift.json").read_text())
    (found,) = report["models"]
    assert ("drifted", "drifted") == (report["verdict"], found["verdict"])
    assert [True, True, False, False, False, False] == [column["drifted"] for column in found["columns"]]
    assert [column["column"] for column in found["columns"]][:2] == found["drifted"]
    assert (
        'model_jobs_drift_columns{model="small_churn",version="7"} 2.0' in (tmp_path / "out" / "drift.prom").read_text()
    )
    page = (tmp_path / "out" / "drift-7.html").read_text()
    assert "<h1>Drift of version 7: 2 of 6 columns have drifted</h1>" in page
    charts = re.findall(r"<h2>([^<]+)</h2><svg", page)
    assert [f"{name}: drifted" for name in found["drifted"]] == charts[:2]
    assert 6 == len(charts)


def test_a_threshold_for_a_column_is_its_own_and_one_for_no_column_is_refused(
    tmp_path: Path, model: ImportedModel
) -> None:
    log(tmp_path / "log", model, changed=spend_times(1.5))
    lenient = DriftWatch(tmp_path / "out", thresholds=Thresholds(min_psi_of={SPEND: 2.0}))
    unknown = DriftWatch(tmp_path / "no", thresholds=Thresholds(min_psi_of={"spent": 2.0}))

    (found,) = watch_drift(tmp_path / "log", lenient, opened=lambda _: model)["models"]

    spend = next(column for column in found["columns"] if column["column"] == SPEND)
    assert (2.0, True, False) == (spend["min_psi"], spend["significant"], spend["drifted"])
    with pytest.raises(JobError, match="JOBS_DRIFT_MIN_PSI_OF: spent is no input"):
        watch_drift(tmp_path / "log", unknown, opened=lambda _: model)
    assert not (tmp_path / "no").exists()


def test_a_contract_whose_inputs_and_scores_are_of_different_rows_is_no_baseline(
    tmp_path: Path, model: ImportedModel
) -> None:
    log(tmp_path / "log", model)
    old = replace(model, contract=model.contract.model_copy(update={"training_window": {}}))

    with pytest.raises(JobError, match=r"counted on different rows.*train anew, or choose another baseline: promoted"):
        watch_drift(tmp_path / "log", DriftWatch(tmp_path / "out"), opened=lambda _: old)


def test_what_a_version_answered_first_is_the_baseline_promoted(tmp_path: Path, model: ImportedModel) -> None:
    """Customers never were like those of training; they stay as they are, and then they change."""
    log(tmp_path / "log", model, changed=spend_times(2), name="first")
    log(tmp_path / "log", model, changed=spend_times(2), name="later", seed=3, days=31)
    promoted = DriftWatch(tmp_path / "out", baseline=BaselineChoice("promoted", days=30))

    (found,) = watch_drift(tmp_path / "log", promoted, opened=lambda _: model)["models"]

    began = datetime.fromtimestamp(NOW, UTC)
    assert (3000, 3000) == (found["entities"], found["baseline"]["rows"])
    assert found["baseline"]["what"] == (
        "the first 30 days of the version in the log: "
        f"answers from {began.isoformat()} until {(began + timedelta(days=30)).isoformat()}"
    )
    log(tmp_path / "log", model, changed=spend_times(1), name="last", seed=4, days=62)
    last = replace(promoted, since=began + timedelta(days=61))
    with pytest.raises(DriftError, match=SPEND):
        watch_drift(tmp_path / "log", last, opened=lambda _: model)


def test_a_period_of_the_log_is_a_baseline_though_another_version_answered_then(
    tmp_path: Path, model: ImportedModel
) -> None:
    """The scores of then are the present version's for what was read then."""
    pipeline = logistic(seed=1).fit(*training_rows(seed=9, rows=12))
    other = store_model(tmp_path / "other", small_contract(), pipeline).load()
    former = replace(other, tag="small_churn:v6")
    by_tag = {model.tag: model, former.tag: former}
    log(tmp_path / "log", former, changed=spend_times(2), name="season")
    log(tmp_path / "log", model, changed=spend_times(2), name="now", seed=3, days=365)
    began = datetime.fromtimestamp(NOW, UTC)
    season = f"{(began - timedelta(days=1)).isoformat()}..{(began + timedelta(days=1)).isoformat()}"

    watch = DriftWatch(tmp_path / "out", baseline=BaselineChoice.parse(season, 30))
    (found,) = watch_drift(tmp_path / "log", watch, opened=by_tag.__getitem__)["models"]

    assert ("7", 3000, 3000) == (found["version"], found["entities"], found["baseline"]["rows"])
    assert [] == found["drifted"]
    against_training = DriftWatch(tmp_path / "trained", since=began + timedelta(days=100))
    with pytest.raises(DriftError, match=SPEND):
        watch_drift(tmp_path / "log", against_training, opened=by_tag.__getitem__)


def test_who_is_older_than_anybody_of_the_baseline_is_counted_and_not_compared(
    tmp_path: Path, model: ImportedModel
) -> None:
    """As if `ORDERS` were the age: half of the customers have grown past the largest of training."""
    largest = 1 + max(training_rows(seed=1, rows=20_000)[0][ORDERS])
    log(
        tmp_path / "log",
        model,
        changed=lambda rows: rows.assign(**{ORDERS: rows[ORDERS].where(rows.index % 2 == 0, largest)}),
    )

    (found,) = watch_drift(tmp_path / "log", DriftWatch(tmp_path / "out", age_feature=ORDERS), opened=lambda _: model)[
        "models"
    ]

    assert (1500, 1500, []) == (found["entities"], found["older_left_out"], found["drifted"])
    assert (
        "Not compared are 1,500 entities that have been known for longer"
        in (tmp_path / "out" / "drift-7.html").read_text()
    )


def test_where_everybody_is_older_than_the_baseline_another_one_is_named(tmp_path: Path, model: ImportedModel) -> None:
    log(tmp_path / "log", model, changed=lambda rows: rows.assign(**{ORDERS: 1000.0}))

    with pytest.raises(
        NothingToCompareError, match=r"0 entities of small_churn:v7, 3,000 more are older.*BASELINE=promoted"
    ):
        watch_drift(tmp_path / "log", DriftWatch(tmp_path / "out", age_feature=ORDERS), opened=lambda _: model)


@pytest.mark.parametrize("text", ["last year", "2026-01-01", "2026-02-01..2026-01-01", "..2026-01-01", "a..b"])
def test_what_is_no_baseline_is_refused_by_name(text: str) -> None:
    with pytest.raises(ArgumentError, match=re.escape(f"baseline {text!r}: ")):
        BaselineChoice.parse(text, 30)


@pytest.mark.parametrize("described", ["spend", "spend:", ":0.1", "spend:0", "spend:much"])
def test_a_threshold_that_is_none_is_refused(described: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBS_DRIFT_MIN_PSI_OF", described)

    with pytest.raises(ValueError, match="drift_min_psi_of"):
        JobsSettings()
    monkeypatch.setenv("JOBS_DRIFT_MIN_PSI_OF", "spend:0.2 a__b:1")
    assert {"spend": 0.2, "a__b": 1.0} == JobsSettings().drift_thresholds()
