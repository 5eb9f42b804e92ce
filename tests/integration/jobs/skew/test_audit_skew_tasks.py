"""The audit of models of several classes and of numbers: what moved, and what the model does not give again."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from artefacts.log_rows import log_files
from artefacts.output_columns import read_outputs
from contract.tasks import TaskKind
from jobs.batch.score_batch import BatchRequest, score_batch
from scoring.agreement import reproduced, same_answers
from scoring.inference_log import read_log
from tests.integration.jobs.audited_shop import FEW, MIDNIGHT, Shop
from tests.models.churn_model import task_model_of

KINDS: list[TaskKind] = ["multiclass", "regression"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_served_from_fresh_rows_agrees_and_is_given_again(shop: Shop, tmp_path: Path, kind: TaskKind) -> None:
    of_task = replace(shop, model=task_model_of(shop.model, kind, tmp_path / "model"))
    of_task.fill()
    of_task.serve([*FEW, "nobody"])

    report = of_task.audit(max_unexplained=0, max_faults=0, max_moved=0.0)

    assert (len(FEW) + 1, 0, 0) == (report["rows"], report["differences"], report["not_reproduced"])
    assert (0, 0.0) == (report["moved"]["answers"], report["moved"]["score_max"])


@pytest.mark.parametrize("kind", KINDS)
def test_old_rows_move_classes_and_values(shop: Shop, tmp_path: Path, kind: TaskKind) -> None:
    of_task = replace(shop, model=task_model_of(shop.model, kind, tmp_path / "model"))
    of_task.fill(MIDNIGHT - timedelta(days=4))
    of_task.serve()

    report = of_task.audit()

    moved = report["moved"]
    assert report["differences"] > 0
    assert 0 < moved["answers"] <= len(FEW)
    assert moved["score_max"] >= moved["score_mean"] > 0


@pytest.mark.parametrize("kind", KINDS)
def test_scores_that_the_model_does_not_give_are_unexplained(shop: Shop, tmp_path: Path, kind: TaskKind) -> None:
    model = task_model_of(shop.model, kind, tmp_path / "model")
    served = replace(shop, model=model)
    served.fill()
    served.serve()
    other = replace(shop, model=replace(model, score=lambda matrix: model.score(matrix) * np.float32(1.001)))

    report = other.audit()

    assert 0 == report["differences"]
    assert 0 < report["not_reproduced"] == report["unexplained"]


@pytest.mark.parametrize("kind", ["binary", *KINDS])
def test_a_batch_says_what_the_service_answered(shop: Shop, tmp_path: Path, kind: TaskKind) -> None:
    model = task_model_of(shop.model, kind, tmp_path / "model")
    of_task = replace(shop, model=model)
    of_task.fill()
    at = of_task.serve()

    done = score_batch(of_task.artefacts, model, BatchRequest(at, tmp_path / "out"), datetime.now(UTC))

    (file,) = done.partition.glob("*.parquet")
    listed = pa.array(FEW)
    rows = pq.read_table(file).filter(pc.is_in(pc.field("customer_id"), listed)).sort_by("customer_id")
    (logged,) = map(read_log, log_files(of_task.artefacts.inference_log))
    logged = logged.sort_by("customer_id")
    assert FEW == rows["customer_id"].to_pylist() == logged["customer_id"].to_pylist()
    assert rows["status"].to_pylist() == logged["status"].to_pylist()
    served, in_batch = read_outputs(logged, model.contract), read_outputs(rows, model.contract)
    assert reproduced(served, in_batch, model.contract).all()
    assert same_answers(served, in_batch, model.contract).all()
