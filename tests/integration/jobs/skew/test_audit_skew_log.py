"""The audit of a log: what it reads of it, what it does with files and rows that it cannot use, and what it reports."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from jobs.errors import JobError
from jobs.inference_log import reading as log_reading
from jobs.skew.audit import NothingToAuditError, SkewError
from scoring.pseudonyms import Pseudonyms
from tests.integration.jobs.audited_shop import (
    FEW,
    IMPORT,
    LIFETIME,
    MIDNIGHT,
    NOW,
    SPEND,
    Shop,
    in_redis,
    of_class,
    some_orders,
    take,
)
from tests.loop import SOURCE


def test_damaged_files_and_models_that_cannot_be_used_are_named_and_the_rest_is_audited(shop: Shop) -> None:
    shop.fill()
    shop.serve()
    file = next(shop.artefacts.inference_log.rglob("*.parquet"))
    table = pq.read_table(file, partitioning=None)
    shop.write(table.slice(0, 0), f"{file.parent.name}/empty.parquet")
    (file.parent / "damaged.parquet").write_bytes(file.read_bytes()[:-200])
    (file.parent / "nothing.parquet").write_bytes(b"")
    foreign = table.slice(0, 3).set_column(
        table.column_names.index("contract_sha256"), "contract_sha256", pa.array(["0" * 64] * 3)
    )
    shop.write(foreign, f"{file.parent.name}/foreign.parquet")

    with pytest.raises(JobError) as caught:
        shop.audit()

    assert 1 == caught.value.exit_code
    assert all(name in str(caught.value) for name in ("damaged.parquet", "nothing.parquet", "3 rows of model"))
    report = json.loads((shop.root / "skew" / "skew.json").read_text())
    assert (len(FEW), 0) == (report["rows"], report["differences"])
    assert [str(file.parent / "empty.parquet")] == report["empty"]
    assert "incomplete" == report["outcome"]


def test_the_command_ends_with_a_code_for_each_outcome_and_says_why_in_a_line(shop: Shop, tmp_path: Path) -> None:
    """The command finds the model in the BentoML store by the logged tag; here it is not there."""
    nothing = command(shop, tmp_path)
    shop.fill()
    shop.serve()
    no_model = command(shop, tmp_path)
    refused = command(shop, tmp_path, "--sample", "0")

    assert (4, 1, 2) == (nothing.returncode, no_model.returncode, refused.returncode)
    assert re.fullmatch(
        r"error: .*log: no inference log is there; .* SERVICE_INFERENCE_LOG=true writes one\n",
        nothing.stderr,
    )
    assert "error: nothing could be audited: rows of model small_churn:v7: model small_churn:v7 " in no_model.stderr
    assert "error: --sample 0: expected at least 1 row\n" == refused.stderr
    assert not (tmp_path / "out").exists()


def test_the_command_scores_with_the_model_that_the_log_names(shop: Shop, tmp_path: Path) -> None:
    shop.fill()
    shop.serve()
    python(shop, tmp_path, "-c", IMPORT, str(shop.model.folder), shop.model.tag)

    done = command(shop, tmp_path)

    assert (0, "") == (done.returncode, done.stderr)
    assert done.stdout.startswith("40 rows, 1,080 values: 0 differ; 0 answers would be others")
    assert {"skew.html", "skew.json", "skew.prom"} == {file.name for file in (tmp_path / "out").iterdir()}


def command(shop: Shop, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m jobs audit-skew` over the shop's artefacts and a model store of its own."""
    return python(shop, home, "-m", "jobs", "audit-skew", "--out", str(home / "out"), *arguments)


