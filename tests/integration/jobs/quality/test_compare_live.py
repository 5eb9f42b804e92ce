"""Champion and challenger on logs of real models, beside figures worked out from the same rows without the job."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import brier_score_loss, roc_auc_score

from jobs.__main__ import main
from jobs.errors import JobError
from jobs.quality.compare_live import LiveComparison, NothingPairedError, compare_live
from scoring.models.imported_model import ImportedModel
from tests.models.labelled_log import ACTIVE, MONDAY, WEEK, Asked, LabelledLog, small_model


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory) -> ImportedModel:
    return small_model(tmp_path_factory.mktemp("champion"), "7")


@pytest.fixture(scope="module")
def worse(tmp_path_factory: pytest.TempPathFactory) -> ImportedModel:
    """A challenger that was fitted on twelve customers."""
    return small_model(tmp_path_factory.mktemp("worse"), "8", role="challenger", rows=12)


@pytest.fixture
def log(tmp_path: Path) -> LabelledLog:
    return LabelledLog(tmp_path)


def compare(log: LabelledLog, *models: ImportedModel, **how: Any) -> dict[str, Any]:
    by_tag = {model.tag: model for model in models}
    wanted = LiveComparison(log.root / "out", populations=ACTIVE, **{"resamples": 50, **how})
    return compare_live(log.artefacts, wanted, opened=by_tag.__getitem__)


def test_a_shadow_is_held_against_the_champion_row_by_row(
    log: LabelledLog, champion: ImportedModel, worse: ImportedModel, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = Asked.some(400, MONDAY, seed=1)
    log.serve(champion, asked)
    log.put(asked.answers(worse, answered=False))

    (pair,) = compare(log)["pairs"]

    before, now = asked.scored_by(champion), asked.scored_by(worse)
    agreed = ((before >= 0.5) == (now >= 0.5)).mean()
    assert ("small_churn:v7", "small_churn:v8", 400, 400, 0) == (
        *(pair["champion"], pair["challenger"], pair["rows"], pair["scored"], pair["unpaired"]),
    )
    assert agreed == pytest.approx(pair["agreement"]["value"])
    assert pair["agreement"]["low"] < agreed < pair["agreement"]["high"]
    assert np.abs(before - now).mean() == pytest.approx(pair["mean_difference"])
    assert np.abs(before - now).max() == pytest.approx(pair["max_difference"])
    assert spearmanr(before, now).statistic == pytest.approx(pair["rank_correlation"])
    assert (1.0, 0.0) == (pair["by_champion"], pair["by_challenger"])
    assert () == pair["judged"]
    assert "equal decisions" in capsys.readouterr().out
    page = (log.root / "out" / "compare_live.html").read_text()
    assert "small_churn:v8" in page
    assert f"2024-03-04 {round(agreed * 100, 6):.4g}%." in page
    assert "<h2>Probability of small_churn:v8 less that of small_churn:v7</h2><svg" in page


def test_with_labels_the_worse_model_is_surely_worse_overall_and_on_active_customers(
    log: LabelledLog, champion: ImportedModel, worse: ImportedModel
) -> None:
    asked = Asked.some(600, MONDAY, seed=1)
    log.serve(champion, asked)
    log.put(asked.answers(worse, answered=False))

    report = compare(log, champion, worse, labels=log.labels())

    assert json.loads((log.root / "out" / "compare_live.json").read_text())["labels"]["labels"] == 600
    everybody, active = report["pairs"][0]["judged"]
    assert (600, asked.active.sum()) == (everybody["rows"], active["rows"])
    for judged, chosen in ((everybody, asked.labels | True), (active, asked.active)):
        labels, before, now = asked.labels[chosen], asked.scored_by(champion)[chosen], asked.scored_by(worse)[chosen]
        auc, brier = judged["metrics"]["roc_auc"], judged["metrics"]["brier"]
        assert roc_auc_score(labels, now) - roc_auc_score(labels, before) == pytest.approx(auc["difference"]["value"])
        assert brier_score_loss(labels, now) == pytest.approx(brier["candidate"])
    assert everybody["metrics"]["roc_auc"]["difference"]["high"] < 0
    assert everybody["metrics"]["brier"]["difference"]["low"] > 0


def test_a_canary_answers_its_share_and_rows_that_the_challenger_missed_are_counted(
    log: LabelledLog, champion: ImportedModel, worse: ImportedModel
) -> None:
    early, asked = Asked.some(30, MONDAY - WEEK, seed=2, name="early"), Asked.some(100, MONDAY, seed=1)
    log.put(early.answers(champion))
    canary = np.arange(100) < 25
    log.put(replace(asked.answers(champion, unknown=[99]), answered=~canary))
    beside = replace(
        asked,
        request_ids=asked.request_ids[10:],
        customer_ids=asked.customer_ids[10:],
        values=asked.values[10:],
        labels=asked.labels[10:],
    )
    log.put(replace(beside.answers(worse), answered=canary[10:]))
    again = Asked.some(3, MONDAY, seed=3, name="again")
    log.put(replace(again, customer_ids=asked.customer_ids[10:13]).answers(champion))

    (pair,) = compare(log)["pairs"]

    assert (90, 89, 0, 1) == (pair["rows"], pair["scored"], pair["champion_only"], pair["challenger_only"])
    assert (3, 0, 10) == (pair["unpaired"], pair["silent"], pair["others"]), (
        "before the challenger was there, nobody missed it"
    )
    assert (75 / 90, 15 / 90) == pytest.approx((pair["by_champion"], pair["by_challenger"]))


def test_whatever_has_no_row_of_a_shadow_was_missed(
    log: LabelledLog, champion: ImportedModel, worse: ImportedModel
) -> None:
    both, one = Asked.some(12, MONDAY, seed=1), Asked.some(4, MONDAY, seed=2, name="missed")
    log.put(both.answers(champion))
    log.put(both.answers(worse, answered=False))
    log.put(one.answers(champion))

    (pair,) = compare(log)["pairs"]

    assert (4, 0) == (pair["unpaired"], pair["others"])


def test_after_a_shadow_those_outside_the_share_of_the_canary_are_none_that_it_missed(
    log: LabelledLog, champion: ImportedModel, worse: ImportedModel
) -> None:
    """As a shadow it scored everybody; as a canary it answers two fifths of the same customers, then four, then two."""
    asked = Asked.some(100, MONDAY, seed=1)
    log.put(asked.answers(champion))
    log.put(asked.answers(worse, answered=False))
    for hour, share in ((1, 40), (2, 80), (3, 80), (4, 40), (5, 40)):
        log.put_canary(champion, worse, asked.again(hour), share)

    (pair,) = compare(log)["pairs"]

    assert (60 + 20 + 20 + 60 + 60) == pair["others"]
    assert (0, 0) == (pair["unpaired"], pair["silent"])
    assert 100 + 40 + 80 + 80 + 40 + 40 == pair["rows"] == pair["scored"]


def test_what_a_canary_missed_among_its_own_customers_is_counted_after_a_shadow_too(
    log: LabelledLog, champion: ImportedModel, worse: ImportedModel
) -> None:
    asked = Asked.some(100, MONDAY, seed=1)
    log.put(asked.answers(champion))
    log.put(asked.answers(worse, answered=False))
    log.put_canary(champion, worse, asked.again(1), 40)
    log.put_canary(champion, worse, asked.again(2), 40, missed=7)
    log.put_canary(champion, worse, asked.again(3), 40)

    (pair,) = compare(log)["pairs"]

    assert (7, 0, 180) == (pair["unpaired"], pair["silent"], pair["others"])


def test_rows_of_a_time_at_which_the_challenger_was_off_are_none_that_it_missed(
    log: LabelledLog, champion: ImportedModel, worse: ImportedModel
) -> None:
    asked = Asked.some(30, MONDAY, seed=1)
    for hour in range(5):
        again = asked.again(hour)
        log.put(again.answers(champion))
        if hour != 2:
            log.put(again.answers(worse, answered=False))

    (pair,) = compare(log)["pairs"]

    assert (0, 30, 0) == (pair["unpaired"], pair["silent"], pair["others"])


def test_every_pair_of_models_has_a_table_of_its_own(
    log: LabelledLog, champion: ImportedModel, worse: ImportedModel
) -> None:
    twin = small_model(log.root, "9", role="challenger")
    for week, challenger in enumerate((worse, twin)):
        asked = Asked.some(12, MONDAY + week * WEEK, seed=week, name=f"w{week}-")
        log.serve(champion, asked)
        log.put(asked.answers(challenger, answered=False))

    first, second = compare(log, champion, worse, twin, labels=log.labels())["pairs"]

    assert ("small_churn:v8", 12, "small_churn:v9", 12) == (
        *(first["challenger"], first["rows"]),
        *(second["challenger"], second["rows"]),
    )
    assert (1.0, 0.0, 1.0) == pytest.approx(
        (second["agreement"]["value"], second["max_difference"], second["rank_correlation"])
    )
    assert all("too few entities" in judged["reason"] for judged in first["judged"])


def test_where_no_row_has_both_models_nothing_is_written(log: LabelledLog, champion: ImportedModel) -> None:
    with pytest.raises(NothingPairedError, match="no inference log is there"):
        compare(log)
    log.put(Asked.some(10, MONDAY, seed=1).answers(champion))

    with pytest.raises(NothingPairedError, match="no row was scored by a champion and a challenger") as caught:
        compare(log)

    assert 4 == caught.value.exit_code
    assert not (log.root / "out").exists()


def test_a_damaged_file_is_named_and_the_rest_is_compared(
    log: LabelledLog, champion: ImportedModel, worse: ImportedModel
) -> None:
    asked = Asked.some(40, MONDAY, seed=1)
    torn = log.put(asked.answers(champion))
    log.put(asked.answers(worse, answered=False))
    torn.with_name("torn.parquet").write_bytes(torn.read_bytes()[:100])

    with pytest.raises(JobError, match=r"torn.parquet: cannot be read") as caught:
        compare(log)

    assert 1 == caught.value.exit_code
    assert 40 == json.loads((log.root / "out" / "compare_live.json").read_text())["pairs"][0]["rows"]


def test_the_command_ends_with_a_code_for_each_outcome(
    log: LabelledLog,
    champion: ImportedModel,
    worse: ImportedModel,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("INFERENCE_LOG_DIR", str(log.artefacts.inference_log))
    arguments = ["compare-live", "--out", str(log.root / "out"), "--resamples", "20"]
    nothing = main(arguments)
    asked = Asked.some(40, MONDAY, seed=1)
    log.put(asked.answers(champion))
    log.put(asked.answers(worse, answered=False))

    assert (4, 0) == (nothing, main(arguments))
    said = capsys.readouterr().out
    assert said.startswith("ok: no labels were given\n")
    assert "small_churn:v8" in said
    assert said.endswith(f"\n  {log.root / 'out' / 'compare_live.html'}\n")
    assert 1 == main([*arguments, "--labels", str(log.root / "none.csv")])
    assert f"error: {log.root / 'none.csv'}: no such file; `make labels` writes one\n" == capsys.readouterr().err
