"""Live quality and comparison of classes and values, beside figures of scikit-learn on the same rows."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss, mean_absolute_error, r2_score

from contract import MulticlassTask, Population
from contract.tasks import TaskKind
from jobs.errors import JobError
from jobs.inference_log.logged_scores import Populations
from jobs.quality.compare_live import LiveComparison, NothingPairedError, compare_live
from jobs.quality.live_quality import QualityCheck, QualityError, live_quality
from scoring.errors import ModelError
from scoring.models.imported_model import ImportedModel
from tests.models.fakes import DAYS_SINCE
from tests.models.labelled_log import CLASSES, MONDAY, WEEK, Asked, LabelledLog, small_model
from tests.servers.serving import samples

KINDS: tuple[TaskKind, ...] = ("multiclass", "regression")
PROMISED = {"multiclass": {"all_log_loss": 0.6}, "regression": {"all_mae": 55.0}}
HEADLINE = {"multiclass": "log_loss", "regression": "mae"}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> TaskKind:
    found: TaskKind = request.param
    return found


@pytest.fixture
def log(tmp_path: Path) -> LabelledLog:
    return LabelledLog(tmp_path)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[TaskKind, ImportedModel]:
    folder = tmp_path_factory.mktemp("models")
    active = {"active": Population(feature=DAYS_SINCE, at_most=60)}
    made: dict[TaskKind, ImportedModel] = {}
    for kind in KINDS:
        bare = small_model(folder / kind, "7", metrics=PROMISED[kind], kind=kind)
        made[kind] = replace(bare, contract=bare.contract.model_copy(update={"populations": active}))
    return made


def judge(log: LabelledLog, model: ImportedModel, labels: Path | None = None) -> dict[str, Any]:
    check = QualityCheck(labels or log.labels(), log.root / "out", resamples=50)
    return live_quality(log.artefacts, check, opened={model.tag: model}.__getitem__)


def of(report: dict[str, Any], week: str, population: str) -> dict[str, Any]:
    (found,) = (one for one in report["quality"] if (one["week"], one["population"]) == (week, population))
    return dict(found)


def expected(kind: TaskKind, labels: Any, scores: Any) -> dict[str, float]:
    if kind == "regression":
        return {"mae": mean_absolute_error(labels, scores), "r2": r2_score(labels, scores)}
    codes = pd.Categorical(labels, categories=CLASSES).codes
    return {
        "log_loss": log_loss(codes, scores.astype(np.float32)),
        "accuracy": accuracy_score(codes, scores.argmax(axis=1)),
    }


def test_every_week_and_population_has_the_figures_of_its_own_rows(
    log: LabelledLog, models: dict[TaskKind, ImportedModel], kind: TaskKind, capsys: pytest.CaptureFixture[str]
) -> None:
    model, headline = models[kind], HEADLINE[kind]
    weeks = [Asked.some(500, MONDAY + n * WEEK, seed=n, name=f"w{n}-", kind=kind) for n in range(2)]
    for asked in weeks:
        log.serve(model, asked, unknown=[3])

    report = judge(log, model)

    assert ("ok", kind) == (report["outcome"], report["task"])
    for asked, week in zip(weeks, ("2024-W10", "2024-W11"), strict=True):
        known = np.arange(500) != 3
        for population, chosen in (("all", known), ("active", known & asked.active)):
            found, labels = of(report, week, population), asked.labels[chosen]
            figures = found["figures"]
            for name, value in expected(kind, labels, asked.scored_by(model)[chosen]).items():
                assert value == pytest.approx(figures[name]["value"])
                assert figures[name]["low"] < value < figures[name]["high"]
            assert chosen.sum() == found["rows"]
            counts = {name: int((labels == name).sum()) for name in CLASSES} if kind == "multiclass" else {}
            assert counts == found["classes"]
    (verdict,) = report["verdicts"]
    assert ("all", headline, False) == (verdict["population"], verdict["metric"], verdict["lost"])
    assert json.loads((log.root / "out" / "live_quality.json").read_text()) == report
    exposed = (log.root / "out" / "live_quality.prom").read_text()
    of_it = {"model": "small_churn", "version": "7", "population": "all", "metric": headline, "bound": "value"}
    value = of(report, "2024-W11", "all")["figures"][headline]["value"]
    assert [value] == samples(exposed, "model_jobs_live_quality", **of_it)
    shown = capsys.readouterr().out
    assert f"{PROMISED[kind][f'all_{headline}']:{'.4g' if kind == 'regression' else '.3f'}}" in shown


def test_the_page_of_a_multiclass_model_counts_its_classes(
    log: LabelledLog, models: dict[TaskKind, ImportedModel]
) -> None:
    model, asked = models["multiclass"], Asked.some(500, MONDAY, seed=1, kind="multiclass")
    log.serve(model, asked)

    judge(log, model)

    page = (log.root / "out" / "live_quality.html").read_text()
    assert "<h2>Calibration, all rows, all weeks</h2>" in page
    assert "<h2>Classes of small_churn:v7, all rows, all weeks</h2><svg" in page
    codes = pd.Categorical(asked.labels, categories=CLASSES).codes
    for name, counts in zip(
        CLASSES, confusion_matrix(codes, asked.scored_by(model).argmax(axis=1)).tolist(), strict=True
    ):
        cells = "".join(f"<td>{cell}</td>" for cell in (name, *counts, sum(counts)))
        assert cells in "".join(page.split("\n")).replace("> <", "><")


def test_the_page_of_a_regression_shows_predicted_against_observed_and_errors_by_decile(
    log: LabelledLog, models: dict[TaskKind, ImportedModel]
) -> None:
    model, asked = models["regression"], Asked.some(500, MONDAY, seed=1, kind="regression")
    log.serve(model, asked)

    judge(log, model)

    page = (log.root / "out" / "live_quality.html").read_text()
    highest = np.argsort(asked.scored_by(model), kind="stable")[-50:]
    error = np.abs(asked.scored_by(model) - asked.labels)[highest].mean()
    assert "<h2>Calibration, all rows, all weeks</h2>" in page
    assert "<h2>Error by decile of the prediction, all rows, all weeks</h2><svg" in page
    assert f"10, small_churn:v7: {error:.4g}" in page


def test_a_newest_week_that_is_surely_worse_than_training_is_refused(
    log: LabelledLog, models: dict[TaskKind, ImportedModel], kind: TaskKind
) -> None:
    said = {
        "multiclass": r"2024-W11: log loss of all rows .* is more than 0.05 above training's 0.600",
        "regression": r"2024-W11: mean absolute error of all rows .* is more than 5% above training's 55",
    }
    log.serve(models[kind], Asked.some(400, MONDAY, seed=1, name="a", kind=kind))
    log.serve(models[kind], Asked.some(400, MONDAY + WEEK, seed=2, name="b", kind=kind).but_left_at_random())

    with pytest.raises(QualityError, match=said[kind]) as caught:
        judge(log, models[kind])

    assert 3 == caught.value.exit_code


def test_a_week_of_too_few_rows_says_why_it_has_no_figures(
    log: LabelledLog, models: dict[TaskKind, ImportedModel], kind: TaskKind
) -> None:
    said = {
        "multiclass": "too few entities: 50 low, 0 middle, 0 high; at least 20 of each of two classes are needed",
        "regression": "too few entities: 50 rows; at least 100 are needed",
    }
    log.serve(models[kind], Asked.some(400, MONDAY, seed=1, name="a", kind=kind))
    few = Asked.some(50, MONDAY + WEEK, seed=2, name="b", kind=kind)
    log.serve(models[kind], replace(few, labels=np.repeat(few.labels[:1] if kind == "regression" else "low", 50)))

    report = judge(log, models[kind])

    assert ({}, said[kind]) == (of(report, "2024-W11", "all")["figures"], of(report, "2024-W11", "all")["reason"])


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        (
            "multiclass",
            "request_id,label\nr0,low\nr1,tall\n",
            "column label, row 2: model small_churn:v7 has no class 'tall'",
        ),
        ("multiclass", "request_id,label\nr0,\n", "column label, row 1: expected the name of a class, found nothing"),
        ("multiclass", "request_id,label\nr0,low\nr0,high\n", 'request \'r0\', row 0 is labelled "high" and "low"'),
        (
            "regression",
            "request_id,label\nr0,1\nr1,nan\n",
            "column label, row 2: expected a finite number, found 'nan'",
        ),
        ("regression", "request_id,label\nr0,-inf\n", "column label, row 1: expected a finite number, found '-inf'"),
        ("regression", "request_id,label\nr0,much\n", "column label, row 1: expected a finite number, found 'much'"),
        ("regression", "request_id,label\nr0,1.5\nr0,2\n", "request 'r0', row 0 is labelled 1.5 and 2.0"),
    ],
)
def test_labels_that_do_not_fit_the_task_are_refused_by_name(
    log: LabelledLog, models: dict[TaskKind, ImportedModel], kind: TaskKind, text: str, said: str
) -> None:
    log.serve(models[kind], Asked.some(100, MONDAY, seed=1, kind=kind))
    (log.root / "labels.csv").write_text(text)

    with pytest.raises(JobError) as caught:
        judge(log, models[kind], labels=log.root / "labels.csv")

    assert str(caught.value).startswith(f"{log.root / 'labels.csv'}: {said}")
    assert not (log.root / "out").exists()


@pytest.mark.parametrize(
    "values",
    [pa.array([1, 2, 2]), pa.array(["1", "2.0", "2"]), pa.array([1.0, 2.0, 2.0])],
    ids=["ints", "text", "floats"],
)
def test_numbers_are_the_same_however_they_are_written(
    log: LabelledLog, models: dict[TaskKind, ImportedModel], values: pa.Array
) -> None:
    asked = Asked.some(300, MONDAY, seed=1, kind="regression")
    log.serve(models["regression"], asked)
    pq.write_table(pa.table({"request_id": ["r0", "r1", "r1"], "label": values}), log.root / "few.parquet")

    report = judge(log, models["regression"], labels=log.root / "few.parquet")

    assert (2, 1) == (report["labels"]["labels"], report["labels"]["repeated"])


def test_a_multiclass_model_that_is_gone_is_named_and_not_judged(
    log: LabelledLog, models: dict[TaskKind, ImportedModel]
) -> None:
    def gone(tag: str) -> ImportedModel:
        raise ModelError(f"model {tag} is not in the store")

    log.serve(models["multiclass"], Asked.some(300, MONDAY, seed=1, kind="multiclass"))

    with pytest.raises(
        JobError, match=r"no label belongs to a scored row: .*; model small_churn:v7 is not in the store"
    ):
        live_quality(log.artefacts, QualityCheck(log.labels(), log.root / "out", resamples=50), opened=gone)


def test_a_regression_that_is_gone_is_judged_but_not_held_against_training(
    log: LabelledLog, models: dict[TaskKind, ImportedModel]
) -> None:
    def gone(tag: str) -> ImportedModel:
        raise ModelError(f"model {tag} is not in the store")

    log.serve(models["regression"], Asked.some(300, MONDAY, seed=1, kind="regression"))

    with pytest.raises(JobError, match=r"not everything could be judged.*small_churn:v7 is not in the store"):
        live_quality(log.artefacts, QualityCheck(log.labels(), log.root / "out", resamples=50), opened=gone)

    report = json.loads((log.root / "out" / "live_quality.json").read_text())
    assert (300, {}) == (of(report, "2024-W10", "all")["rows"], of(report, "2024-W10", "all")["gaps"])


def compare(log: LabelledLog, *models: ImportedModel, labels: Path | None = None) -> dict[str, Any]:
    wanted = LiveComparison(log.root / "out", labels=labels, resamples=50, populations=Populations())
    return compare_live(log.artefacts, wanted, opened={model.tag: model for model in models}.__getitem__)


@pytest.fixture
def worse(log: LabelledLog, kind: TaskKind) -> ImportedModel:
    return small_model(log.root / "worse", "8", role="challenger", kind=kind, rows=30)


def test_a_shadow_is_held_against_the_champion_by_scores_and_answers(
    log: LabelledLog, models: dict[TaskKind, ImportedModel], kind: TaskKind, worse: ImportedModel
) -> None:
    asked = Asked.some(400, MONDAY, seed=1, kind=kind)
    log.serve(models[kind], asked)
    log.put(asked.answers(worse, answered=False))

    report = compare(log, models[kind], worse, labels=log.labels())

    (pair,) = report["pairs"]
    before, now = asked.scored_by(models[kind]), asked.scored_by(worse)
    if kind == "multiclass":
        equal, moved = before.argmax(axis=1) == now.argmax(axis=1), np.abs(now - before).sum(axis=1) / 2
        rank = np.mean([spearmanr(*columns).statistic for columns in zip(before.T, now.T, strict=True)])
    else:
        moved = np.abs(now - before)
        equal, rank = moved <= 0.1 * np.abs(before - np.median(before)).mean(), spearmanr(before, now).statistic
    assert 0 < equal.mean() < 1
    assert equal.mean() == pytest.approx(pair["agreement"]["value"])
    assert (moved.mean(), moved.max()) == pytest.approx((pair["mean_difference"], pair["max_difference"]))
    assert rank == pytest.approx(pair["rank_correlation"])
    everybody, active = pair["judged"]
    assert (400, asked.active.sum()) == (everybody["rows"], active["rows"])
    paired = everybody["metrics"][HEADLINE[kind]]
    assert expected(kind, asked.labels, before)[HEADLINE[kind]] == pytest.approx(paired["champion"])
    assert expected(kind, asked.labels, now)[HEADLINE[kind]] == pytest.approx(paired["candidate"])
    assert paired["difference"]["low"] > 0, "it is surely worse"
    page = (log.root / "out" / "compare_live.html").read_text()
    title = {"multiclass": "Distance of the probabilities of small_churn:v8", "regression": "Value of small_churn:v8"}
    assert f"<h2>{title[kind]}" in page


def test_models_of_other_classes_are_not_compared_and_a_line_says_so(
    log: LabelledLog, models: dict[TaskKind, ImportedModel]
) -> None:
    champion, asked = models["multiclass"], Asked.some(50, MONDAY, seed=1, kind="multiclass")
    task = MulticlassTask(classes=("high", "low", "middle"))
    other = replace(champion, tag="small_churn:v8", role="challenger", contract=_with_task(champion, task))
    log.put(asked.answers(champion))
    log.put(asked.answers(other, answered=False))

    with pytest.raises(NothingPairedError, match="their classes are low, middle, high and high, low, middle"):
        compare(log, champion, other)


def _with_task(model: ImportedModel, task: MulticlassTask) -> Any:
    return model.contract.model_copy(update={"task": task})