def python(shop: Shop, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    artefacts = shop.artefacts
    environment = {
        **os.environ,
        "FEAST_REGISTRY": artefacts.feast_registry,
        "OFFLINE_STORE_DIR": str(artefacts.offline_store),
        "INFERENCE_LOG_DIR": str(artefacts.inference_log),
        "BENTOML_HOME": str(home / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "true",
    }
    asked = [sys.executable, *arguments]
    return subprocess.run(asked, cwd=SOURCE, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_a_model_of_features_that_no_longer_exist_is_named_and_nothing_is_written(shop: Shop) -> None:
    shop.fill()
    shop.serve()
    schema = shop.model.contract.feature_schema.model_copy(update={"feature_service": "churn_v0"})
    contract = shop.model.contract.model_copy(update={"feature_schema": schema})

    with pytest.raises(
        JobError, match=r"rows of model small_churn:v7: feature service 'churn_v0' is not in the registry"
    ):
        replace(shop, model=replace(shop.model, contract=contract)).audit()

    assert not (shop.root / "skew").exists()


def test_a_log_without_a_row_of_the_time_is_nothing_to_audit(shop: Shop) -> None:
    with pytest.raises(NothingToAuditError) as nothing:
        shop.audit()
    shop.fill()
    at = shop.serve()
    with pytest.raises(NothingToAuditError, match="no answered row from"):
        shop.audit(since=at + timedelta(seconds=1))
    with pytest.raises(NothingToAuditError):
        shop.audit(until=at)

    assert 4 == nothing.value.exit_code
    assert not (shop.root / "skew").exists()
    assert len(FEW) == shop.audit(since=at, until=at + timedelta(seconds=1))["rows"]


def test_rows_that_another_model_answered_are_not_audited(shop: Shop) -> None:
    shop.fill()
    shop.serve()
    file = next(shop.artefacts.inference_log.rglob("*.parquet"))
    table = pq.read_table(file, partitioning=None)
    shadow = table.set_column(table.column_names.index("answered"), "answered", pa.array([False] * len(FEW)))
    shop.write(shadow, f"{file.parent.name}/shadow.parquet")

    assert len(FEW) == shop.audit()["rows"]


def test_pseudonyms_are_found_with_their_key_and_with_no_other(shop: Shop, tmp_path: Path) -> None:
    shop.fill(MIDNIGHT - timedelta(hours=12))
    shop.serve([*FEW, "nobody"])
    plain = shop.audit()
    file = next(shop.artefacts.inference_log.rglob("*.parquet"))
    table = pq.read_table(file, partitioning=None)
    right, wrong = tmp_path / "key", tmp_path / "other"
    right.write_text("k" * 40)
    wrong.write_text("o" * 40)
    hidden = pa.array(Pseudonyms.from_file(right).of(table["customer_id"].to_pylist()))
    pq.write_table(table.set_column(table.column_names.index("customer_id"), "customer_id", hidden), file)

    found = shop.audit(id_key_file=right, sample=41)

    assert plain["classes"] == found["classes"]
    assert all(example["customer_id"].startswith("p:") for example in found["examples"])
    with pytest.raises(JobError, match="--id-key-file"):
        shop.audit()
    with pytest.raises(JobError, match="is it the service's key"):
        shop.audit(id_key_file=wrong)


def test_a_sample_is_so_many_rows_and_the_same_ones_again(shop: Shop) -> None:
    shop.fill(MIDNIGHT - timedelta(hours=12))
    shop.serve([f"{n:05d}" for n in range(1, 301)])

    first, again = shop.audit(sample=50), shop.audit(sample=50)

    assert (50, 2) == (first["rows"], first["files"] - 1)
    assert first["classes"] == again["classes"]
    assert 300 == shop.audit(sample=1000)["rows"]


def test_the_chunks_of_a_log_do_not_change_what_is_found(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.fill(MIDNIGHT - timedelta(days=4))
    shop.serve([*(f"{n:05d}" for n in range(1, 251)), "nobody"])
    whole = shop.audit()

    monkeypatch.setattr(log_reading, "ROWS_PER_CHUNK", 37)

    parts = shop.audit()
    assert whole["features"] == parts["features"]
    assert whole["moved"]["answers"] == parts["moved"]["answers"]
    assert whole["moved"]["score_mean"] == pytest.approx(parts["moved"]["score_mean"])


def test_a_probability_that_the_model_does_not_give_for_the_logged_inputs_is_unexplained(shop: Shop) -> None:
    shop.fill()
    shop.serve()
    other = replace(shop, model=replace(shop.model, score=lambda matrix: shop.model.score(matrix) * np.float32(0.9)))

    report = other.audit()

    assert (0, len(FEW), len(FEW)) == (report["differences"], report["unexplained"], report["not_reproduced"])


def test_thresholds_hold_moved_decisions_and_the_metrics_name_no_customer(shop: Shop) -> None:
    shop.fill(MIDNIGHT - timedelta(days=4))
    threshold = float(np.median(_probabilities(shop)))
    contract = shop.model.contract
    moved = contract.binary.threshold.model_copy(update={"value": threshold})
    contract = contract.model_copy(update={"task": contract.binary.model_copy(update={"threshold": moved})})
    shutil.rmtree(shop.artefacts.inference_log)
    sharp = replace(shop, model=replace(shop.model, contract=contract))
    sharp.serve()

    with pytest.raises(SkewError, match=r"of 40 answers \(.*%\) would be others by the offline vector") as caught:
        sharp.audit(max_moved=0.01)

    assert 3 == caught.value.exit_code
    metrics = (shop.root / "skew" / "skew.prom").read_text()
    assert f'model_jobs_skew_audited_rows{{model="{contract.model_name}"}} 40.0' in metrics
    assert f'model_jobs_skew_differences{{class="unexplained",model="{contract.model_name}"}} 0.0' in metrics
    assert not re.search(r"\b000\d\d\b", metrics)
    page = (shop.root / "skew" / "skew.html").read_text()
    assert "treat this page as you treat the log" in page
    assert not re.search(r"src=|href=|url\(|@import", page)
    assert 20 >= page.count(shop.model.tag) - 1 > 3


def _probabilities(shop: Shop) -> list[float]:
    shop.serve()
    table = ds.dataset(shop.artefacts.inference_log).to_table()
    return [value for value in table["churn_probability"].to_pylist() if value is not None]


def test_a_row_that_nothing_offline_explains_is_unexplained_and_fails_the_audit(shop: Shop) -> None:
    from feast.protos.feast.types.Value_pb2 import Value
    from google.protobuf.timestamp_pb2 import Timestamp

    shop.fill()
    with in_redis(shop, FEW[3]) as (client, key, field_of):
        at = Timestamp(seconds=int((NOW - timedelta(days=1)).timestamp()))
        client.hset(key, f"_ts:{LIFETIME}", at.SerializeToString())
        client.hset(key, field_of(SPEND), Value(double_val=1.0).SerializeToString())
    shop.serve()

    with pytest.raises(SkewError, match="1 are unexplained, 0 are allowed") as caught:
        shop.audit(max_unexplained=0)

    assert 3 == caught.value.exit_code
    report = json.loads((shop.root / "skew" / "skew.json").read_text())
    assert {SPEND: {"unexplained": 1}} == report["features"]
    assert "the offline store has no such row" == report["evidence"][0]["evidence"]
    assert "thresholds exceeded" == report["outcome"]


def test_decisions_of_which_the_offline_store_has_dropped_the_snapshot_are_said_to_be_so(
    world: Shop, tmp_path: Path
) -> None:
    orders = [*some_orders()[:200], ("stranger", NOW - timedelta(days=1), 1.0)]
    shop = world.anew(tmp_path, orders)
    shop.fill()
    shop.serve()
    # Builds of two weeks later keep daily snapshots of one, which end with the orders.
    for days in (14, 15):
        take(shop.artefacts, [*orders, ("stranger", NOW + timedelta(days=days - 1), 1.0)], NOW + timedelta(days=days))

    report = shop.audit(max_unexplained=0, max_moved=0.0)

    assert {"no_longer_stored"} == set(of_class(report))
    assert {"customer_orders_windowed"} == {name.split("__")[0] for name in report["features"]}
    assert (len(FEW), 0) == (report["moved"]["rows_not_replayable"], report["moved"]["rows"])
