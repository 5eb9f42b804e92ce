"""Batch scoring on Spark: with the imported model and no other, verified where it is loaded."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artefacts.addresses import Artefacts
from artefacts.output_columns import read_outputs
from artefacts.prediction_rows import prediction_schema
from contract.tasks import TaskKind
from jobs.batch.score_batch import BatchRequest, score_batch
from jobs.batch.score_batch_spark import score_batch_on_spark
from jobs.errors import JobError
from jobs.feature_store import apply
from jobs.features.build import build_features
from jobs.settings import JobsSettings
from scoring.agreement import reproduced, same_answers
from scoring.errors import ModelError
from scoring.models.imported_model import ImportedModel, PackedScorer
from tests.integration.jobs.batch.test_score_batch import NOW, Shop, _orders
from tests.models.churn_model import churn_model, task_model_of
from tests.servers.spark import SPARK, needs_spark, session_for_tests
from training.churn.own_orders import write_own
from training.churn.source.addresses import OrderAddresses

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.usefixtures("session")


@pytest.fixture(scope="module")
def session() -> Iterator["SparkSession"]:
    with session_for_tests() as opened:
        yield opened


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """A shop without an MLflow registry, and a model of its own that may be damaged."""
    artefacts = Artefacts.of({"MLFLOW_TRACKING_URI": "nowhere://"}, root=tmp_path)
    orders = OrderAddresses.of({}, tmp_path)
    lines = [f"{customer},{at.isoformat()},{amount},1" for customer, at, amount in _orders()]
    own = tmp_path / "own.csv"
    own.write_text("\n".join(["customer_id,event_timestamp,amount,items", *lines]) + "\n")
    write_own(orders.orders, own, NOW)
    build_features(artefacts, orders, JobsSettings(), NOW)
    apply(artefacts)
    return Shop(artefacts, churn_model(artefacts, tmp_path / "model"), tmp_path / "predictions")


def rows(partition: Path) -> list[dict[str, Any]]:
    return sorted(pq.read_table(partition).to_pylist(), key=lambda row: str(row["customer_id"]))


@needs_spark
def test_it_says_what_one_machine_says_and_asks_no_registry(shop: Shop, tmp_path: Path) -> None:
    here = rows(score_batch(shop.artefacts, shop.model, BatchRequest(NOW, tmp_path / "here"), NOW).partition)

    there = rows(score_batch_on_spark(shop.artefacts, shop.model, BatchRequest(NOW, shop.out), SPARK, NOW).partition)

    assert [row["customer_id"] for row in here] == [row["customer_id"] for row in there]
    assert np.allclose(
        [row["churn_probability"] for row in here], [row["churn_probability"] for row in there], atol=1e-6
    )
    assert [row["status"] for row in here] == [row["status"] for row in there]


@needs_spark
def test_a_file_that_was_altered_since_the_model_was_opened_is_refused_and_nothing_is_written(shop: Shop) -> None:
    file = shop.model.folder / "model.onnx"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))

    with pytest.raises(ModelError, match=r"model\.onnx was altered since it was imported"):
        score_batch_on_spark(shop.artefacts, shop.model, BatchRequest(NOW, shop.out), SPARK, NOW)

    assert not list(shop.out.rglob("*.parquet"))


@needs_spark
def test_an_executor_that_gets_other_bytes_loads_none_of_them_and_nothing_is_written(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = shop.model.packed()

    def exchanged(_: ImportedModel) -> PackedScorer:
        return replace(packed, content=packed.content + b"\0")

    monkeypatch.setattr(ImportedModel, "packed", exchanged)

    with pytest.raises(JobError, match=r"model\.onnx was altered since it was imported"):
        score_batch_on_spark(shop.artefacts, shop.model, BatchRequest(NOW, shop.out), SPARK, NOW)

    assert not list(shop.out.rglob("*.parquet"))


@needs_spark
@pytest.mark.parametrize("kind", ["multiclass", "regression"])
def test_each_task_is_scored_as_on_one_machine_and_as_the_service_would(
    shop: Shop, tmp_path: Path, kind: TaskKind
) -> None:
    model = task_model_of(shop.model, kind, tmp_path / "other")
    contract = model.contract
    here = score_batch(shop.artefacts, model, BatchRequest(NOW, tmp_path / "here"), NOW).partition
    there = score_batch_on_spark(shop.artefacts, model, BatchRequest(NOW, shop.out), SPARK, NOW).partition

    one, other = (pa.concat_tables(map(pq.read_table, sorted(of.glob("*.parquet")))) for of in (here, there))
    one, other = one.sort_by("customer_id"), other.sort_by("customer_id")
    assert one.schema == other.schema == prediction_schema(contract)
    assert one["customer_id"] == other["customer_id"]
    assert one["status"] == other["status"]
    of_one, of_other = read_outputs(one, contract), read_outputs(other, contract)
    assert same_answers(of_one, of_other, contract).all()
    assert reproduced(of_one, of_other, contract).all()
    assert len(np.unique(of_one[-1])) > 1
