"""Live quality on logs of real models, held against figures worked out from the same rows without the job."""

import json
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore
from sklearn.metrics import brier_score_loss, roc_auc_score

from contract import Headline, Label, Population
from jobs.__main__ import main
from jobs.errors import JobError
from jobs.inference_log.logged_scores import Populations
from jobs.quality.live_quality import NothingLabelledError, QualityCheck, QualityError, live_quality
from scoring.models.imported_model import ImportedModel
from tests.loop import SOURCE
from tests.models.fakes import DAYS_SINCE
from tests.models.labelled_log import ACTIVE, MONDAY, WEEK, Asked, LabelledLog, small_model
from tests.servers.serving import samples

PROMISED = {"all_roc_auc": 0.88, "all_brier": 0.13}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ImportedModel:
    return small_model(tmp_path_factory.mktemp("model"), "7", metrics=PROMISED)


@pytest.fixture
def log(tmp_path: Path) -> LabelledLog:
    return LabelledLog(tmp_path)


def judge(log: LabelledLog, *models: ImportedModel, labels: Path | None = None, **how: Any) -> dict[str, Any]:
    by_tag = {model.tag: model for model in models}
    check = QualityCheck(labels or log.labels(), log.root / "out", **{"resamples": 50, "populations": ACTIVE, **how})
    return live_quality(log.artefacts, check, opened=by_tag.__getitem__)


def reported(log: LabelledLog) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((log.root / "out" / "live_quality.json").read_text())
    return report


def metrics(log: LabelledLog) -> str:
    return (log.root / "out" / "live_quality.prom").read_text()


def of(report: dict[str, Any], model: ImportedModel, week: str, population: str = "all") -> dict[str, Any]:
    (found,) = [
        quality
        for quality in report["quality"]
        if (quality["model"], quality["week"], quality["population"]) == (model.tag, week, population)
    ]
    return dict(found)


def test_every_model_and_week_has_the_figures_of_its_own_rows(
    log: LabelledLog, model: ImportedModel, capsys: pytest.CaptureFixture[str]
) -> None:
    other = small_model(log.root, "8", metrics=PROMISED)
    first, second, third = (Asked.some(400, MONDAY + n * WEEK, seed=n, name=f"w{n}-") for n in range(3))
    log.serve(model, first)
    log.serve(model, second)
    log.serve(other, third)

    report = judge(log, model, other)

    assert ("ok", 1200, 3) == (report["outcome"], report["labels"]["labels"], report["files"])
    for asked, by, week in ((first, model, "2024-W10"), (second, model, "2024-W11"), (third, other, "2024-W12")):
        for population, chosen in (("all", asked.labels | True), ("active", asked.active)):
            found = of(report, by, week, population)
            labels, scores = asked.labels[chosen], asked.scored_by(by)[chosen]
            auc = found["figures"]["roc_auc"]
            assert (chosen.sum(), labels.sum()) == (found["rows"], found["classes"]["churned"])
            assert roc_auc_score(labels, scores) == pytest.approx(auc["value"])
            assert brier_score_loss(labels, scores) == pytest.approx(found["figures"]["brier"]["value"])
            assert auc["low"] < auc["value"] < auc["high"]
        gap = of(report, by, week)["gaps"]["roc_auc"]
        assert roc_auc_score(asked.labels, asked.scored_by(by)) - 0.88 == pytest.approx(gap["value"])
    assert 800 == of(report, model, "all")["rows"]
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("small_churn:v7", "small_churn:v8", "2024-W12", "training", "0.880"))
    page = (log.root / "out" / "live_quality.html").read_text()
    assert "2024-W12" in page
    auc = of(report, model, "2024-W10")["figures"]["roc_auc"]
    assert "2024-W10, small_churn:v7: {value:.4g} [{low:.4g}, {high:.4g}]".format(**auc) in page
    assert [f"Calibration, {who} rows, all weeks" for who in ("all", "active")] == re.findall("<h2>(Cal.*weeks)<", page)
    assert not any(loaded in page for loaded in ("src=", "href=", "http"))
    assert reported(log) == report


def test_a_contract_that_was_written_before_a_member_was_known_is_still_its_own(
    log: LabelledLog, model: ImportedModel
) -> None:
    """Its hash is that of the document, not that of what this code would write."""
    older = replace(model, contract_sha256="0" * 64)
    log.serve(older, Asked.some(200, MONDAY, seed=1))

    assert "ok" == judge(log, older)["outcome"]


def test_rows_under_another_contract_than_the_models_are_named(log: LabelledLog, model: ImportedModel) -> None:
    log.serve(replace(model, contract_sha256="0" * 64), Asked.some(200, MONDAY, seed=1))

    with pytest.raises(JobError, match=r"small_churn:v7 has another contract than the rows were logged with"):
        judge(log, model)


