"""Labels of answers of each task, as a use case tells them; one that does not fit the task is refused."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contract import EntityKey, Label
from contract.feature_schema import KeyDtype
from contract.tasks import TaskKind
from jobs.__main__ import main
from jobs.errors import JobError
from jobs.quality.labels import LabelRequest, LabelSummary, make_labels
from jobs.quality.live_quality import QualityCheck, live_quality
from scoring.models.imported_model import ImportedModel
from tests.models.labelled_log import MONDAY, Asked, LabelledLog, small_model

Told = Callable[[pd.DataFrame], Any]
TYPES = {"binary": pa.bool_(), "multiclass": pa.string(), "regression": pa.float64()}


def model_of(folder: Path, kind: TaskKind) -> ImportedModel:
    model = small_model(folder / kind, "7", kind=kind)
    label = Label(name="target", days=28, definition="what came of it")
    return replace(model, contract=model.contract.model_copy(update={"label": label}))


def label(log: LabelledLog, model: ImportedModel, told: Told) -> LabelSummary:
    def outcomes(entities: pd.DataFrame, environ: Any, days: int) -> pd.DataFrame:
        assert (28, ["customer_id", "event_timestamp"]) == (days, list(entities))
        return entities.assign(label=told(entities))

    opened = {model.tag: model}.__getitem__
    return make_labels(log.artefacts, {}, LabelRequest(log.root / "labels.parquet"), opened, outcomes)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_labels_have_the_tasks_type_and_are_judged(tmp_path: Path, kind: TaskKind) -> None:
    log, model, asked = LabelledLog(tmp_path), model_of(tmp_path, kind), Asked.some(400, MONDAY, seed=1, kind=kind)
    log.serve(model, asked)
    truth = dict(zip(asked.customer_ids, asked.labels.tolist(), strict=True))
    del truth["cr0"]  # not known yet

    made = label(log, model, lambda entities: entities["customer_id"].map(truth))

    table = pq.read_table(tmp_path / "labels.parquet")
    assert (399, 1, (28,)) == (made.labels, made.not_due, made.days)
    assert (sum(truth.values()) if kind == "binary" else None) == made.positive
    assert TYPES[kind] == table.schema.field("label").type
    assert truth == {row["customer_id"]: row["label"] for row in table.to_pylist()}
    check = QualityCheck(tmp_path / "labels.parquet", tmp_path / "out", resamples=20)
    report = live_quality(log.artefacts, check, opened={model.tag: model}.__getitem__)
    assert 399 == report["quality"][0]["rows"]


def keyed_by(model: ImportedModel, **keys: KeyDtype) -> ImportedModel:
    """The model with other join keys."""
    entity_keys = tuple(EntityKey(join_key=name, dtype=dtype) for name, dtype in keys.items())
    schema = model.contract.feature_schema.model_copy(update={"entity_keys": entity_keys})
    return replace(model, contract=model.contract.model_copy(update={"feature_schema": schema}))


def test_a_use_case_gets_whole_numbers_as_whole_numbers(tmp_path: Path) -> None:
    log, model = LabelledLog(tmp_path), keyed_by(model_of(tmp_path, "binary"), customer_id="int64")
    asked = Asked.some(40, MONDAY, seed=1)
    numbers = [2**53 + 1 + n for n in range(len(asked.customer_ids))]
    log.serve(model, replace(asked, customer_ids=numbers))  # type: ignore[arg-type]
    truth = dict(zip(numbers, asked.labels.tolist(), strict=True))

    made = label(log, model, lambda entities: entities["customer_id"].map(truth))

    table = pq.read_table(tmp_path / "labels.parquet")
    assert (40, pa.int64()) == (made.labels, table.schema.field("customer_id").type)
    assert truth == {row["customer_id"]: row["label"] for row in table.to_pylist()}
    check = QualityCheck(tmp_path / "labels.parquet", tmp_path / "out", resamples=20)
    assert 40 == live_quality(log.artefacts, check, opened={model.tag: model}.__getitem__)["quality"][0]["rows"]


def test_labels_of_answers_to_several_keys_are_refused_with_the_way_out(tmp_path: Path) -> None:
    log = LabelledLog(tmp_path)
    model = keyed_by(model_of(tmp_path, "binary"), customer_id="string", merchant_id="string")
    asked = Asked.some(20, MONDAY, seed=1)
    pairs = [(customer, "m1") for customer in asked.customer_ids]
    log.serve(model, replace(asked, customer_ids=pairs))  # type: ignore[arg-type]

    with pytest.raises(JobError, match=r"one key; these have customer_id, merchant_id: .*make live-quality LABELS="):
        label(log, model, lambda _: True)


@pytest.mark.parametrize(
    ("kind", "told", "said"),
    [
        ("binary", "left", r"the label 'left' at 2024-03-04T.*; a binary model needs true, false, 1 or 0"),
        ("binary", 0.5, r"the label '0.5' at .*; a binary model needs true, false, 1 or 0"),
        (
            "multiclass",
            "tall",
            r"the label 'tall', which is no class of model small_churn:v7; it has low, mid",
        ),
        ("multiclass", "", r"the label '' at .*; a multiclass model needs the name of a class"),
        ("regression", np.inf, r"the label 'inf' at .*; a regression model needs a finite number"),
        ("regression", "much", r"the label 'much' at .*; a regression model needs a finite number"),
    ],
)
def test_a_label_that_does_not_fit_the_task_is_refused_and_nothing_is_written(
    tmp_path: Path, kind: TaskKind, told: object, said: str
) -> None:
    log, model = LabelledLog(tmp_path), model_of(tmp_path, kind)
    log.serve(model, Asked.some(5, MONDAY, seed=1, kind=kind))

    with pytest.raises(JobError, match=said):
        label(log, model, lambda entities: [told] * len(entities))

    assert not (tmp_path / "labels.parquet").exists()


def test_outcomes_without_a_column_or_of_several_types_are_refused(tmp_path: Path) -> None:
    log, model = LabelledLog(tmp_path), model_of(tmp_path, "regression")
    log.serve(model, Asked.some(2, MONDAY, seed=1, kind="regression"))
    request, opened = LabelRequest(tmp_path / "labels.parquet"), {model.tag: model}.__getitem__

    with pytest.raises(JobError, match="outcomes have no column 'label'; they have customer_id, event_timestamp"):
        make_labels(log.artefacts, {}, request, opened, lambda entities, *_: entities)
    with pytest.raises(JobError, match="outcomes have labels of several types; expected a finite number"):
        label(log, model, lambda _: [1.5, "much"])


def test_rows_that_are_not_known_yet_wait_for_their_label(tmp_path: Path) -> None:
    log, model = LabelledLog(tmp_path), model_of(tmp_path, "regression")
    log.serve(model, Asked.some(3, MONDAY, seed=1, name="early", kind="regression"))
    log.serve(model, Asked.some(2, MONDAY + timedelta(days=9), seed=2, name="late", kind="regression"))

    made = label(log, model, lambda entities: np.where(entities["event_timestamp"] > MONDAY, np.nan, 7.0))

    assert (3, 2) == (made.labels, made.not_due)
    assert [7.0] * 3 == pq.read_table(tmp_path / "labels.parquet")["label"].to_pylist()


USE_CASE = """
from dataclasses import replace
from training.churn.use_case import USE_CASE as CHURN
USE_CASE = replace(CHURN, name="no_outcomes", outcomes=None)
"""


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (USE_CASE, "the use case no_outcomes has no `outcomes`"),
        (None, "USE_CASE: {folder}/use_case.py does not exist"),
        ("USE_CASE = 1\n", "USE_CASE: {folder}/use_case.py defines a int as USE_CASE"),
    ],
)
def test_a_use_case_that_tells_no_outcomes_is_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], written: str | None, said: str
) -> None:
    log, folder = LabelledLog(tmp_path), tmp_path / "case"
    folder.mkdir()
    if written is not None:
        (folder / "use_case.py").write_text(written)
    log.serve(model_of(tmp_path, "binary"), Asked.some(2, MONDAY, seed=1))
    monkeypatch.setenv("USE_CASE", str(folder))
    monkeypatch.setenv("INFERENCE_LOG_DIR", str(log.artefacts.inference_log))

    code = main(["labels", "--days", "90", "--out", str(tmp_path / "labels.parquet")])

    error = capsys.readouterr().err
    assert (1, 1) == (code, error.count("\n"))
    assert f"error: {said.format(folder=folder)}" in error
    assert not (tmp_path / "labels.parquet").exists()
