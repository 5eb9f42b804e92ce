"""What was served is published through Feast, once, and `feast monitor` works on it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import bentoml
import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore

from artefacts.addresses import Artefacts
from contract import RawFeatures, Resolver
from jobs.errors import JobError
from jobs.feature_store import apply, feast_variables, open_feature_store
from jobs.inference_log import publish_to_feast as feast_log
from jobs.inference_log.publish_to_feast import publish_log
from scoring.inference_log import Answers, log_table
from scoring.models.imported_model import ImportedModel
from scoring.models.model_store import open_model
from scoring.outcomes import outcomes
from scoring.task_outputs import task_outputs
from service.inference_log.files import Limits, LogFiles
from tests.models.churn_model import churn_contract, churn_pipeline
from tests.models.fakes import store_model

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
COUNT, SPEND_7D, RECENCY = (
    "customer_lifetime__order_count",
    "customer_orders_windowed__spend_7d",
    "customer_recency__days_since_last_order",
)


@dataclass(frozen=True)
class Shop:
    artefacts: Artefacts
    model: ImportedModel

    def log(self, first: int, count: int = 10, model: ImportedModel | None = None) -> None:
        """Rows of customers `first` …, in a file of their own."""
        files = LogFiles(self.artefacts.inference_log, Limits(10**9, 600, 30))
        files.append(log_table(served(model or self.model, first, count)), NOW)
        files.close()

    def published(self) -> pa.Table:
        return ds.dataset(self.artefacts.offline_store / "feature_log" / "churn_v1").to_table()

    def ids(self) -> list[str]:
        ids: list[str] = sorted(self.published()["customer_id"].to_pylist())
        return ids


def served(model: ImportedModel, first: int, count: int) -> Answers:
    """Of ten customers one is unknown, one has stale windows, one lacks a value, and one a view."""
    numbers = np.arange(first, first + count)
    kind, k = numbers % 10, len(model.contract.inputs)
    names = model.contract.feature_names
    values = np.add.outer(numbers * 10.0, np.arange(k))
    times = np.full((count, 2), NOW.timestamp() - 3600 + 1e-6)  # a lifetime's row is one microsecond after its order
    windowed = [v.name for v in model.contract.feature_schema.views].index("customer_orders_windowed")
    of_windows = [column for column, f in enumerate(model.contract.inputs) if f.view == "customer_orders_windowed"]
    times[kind == 1] = values[kind == 1] = np.nan
    times[kind == 2, windowed] -= 3 * 86_400
    values[kind == 3, names.index(COUNT)] = np.nan
    times[kind == 4, windowed] = np.nan
    for column in of_windows:
        values[kind == 4, column] = np.nan
    resolved = Resolver.of(model.contract).resolve(
        RawFeatures(values, times), NOW.timestamp(), {names.index(RECENCY): np.where(kind == 5, 1.0, np.nan)}
    )
    return Answers(
        request_ids=[f"r{number}" for number in numbers],
        rows=[0] * count,
        keys=[f"{number:05d}" for number in numbers],
        as_of_unix_us=int(NOW.timestamp()) * 1_000_000,
        model=model,
        answered=np.ones(count, dtype=bool),
        resolved=resolved,
        outcomes=outcomes(resolved, model.score(resolved.matrix), task_outputs(model.contract)),
    )


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    root = tmp_path_factory.mktemp("shop")
    artefacts = Artefacts.of({}, root=root)
    apply(artefacts)
    BentoMLContainer.model_store.set(ModelStore(tmp_path_factory.mktemp("models")))
    contract = churn_contract(artefacts)
    made = store_model(root / "model", contract, churn_pipeline(contract.feature_names))
    with bentoml.models.create("test_churn:v1", module=__name__, labels=made.labels, metadata=made.metadata) as stored:
        for file in made.folder.iterdir():
            (Path(stored.path) / file.name).write_bytes(file.read_bytes())
    yield Shop(artefacts, open_model("test_churn:v1"))
    BentoMLContainer.model_store.reset()


@pytest.fixture
def shop(registered: Shop, tmp_path: Path) -> Iterator[Shop]:
    published = registered.artefacts.offline_store / "feature_log"
    yield replace(registered, artefacts=registered.artefacts.model_copy(update={"inference_log": tmp_path / "log"}))
    shutil.rmtree(published, ignore_errors=True)


def test_every_row_with_features_is_published_as_feast_logs_it(shop: Shop) -> None:
    shop.log(0)

    said = publish_log(shop.artefacts)

    rows = {row["customer_id"]: row for row in shop.published().to_pylist()}
    assert said.startswith("9 rows published")
    assert {f"{n:05d}" for n in range(10)} - {"00001"} == set(rows)
    fresh = rows["00006"]
    assert (60, 1, "r6", NOW, NOW.date()) == tuple(
        fresh[name] for name in (COUNT, f"{COUNT}__status", "__request_id", "__log_timestamp", "__log_date")
    )
    assert 3600 == NOW.timestamp() - fresh[f"{COUNT}__timestamp"].timestamp()
    assert int(NOW.timestamp()) * 1_000_000 == fresh["as_of"]


def test_where_the_model_saw_no_stored_value_there_is_none_and_the_status_says_why(shop: Shop) -> None:
    shop.log(0)
    publish_log(shop.artefacts)
    rows = {row["customer_id"]: row for row in shop.published().to_pylist()}

    found = [
        (rows[customer][name], rows[customer][f"{name}__status"], rows[customer][f"{name}__timestamp"] is None)
        for customer, name in (("00002", SPEND_7D), ("00003", COUNT), ("00004", SPEND_7D), ("00005", RECENCY))
    ]
    assert [(None, 4, False), (None, 2, False), (None, 3, True), (None, 0, False)] == found


def test_a_file_that_is_still_open_is_told_and_a_log_that_is_not_there_too(shop: Shop) -> None:
    assert "no inference log is there; a service with SERVICE_INFERENCE_LOG=true" in publish_log(shop.artefacts)
    files = LogFiles(shop.artefacts.inference_log, Limits(10**9, 600, 30))
    files.append(log_table(served(shop.model, 0, 10)), NOW)

    said = publish_log(shop.artefacts)
    files.close()

    assert said == (
        "0 rows published, of 0 files; 0 files of the log are complete; "
        "1 are still open, for SERVICE_INFERENCE_LOG_FILE_SECONDS at most"
    )
    assert publish_log(shop.artefacts).startswith("9 rows published, of 1 files; 1 files of the log are complete")


def test_each_file_is_published_once_and_new_ones_are_added(shop: Shop) -> None:
    shop.log(0)
    publish_log(shop.artefacts)
    once = shop.ids()
    assert "0 rows published, of 0 files; 1 files of the log are complete" == publish_log(shop.artefacts)
    assert once == shop.ids()

    shop.log(10)
    assert publish_log(shop.artefacts).startswith("9 rows published")
    assert 18 == len(shop.ids()) == len(set(shop.ids()))


def test_what_is_killed_half_way_is_published_by_the_next_run(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.log(0)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            publish_log(shop.artefacts)
    publish_log(shop.artefacts)

    assert 9 == len(shop.ids())


def test_a_file_that_is_still_written_waits(shop: Shop) -> None:
    files = LogFiles(shop.artefacts.inference_log, Limits(10**9, 600, 30))
    files.append(log_table(served(shop.model, 0, 10)), NOW)

    assert "0 files of the log are complete" in publish_log(shop.artefacts)
    files.close()
    assert publish_log(shop.artefacts).startswith("9 rows")


def test_a_damaged_file_and_a_model_that_is_gone_are_named_and_the_others_are_published(shop: Shop) -> None:
    shop.log(0)
    shop.log(10, model=replace(shop.model, tag="test_churn:v9"))
    damaged = shop.artefacts.inference_log / "date=2026-03-01" / "damaged.parquet"
    damaged.write_bytes(b"PAR1")

    with pytest.raises(JobError, match=r"2 of 3 files were not published.*test_churn:v9 is not in.*damaged\.parquet"):
        publish_log(shop.artefacts)

    assert 9 == len(shop.ids())


def test_rows_of_a_feature_service_that_is_gone_are_named_and_the_others_are_published(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = shop.model.contract.feature_schema.model_copy(update={"feature_service": "churn_v0"})
    old = replace(shop.model, tag="old:v1", contract=shop.model.contract.model_copy(update={"feature_schema": schema}))
    shop.log(0, model=old)
    shop.log(10)
    monkeypatch.setattr(feast_log, "open_model", {"old:v1": old, "test_churn:v1": shop.model}.__getitem__)

    with pytest.raises(
        JobError, match=r"1 of 2 files were not published.*feature service 'churn_v0' is not registered"
    ):
        publish_log(shop.artefacts)

    assert 9 == len(shop.ids())


def test_feast_monitor_runs_on_what_was_published(shop: Shop, tmp_path: Path) -> None:
    shop.log(0, 100)
    publish_log(shop.artefacts)
    repository = shutil.copytree(
        shop.artefacts.feature_repo, tmp_path / "feature_repo"
    )  # feast keeps its figures beside the YAML

    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("feast")),
            *("monitor", "run", "--source-type", "log", "--feature-service", "churn_v1"),
        ],
        cwd=repository,
        env={**os.environ, **feast_variables(shop.artefacts, tmp_path / "feature_store.yaml")},
        capture_output=True,
        text=True,
    )

    assert 0 == done.returncode, done.stderr
    assert "Feature services computed: 1" in done.stdout, done.stdout + done.stderr
    (figures,) = repository.glob("feast_monitoring/*feature_metrics*.parquet")
    daily = duckdb.sql(
        f"SELECT row_count, null_count FROM '{figures}' WHERE data_source_type = 'log' AND granularity = 'daily' "  # noqa: S608
        "AND feature_view_name = 'customer_orders_windowed' AND feature_name = 'spend_7d'"
    ).fetchall()
    assert [(90, 20)] == daily


def test_the_place_of_the_log_is_no_part_of_what_a_model_relies_on(shop: Shop) -> None:
    registered = open_feature_store(shop.artefacts).get_feature_service("churn_v1")

    assert str(shop.artefacts.offline_store / "feature_log" / "churn_v1") == registered.logging_config.destination.path
    assert "feature_log" not in churn_contract(shop.artefacts).to_json()