def test_a_newest_week_that_is_surely_worse_than_training_is_refused_and_an_older_one_is_not(
    log: LabelledLog, model: ImportedModel
) -> None:
    log.serve(model, Asked.some(400, MONDAY, seed=1, name="a").but_left_at_random())
    log.serve(model, Asked.some(400, MONDAY + WEEK, seed=2, name="b"))
    assert "ok" == judge(log, model)["outcome"]

    log.serve(model, Asked.some(400, MONDAY + 2 * WEEK, seed=3, name="c").but_left_at_random())
    with pytest.raises(
        QualityError, match=r"small_churn:v7, 2024-W12: ROC AUC of all .* below training's 0.880"
    ) as lost:
        judge(log, model)

    assert 3 == lost.value.exit_code
    assert "worse than training" == reported(log)["outcome"]
    of_it = {"model": "small_churn", "version": "7", "population": "all", "metric": "roc_auc"}
    assert [1] == samples(metrics(log), "model_jobs_live_quality_lost", **of_it)
    assert [0.88] == samples(metrics(log), "model_jobs_live_quality_training", **of_it)
    auc = of(reported(log), model, "2024-W12")["figures"]["roc_auc"]
    assert {"value", "low", "high"} == auc.keys()
    for bound, value in auc.items():
        assert [value] == samples(metrics(log), "model_jobs_live_quality", **of_it, bound=bound)
    assert 1 == len(samples(metrics(log), "model_jobs_live_quality_last_report_timestamp_seconds", model="small_churn"))
    assert "ok" == judge(log, model, max_loss=0.5)["outcome"]
    assert [0] == samples(metrics(log), "model_jobs_live_quality_lost", **of_it)


def test_who_is_judged_is_whom_training_takes_for_its_headline(log: LabelledLog) -> None:
    """Where only active customers are asked about, the ROC AUC of all customers is no measure."""
    bare = small_model(log.root, "9", metrics={"all_roc_auc": 0.99, "active_roc_auc": 0.7})
    told = {
        "populations": {"active": Population(feature=DAYS_SINCE, at_most=60)},
        "headline": Headline(population="active", metric="roc_auc"),
    }
    model = replace(bare, contract=bare.contract.model_copy(update=told))
    log.serve(model, Asked.some(600, MONDAY, seed=1))

    (verdict,) = judge(log, model)["verdicts"]

    assert ("active", 0.7, False) == (verdict["population"], verdict["training"], verdict["lost"])


def test_a_week_of_too_few_customers_is_shown_without_figures(log: LabelledLog, model: ImportedModel) -> None:
    log.serve(model, Asked.some(400, MONDAY, seed=1, name="a"))
    one_class = Asked.some(50, MONDAY + WEEK, seed=2, name="b")
    log.serve(model, replace(one_class, labels=one_class.labels | True))

    report = judge(log, model)

    assert {} == of(report, model, "2024-W11")["figures"]
    assert "0 retained and 50 churned" in of(report, model, "2024-W11")["reason"]
    assert "2024-W10" == report["verdicts"][0]["week"]


def test_labels_that_belong_to_no_scored_row_are_counted(log: LabelledLog, model: ImportedModel) -> None:
    asked = Asked.some(400, MONDAY, seed=1)
    log.serve(model, asked, unknown=range(7))
    reused = replace(asked, request_ids=asked.request_ids[-5:], customer_ids=list("abcde"), labels=asked.labels[-5:])
    log.put(replace(reused, values=asked.values[-5:]).answers(model))
    log.labelled += [Asked.some(3, MONDAY, seed=2, name="elsewhere"), reused]

    report = judge(log, model)

    assert {"labels": 403, "repeated": 5, "unknown": 3, "ambiguous": 5, "unscored": 7} == {
        name: count for name, count in report["labels"].items() if name != "file"
    }
    assert 388 == of(report, model, "2024-W10")["rows"]


def test_a_client_that_repeats_a_request_counts_once(log: LabelledLog, model: ImportedModel) -> None:
    asked = Asked.some(300, MONDAY, seed=1)
    log.serve(model, asked)
    log.put(replace(asked, at=MONDAY + WEEK).answers(model))

    report = judge(log, model)

    assert ["all", "2024-W10"] == list(dict.fromkeys(quality["week"] for quality in report["quality"]))
    assert 300 == of(report, model, "2024-W10")["rows"]


