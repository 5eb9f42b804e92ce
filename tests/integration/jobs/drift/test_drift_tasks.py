"""Drift of the scores of multi-class models and regressions, on logs of real models."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from contract import ClassScores
from contract.tasks import TaskKind
from contract.values.histogram import Histogram
from jobs.drift.baseline import BaselineChoice
from jobs.drift.watch import DriftError, DriftWatch, watch_drift
from jobs.errors import JobError
from scoring.models.imported_model import ImportedModel
from scoring.task_outputs import task_outputs
from tests.integration.jobs.drift.test_drift import COLUMNS, as_it_was, counted_inputs, log, spend_times
from tests.models.fakes import NOW, SPEND, contract_of, store_model, training_rows

SCORES = {"multiclass": {"segment", "segment_top_probability"}, "regression": {"spend"}}
KINDS: tuple[TaskKind, ...] = ("multiclass", "regression")


def counted_scores(model: ImportedModel) -> Histogram | ClassScores:
    """As training counts what the model answers to its test rows."""
    matrix, _ = training_rows(seed=1, rows=20_000)
    scores = model.score(matrix[COLUMNS].to_numpy(dtype=np.float32)).astype(np.float64)
    outputs = task_outputs(model.contract).of(scores)
    if len(outputs) == 1:
        return Histogram.of(outputs[0])
    counts = np.bincount(outputs[1], minlength=scores.shape[1]).tolist()
    return ClassScores(counts=tuple(counts), top=Histogram.of(scores.max(axis=1)))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[TaskKind, ImportedModel]:
    made: dict[TaskKind, ImportedModel] = {}
    for kind in KINDS:
        loaded = store_model(tmp_path_factory.mktemp(kind), contract_of(kind)).load()
        counted = counted_inputs(loaded).model_copy(update={"scores": counted_scores(loaded)})
        made[kind] = replace(loaded, contract=counted)
    return made


def report(folder: Path, model: ImportedModel, watch: DriftWatch | None = None) -> dict[str, Any]:
    with suppress(DriftError):
        watch_drift(folder / "log", watch or DriftWatch(folder / "out"), opened=lambda _: model)
    (found,) = json.loads((folder / "out" / "drift.json").read_text())["models"]
    return dict(found)


@pytest.mark.parametrize("kind", KINDS)
def test_scores_like_those_of_training_have_not_drifted(
    tmp_path: Path, models: dict[TaskKind, ImportedModel], kind: TaskKind
) -> None:
    log(tmp_path / "log", models[kind])

    found = report(tmp_path, models[kind])

    assert ([], 3000) == (found["drifted"], found["entities"])
    assert {*COLUMNS, *SCORES[kind]} == {column["column"] for column in found["columns"]}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("baseline", ["training", "promoted"])
def test_a_change_that_moves_the_answers_is_named_with_the_scores(
    tmp_path: Path, models: dict[TaskKind, ImportedModel], kind: TaskKind, baseline: str
) -> None:
    model, days = models[kind], 0.0
    if baseline == "promoted":
        log(tmp_path / "log", model, name="first")
        days = 31
    log(tmp_path / "log", model, changed=spend_times(3), name="later", seed=3, days=days)

    found = report(tmp_path, model, DriftWatch(tmp_path / "out", baseline=BaselineChoice.parse(baseline, 30)))

    assert {SPEND, *SCORES[kind]} == set(found["drifted"])
    page = (tmp_path / "out" / "drift-7.html").read_text()
    assert all(f"<h2>{name}: drifted</h2>" in page for name in SCORES[kind])
    assert "middle, live" in page or kind == "regression"


@pytest.mark.parametrize("kind", KINDS)
def test_of_another_versions_rows_the_present_version_answers_what_was_read_then(
    tmp_path: Path, models: dict[TaskKind, ImportedModel], kind: TaskKind
) -> None:
    model = models[kind]
    former = replace(model, tag="small_churn:v6", score=lambda matrix: model.score(matrix[::-1].copy()))
    by_tag = {each.tag: each for each in (model, former)}
    log(tmp_path / "log", former, name="season")
    log(tmp_path / "log", model, name="now", seed=3, days=365)
    began = datetime.fromtimestamp(NOW, UTC)
    season = f"{(began - timedelta(days=1)).isoformat()}..{(began + timedelta(days=1)).isoformat()}"

    watch = DriftWatch(tmp_path / "out", baseline=BaselineChoice.parse(season, 30))
    (found,) = watch_drift(tmp_path / "log", watch, opened=by_tag.__getitem__)["models"]

    assert ([], 3000) == (found["drifted"], found["baseline"]["rows"])


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_were_refused_have_no_score_to_compare(
    tmp_path: Path, models: dict[TaskKind, ImportedModel], kind: TaskKind
) -> None:
    model = models[kind]
    inputs = [feature.model_copy(update={"on_missing": "refuse"}) for feature in model.contract.inputs]
    strict = replace(model, contract=model.contract.model_copy(update={"inputs": tuple(inputs)}))
    log(tmp_path / "log", strict, changed=missing_in(SPEND))

    found = report(tmp_path, strict)

    rows = {column["column"]: column["rows"] for column in found["columns"]}
    assert {SPEND: 3000, **dict.fromkeys(SCORES[kind], 2250)} == {name: rows[name] for name in (SPEND, *SCORES[kind])}


def missing_in(feature: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda rows: rows.assign(**{feature: rows[feature].where(np.arange(len(rows)) % 4 > 0)})


@pytest.mark.parametrize("kind", KINDS)
def test_a_contract_without_counted_scores_is_refused_by_version(
    tmp_path: Path, models: dict[TaskKind, ImportedModel], kind: TaskKind
) -> None:
    log(tmp_path / "log", models[kind], changed=as_it_was)
    bare = replace(models[kind], contract=models[kind].contract.model_copy(update={"scores": None}))

    with pytest.raises(JobError, match="model version 7 was trained before contracts counted values"):
        watch_drift(tmp_path / "log", DriftWatch(tmp_path / "out"), opened=lambda _: bare)
