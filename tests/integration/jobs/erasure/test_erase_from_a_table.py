"""A customer of a table that was imported from a CSV file is erased, and the next import does not bring them back."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from artefacts.addresses import Artefacts
from jobs.erasure.erase import Erasure, erase
from jobs.local import embedded_redis
from jobs.materialization.materialize import materialize
from jobs.settings import JobsSettings
from tests.integration.training.test_tables import NUMBERS, Case, initialised
from tests.unit.training.tables.shop import customers
from training.tables.csv_file import import_csv, types_of

CUSTOMER = 10_007


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    redis = tmp_path / "redis"
    monkeypatch.setenv("REDIS_URL", embedded_redis.start(root=redis))
    customers(1200)[NUMBERS].to_csv(tmp_path / "rows.csv", index=False)
    try:
        yield initialised(tmp_path, monkeypatch, "leavers", "rows.csv")
    finally:
        embedded_redis.stop(root=redis)


def test_nothing_is_left_and_the_next_import_keeps_the_customer_away(case: Case, tmp_path: Path) -> None:
    redis_url = embedded_redis.start(root=tmp_path / "redis")
    artefacts: Artefacts = case.artefacts.model_copy(update={"redis_url": redis_url})
    table = artefacts.offline_store / "table.parquet"
    materialize(artefacts, datetime.now(UTC))
    assert CUSTOMER in set(pd.read_parquet(table)["customer_id"])

    said = erase(artefacts, None, Erasure(str(CUSTOMER), out=tmp_path / "receipts"), JobsSettings())

    assert "none left" in said
    (receipt,) = (tmp_path / "receipts").glob("*.json")
    told = json.loads(receipt.read_text())
    assert ({str(table): 1}, {"keys": 1}, []) == (told["erased"]["files"], told["erased"]["Redis"], told["left"])
    file = tmp_path / "rows.csv"
    rows = import_csv(file, table, types_of(file), keys=["customer_id"], time="at", now=datetime.now(UTC))
    assert (1199, False) == (rows, CUSTOMER in set(pd.read_parquet(table)["customer_id"]))