def test_the_labels_may_be_csv_and_name_the_row_of_a_batch(log: LabelledLog, model: ImportedModel) -> None:
    asked = Asked.some(300, MONDAY, seed=1)
    answers = replace(asked.answers(model), request_ids=["batch"] * 300, rows=list(range(300)))
    log.put(answers)
    labels = log.root / "labels.csv"
    labels.write_text("row,churned,request_id\n" + "".join(f"{n},{int(c)},batch\n" for n, c in enumerate(asked.labels)))

    found = of(judge(log, model, labels=labels), model, "2024-W10")

    assert roc_auc_score(asked.labels, asked.scored_by(model)) == pytest.approx(found["figures"]["roc_auc"]["value"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("request_id,left\nr0,1\n", "has no column 'label'; found request_id, left"),
        ("id,churned\nr0,1\n", "has no column 'request_id'; found id, churned"),
        ("request_id,churned\nr0,1\nr1,0.3\n", "column churned, row 2: expected true, false, 1 or 0, found '0.3'"),
        ("request_id,churned\nr0,1\nr1,\n", "column churned, row 2: expected true, false, 1 or 0, found nothing"),
        ("request_id,churned\n,1\n", "column request_id, row 1: expected a request id, found nothing"),
        ("request_id,row,churned\nr0,-1,1\n", "column row, row 1: expected a number from 0, found '-1'"),
        (
            "request_id,churned\nr0,1\nr0,TRUE\nr1,0\nr1,1\nr2,1\nr2,0\n",
            "request 'r1', row 0 is labelled false and true, and 1 others",
        ),
    ],
)
def test_labels_that_cannot_be_used_are_refused_by_name(
    log: LabelledLog, model: ImportedModel, text: str, said: str
) -> None:
    log.serve(model, Asked.some(100, MONDAY, seed=1))
    labels = log.root / "labels.csv"
    labels.write_text(text)

    with pytest.raises(JobError) as caught:
        judge(log, model, labels=labels)

    assert f"{labels}: {said}" == str(caught.value)
    assert not (log.root / "out").exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("none.csv", "no such file; `make labels` writes one"),
        ("torn.parquet", "cannot be read as parquet"),
        ("labels.txt", "expected a .csv or"),
    ],
)
def test_a_file_that_is_no_file_of_labels_is_named(
    log: LabelledLog, model: ImportedModel, name: str, said: str
) -> None:
    if name != "none.csv":
        (log.root / name).write_bytes(b"PAR1 torn")

    with pytest.raises(JobError, match=f"{name}: {said}"):
        judge(log, model, labels=log.root / name)


def test_where_no_label_belongs_to_the_log_nothing_is_written(log: LabelledLog, model: ImportedModel) -> None:
    log.put(Asked.some(100, MONDAY, seed=1).answers(model))
    log.labelled.append(Asked.some(4, MONDAY, seed=2, name="elsewhere"))

    with pytest.raises(NothingLabelledError, match="4 labels, 4 of unknown requests") as caught:
        judge(log, model)

    assert 4 == caught.value.exit_code
    assert not (log.root / "out").exists()


