"""Models of tables that somebody else fills: Parquet files and PostgreSQL, from `make init` to a champion."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psycopg
import pyarrow.parquet as pq
import pytest

from artefacts.addresses import Artefacts
from jobs.feature_store import apply, open_feature_store
from jobs.offline_store.foreign_sources import some_foreign_entity
from tests.servers.postgres import PASSWORD, USER, PostgresServer, needs_postgres, postgres
from tests.unit.training.tables.shop import customers
from training.data.dataset import TrainingData
from training.data.feature_service import made_of
from training.errors import DatasetError, UseCaseError
from training.promotion.moves import promote_trained
from training.promotion.registry_moves import OpenedRegistry
from training.promotion.retraining import retrain
from training.row_splits.split_rows import HELD_OUT, Part
from training.settings import TrainingSettings
from training.splits import read_splits
from training.tables.init import Asked, write_use_case
from training.tables.labels import table_labels
from training.tables.table import PostgresTable
from training.tracking.registry import contract_of
from training.train import train_version
from training.use_case import Binary
from training.use_case_folder import load_use_case

LOOSE = {"max_calibration_loss": 1, "max_auc_loss": 1, "max_segment_auc_loss": 1, "max_changed_decisions": 1}
NUMBERS = ["customer_id", "at", "tenure", "charge", "left"]


@dataclass
class Case:
    """A use case that `make init` wrote, with a registry of its own."""

    root: Path
    folder: Path

    @property
    def artefacts(self) -> Artefacts:
        return Artefacts.of({"USE_CASE": str(self.folder)}, self.root)  # MLflow leaves its address in the process's own

    def settings(self, **changed: Any) -> TrainingSettings:
        return TrainingSettings(bootstrap_resamples=40, max_slowdown=1_000, **changed)

    def opened(self, **changed: Any) -> OpenedRegistry:
        return OpenedRegistry.of(self.artefacts, self.settings(**changed))


def initialised(root: Path, monkeypatch: pytest.MonkeyPatch, name: str, table: str, **asked: Any) -> Case:
    """As `make init apply` leave it."""
    given = {"keys": ("customer_id",), "time": "at", "target": "left"} | asked
    root, place = root / "project", table if "://" in table else str(root / table)  # not of this project
    made = write_use_case(Asked(name=name, table=place, **given), os.environ, root)
    monkeypatch.setenv("USE_CASE", str(made.folder))
    monkeypatch.setenv("OFFLINE_STORE_DIR", str(root / "var" / "use_cases" / name / "offline_store"))
    case = Case(root, made.folder)
    apply(case.artefacts)
    return case


def trained(case: Case) -> str:
    opened = case.opened()
    return str(
        promote_trained(opened, train_version(opened.client, opened.artefacts, opened.settings)).entry.to_version
    )


def test_a_folder_of_parquet_files_is_trained_on_and_new_rows_are_new_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "tables" / "month=1"
    table.mkdir(parents=True)
    customers(1500)[NUMBERS].to_parquet(table / "rows.parquet", index=False)
    case = initialised(tmp_path, monkeypatch, "leavers", "tables", label_days=28)

    assert "1" == trained(case)

    contract = contract_of(case.opened().client.get_model_version("leavers", "1"))
    assert (28, ["leavers__tenure", "leavers__charge"]) == (contract.label_days, contract.feature_names)
    fitted_until, test_from = (pd.Timestamp(contract.training_window[end]) for end in ("labels_until", "counted_at"))
    assert fitted_until <= test_from
    assert retrain(case.opened()) is None
    later = customers(500, seed=2)[NUMBERS].assign(at=lambda rows: rows["at"] + pd.Timedelta(days=290))
    later["customer_id"] += 5000
    (tmp_path / "tables" / "month=2").mkdir()
    later.to_parquet(tmp_path / "tables" / "month=2" / "rows.parquet", index=False)
    challenger = retrain(
        case.opened(max_calibration_loss=1, max_auc_loss=1, max_segment_auc_loss=1, max_changed_decisions=1)
    )
    assert challenger is not None
    assert "trained on new data, and passed the gate" == challenger.entry.why


def test_the_features_of_a_row_are_those_of_its_time_and_none_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = customers(800)[NUMBERS]
    again = frame.assign(at=frame["at"] + pd.Timedelta(hours=6), tenure=-1, charge=-1.0)
    pd.concat([frame, again]).to_parquet(tmp_path / "rows.parquet", index=False)
    case = initialised(tmp_path, monkeypatch, "leavers", "rows.parquet")
    data = TrainingData(case.artefacts, "leavers_v1")
    asked = frame.rename(columns={"at": "event_timestamp"}).astype({"event_timestamp": "datetime64[us, UTC]"})

    rows = data.rows([Part(asked)], Binary("left", ("no", "yes")))

    np.testing.assert_array_equal(frame["tenure"], rows.columns["leavers__tenure"])
    np.testing.assert_array_equal(frame["charge"], rows.columns["leavers__charge"])
    assert {0.0} == set(data.view_ages(rows.entities)["leavers"])


def test_entities_of_a_csv_file_without_times_are_drawn_and_a_later_version_is_held_against_the_champion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = customers(1500)[NUMBERS].drop(columns="at")
    frame.to_csv(tmp_path / "customers.csv", index=False)
    case = initialised(tmp_path, monkeypatch, "drawn", "customers.csv", time=None)
    table = case.artefacts.offline_store / "table.parquet"
    assert "1" == trained(case)
    rows = pq.read_table(table).to_pandas()

    pd.concat([rows, rows.assign(customer_id=rows["customer_id"] + 5000)]).to_parquet(table, index=False)
    challenger = retrain(case.opened(**LOOSE))

    assert challenger is not None
    contract = contract_of(case.opened().client.get_model_version("drawn", "2"))
    assert "0.15 of customer_id by seed 17" == contract.training_window[HELD_OUT]
    assert (None, "left") == (contract.label_days, contract.label and contract.label.definition)


def test_rows_of_composite_keys_are_joined_by_all_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = customers(1200)[NUMBERS].assign(shop_id=lambda rows: "s" + (rows["tenure"] % 3).astype(str))
    frame["customer_id"] = frame["customer_id"] % 400
    frame = frame.drop_duplicates(["customer_id", "shop_id", "at"])
    frame.to_parquet(tmp_path / "rows.parquet", index=False)
    case = initialised(tmp_path, monkeypatch, "pairs", "rows.parquet", keys=("customer_id", "shop_id"))

    splits = read_splits(case.artefacts, load_use_case(case.folder), case.settings())

    for split in splits.by_name.values():
        asked = split.rows.entities.merge(
            frame.astype({"at": "datetime64[us, UTC]"}),
            left_on=["customer_id", "shop_id", "event_timestamp"],
            right_on=["customer_id", "shop_id", "at"],
        )
        np.testing.assert_array_equal(asked["tenure"], split.rows.columns["pairs__tenure"])
    assert {0.0} == set(splits.test_ages()["pairs"])
    shown = some_foreign_entity(
        store := open_feature_store(case.artefacts), [store.get_feature_view("pairs")], ["shop_id", "customer_id"]
    )
    assert [*shown] == ["shop_id", "customer_id"]
    assert (frame[["shop_id", "customer_id"]] == list(shown.values())).all(axis=1).any()


def test_without_a_file_the_source_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    customers(800)[NUMBERS].to_parquet(tmp_path / "rows.parquet", index=False)
    case = initialised(tmp_path, monkeypatch, "leavers", "rows.parquet")
    (tmp_path / "rows.parquet").unlink()

    with pytest.raises(
        DatasetError, match=r"feature view 'leavers': its source 'leavers_rows' cannot be read: .*No files"
    ):
        made_of(case.artefacts, "leavers_v1")
    with pytest.raises(DatasetError, match=r"its source 'leavers_rows' cannot be read: .*No files"):
        train_version(case.opened().client, case.artefacts, case.settings())


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres() as running:
        yield running


@pytest.fixture
def shop(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> PostgresServer:
    """A table `shop.customers`, and the environment that finds it."""
    server.execute("DROP SCHEMA IF EXISTS shop CASCADE")
    server.execute("CREATE SCHEMA shop")
    server.execute(f"ALTER USER {USER} SET timezone TO 'Asia/Tokyo'")
    server.execute(
        'CREATE TABLE shop.customers (customer_id bigint, at timestamptz, tenure int, charge float8, "left" text)'
    )
    fill(server, customers(1200)[NUMBERS])
    address = {"PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PGDATABASE": "postgres", "PGUSER": USER}
    for name, value in {**address, "PGPASSWORD": PASSWORD}.items():
        monkeypatch.setenv(name, value)
    return server


def fill(server: PostgresServer, rows: pd.DataFrame) -> None:
    values = rows.assign(at=rows["at"].map(pd.Timestamp.isoformat)).to_numpy(dtype=object).tolist()
    nulled = [[None if value != value else value for value in row] for row in values]  # only NaN differs from itself
    with psycopg.connect(server.url()) as connection:
        connection.cursor().executemany("INSERT INTO shop.customers VALUES (%s, %s, %s, %s, %s)", nulled)


@needs_postgres
def test_a_table_in_postgres_is_trained_on_and_new_rows_are_new_data(
    shop: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = initialised(tmp_path, monkeypatch, "leavers", "postgresql:///postgres?table=shop.customers")

    assert "1" == trained(case)

    splits = read_splits(case.artefacts, load_use_case(case.folder), case.settings())
    assert {0.0} == set(splits.test_ages()["leavers"])
    assert retrain(case.opened()) is None
    before = made_of(case.artefacts, "leavers_v1")
    fill(shop, customers(1, seed=3)[NUMBERS].assign(customer_id=1))
    assert before != made_of(case.artefacts, "leavers_v1")


@needs_postgres
def test_no_file_of_the_use_case_names_the_address_or_the_password(shop: PostgresServer, tmp_path: Path) -> None:
    url = f"{shop.url()}?table=shop.customers"

    made = write_use_case(Asked("leavers", url, ("customer_id",), "at", "left"), {}, tmp_path)

    texts = "".join(file.read_text() for file in made.folder.rglob("*") if file.is_file())
    assert not [word for word in (PASSWORD, str(shop.port), "127.0.0.1") if word in texts]
    assert "PGPASSWORD=…" in made.notes[-1]
    assert PASSWORD not in "".join(made.notes)


@needs_postgres
def test_postgres_down_and_a_table_that_is_not_there_are_named(
    shop: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Asked("leavers", "postgresql:///postgres?table=shop.orders", ("customer_id",), "at", "left")
    with pytest.raises(DatasetError, match=r"PostgreSQL has no table 'shop.orders', or hides it from PGUSER"):
        write_use_case(asked, os.environ, tmp_path)
    case = initialised(tmp_path, monkeypatch, "leavers", "postgresql:///postgres?table=shop.customers")
    shop.execute("ALTER TABLE shop.customers RENAME TO clients")
    with pytest.raises(DatasetError, match=r"its source 'leavers_rows' cannot be read: .*shop.customers"):
        made_of(case.artefacts, "leavers_v1")
    monkeypatch.setenv("PGPORT", "1")

    with pytest.raises(DatasetError, match=r"PostgreSQL at 127.0.0.1:1/postgres \(PGHOST, .*refused"):
        write_use_case(asked, os.environ, tmp_path)
    with pytest.raises(DatasetError, match=r"its source 'leavers_rows' cannot be read: .*refused"):
        made_of(case.artefacts, "leavers_v1")


@needs_postgres
def test_types_that_a_key_and_a_time_cannot_have_are_named(shop: PostgresServer) -> None:
    shop.execute("ALTER TABLE shop.customers ALTER COLUMN at TYPE timestamp")
    labels = table_labels(PostgresTable("shop.customers"), key="customer_id", time="at", target="left")

    with pytest.raises(
        DatasetError, match=r"time 'at' is timestamp\[us\], without a zone; .*PostgreSQL: ALTER COLUMN at"
    ):
        labels(os.environ).labelled()


def test_splits_of_the_other_kind_are_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    customers(800)[NUMBERS].to_parquet(tmp_path / "rows.parquet", index=False)
    case = initialised(tmp_path, monkeypatch, "leavers", "rows.parquet")
    file = case.folder / "use_case.py"
    file.write_text(file.read_text().replace("TableSplits", "TimeSplits"))
    load_use_case.cache_clear()

    with pytest.raises(UseCaseError, match=r"labels: TableLabels has no rows at cut-offs, which TimeSplits ask for"):
        read_splits(case.artefacts, load_use_case(case.folder), case.settings())


def test_a_csv_file_of_texts_nulls_and_whole_numbers_as_keys_becomes_a_champion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    customers(1500).to_csv(tmp_path / "customers.csv", index=False)
    case = initialised(tmp_path, monkeypatch, "leavers", "customers.csv")

    assert "1" == trained(case)

    inputs = contract_of(case.opened().client.get_model_version("leavers", "1")).inputs
    assert {
        "leavers__plan": ("basic", "plus", "pro"),
        "leavers__city": ("Oslo", "Rome"),
        "leavers__tenure": None,
        "leavers__charge": None,
    } == {given.name: given.vocabulary for given in inputs}
    assert ["leavers__city", "leavers__charge"] == [given.name for given in inputs if given.on_missing == "keep"]