def test_the_recipe_for_labels_in_the_document_gives_a_report(
    log: LabelledLog, model: ImportedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = re.findall(r"```python\n(.*?)```", (SOURCE / "docs" / "live-quality.md").read_text(), re.DOTALL)
    log.put(Asked.some(400, MONDAY, seed=1).answers(model, unknown=[3]))
    (log.root / "var").mkdir()
    (log.root / "var" / "inference_log").symlink_to(log.root / "log")
    monkeypatch.chdir(log.root)

    exec("".join(recipe), {})  # noqa: S102  # our own words
    report = judge(log, model, labels=Path("var/invented.csv"))

    assert 399 == of(report, model, "2024-W10")["rows"]
    assert {"labels": 399, "unknown": 0}.items() <= report["labels"].items()


def test_damaged_files_and_models_that_are_gone_are_named_and_the_rest_is_judged(
    log: LabelledLog, model: ImportedModel
) -> None:
    log.serve(model, Asked.some(300, MONDAY, seed=1))
    damaged = log.put(Asked.some(300, MONDAY, seed=2, name="lost").answers(model))
    damaged.write_bytes(damaged.read_bytes()[:-200])

    with pytest.raises(JobError, match=f"{damaged.name}: cannot be read") as caught:
        judge(log, model)

    assert 1 == caught.value.exit_code
    assert 300 == of(reported(log), model, "2024-W10")["rows"]
    elsewhere = log.root / "elsewhere.csv"
    elsewhere.write_text("request_id,churned\nelsewhere,1\n")
    with pytest.raises(JobError, match=f"no label belongs to a scored row.*{damaged.name}") as nothing:
        judge(log, model, labels=elsewhere)
    assert 1 == nothing.value.exit_code, "it may have belonged to a row of the damaged file"


@pytest.fixture
def empty_model_store(tmp_path: Path) -> Iterator[None]:
    BentoMLContainer.model_store.set(ModelStore(tmp_path / "models"))
    yield
    BentoMLContainer.model_store.reset()


@pytest.mark.usefixtures("empty_model_store")
def test_the_command_says_what_is_wrong_in_a_line_and_ends_with_a_code(
    log: LabelledLog, model: ImportedModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model of the log is in no BentoML store: the answers are judged, but not held against training."""
    monkeypatch.setenv("INFERENCE_LOG_DIR", str(log.artefacts.inference_log))
    log.serve(model, Asked.some(300, MONDAY, seed=1))
    arguments = ["live-quality", "--labels", str(log.labels()), "--out", str(log.root / "out"), "--resamples", "20"]

    no_model = main(arguments)
    said = capsys.readouterr()
    nothing = main([*arguments, "--until", "2024-01-01"])

    assert (1, 4) == (no_model, nothing)
    assert "log: no answered row until 2024-01-01T00:00:00+00:00\n" in capsys.readouterr().err
    assert said.err.startswith("error: not everything could be judged")
    assert 1 == said.err.count("\n")
    assert "small_churn:v7 is not in the BentoML model store" in said.err
    assert "2024-W10" in said.out
    assert 2 == main([*arguments, "--max-auc-loss", "2"])


def predicting(model: ImportedModel, days: int, active_days: float) -> ImportedModel:
    """The same model with a contract that tells its label and who is active to it."""
    told = {
        "label": Label(name="churned", days=days, definition=f"no order in {days} days"),
        "populations": {"active": Population(feature=DAYS_SINCE, at_most=active_days)},
    }
    return replace(model, contract=model.contract.model_copy(update=told))


def test_labels_over_other_days_than_the_model_predicts_are_refused_and_both_are_named(
    log: LabelledLog, model: ImportedModel
) -> None:
    monthly = predicting(model, 30, active_days=60)
    log.serve(monthly, Asked.some(200, MONDAY, seed=1))
    table = pq.read_table(log.labels())

    def labels(days: int) -> Path:
        pq.write_table(table.append_column("label_days", pa.array([days] * len(table))), log.root / f"{days}.parquet")
        return log.root / f"{days}.parquet"

    with pytest.raises(JobError, match=r"labels over 90 days of model small_churn:v7, which has labels over 30 days"):
        judge(log, monthly, labels=labels(90))
    assert "ok" == judge(log, monthly, labels=labels(30))["outcome"]
    assert "ok" == judge(log, model, labels=labels(90))["outcome"]  # its contract does not tell


@pytest.mark.parametrize(
    ("row", "said", "refused"),
    [
        ("0", "30.0", False),
        ("0", " 30 ", False),
        ("0", "", False),
        ("0", "30.5", True),
        ("0", "a month", True),
        ("00", "90", True),
    ],
)
def test_the_days_of_labels_in_a_csv_are_numbers_however_they_are_written(
    log: LabelledLog, model: ImportedModel, row: str, said: str, refused: bool
) -> None:
    monthly = predicting(model, 30, active_days=60)
    asked = Asked.some(200, MONDAY, seed=1)
    log.serve(monthly, asked)
    labels = log.root / "labels.csv"
    rows = zip(asked.request_ids, asked.labels.tolist(), strict=True)
    lines = [f"{request},{row},{int(churned)},{said}" for request, churned in rows]
    labels.write_text("\n".join(["request_id,row,churned,label_days", *lines]), encoding="utf-8")

    expected: AbstractContextManager[object] = (
        pytest.raises(JobError, match=f"labels over {said} days") if refused else nullcontext()
    )
    with expected:
        judge(log, monthly, labels=labels)


def test_who_is_active_is_the_contracts_to_say_unless_somebody_asks_otherwise(
    log: LabelledLog, model: ImportedModel
) -> None:
    monthly, asked = predicting(model, 30, active_days=60), Asked.some(400, MONDAY, seed=1)
    log.serve(monthly, asked)

    by_contract, by_hand = (
        judge(log, monthly, populations=Populations()),
        judge(log, monthly, populations=Populations("active", at_most=30)),
    )

    recency = asked.values[:, 0].astype("float32")
    assert (recency <= 60).sum() == of(by_contract, monthly, "2024-W10", "active")["rows"]
    assert (recency <= 30).sum() == of(by_hand, monthly, "2024-W10", "active")["rows"]
    assert [f"{DAYS_SINCE} ≤ 60"] == by_contract["populations"]["active"]
