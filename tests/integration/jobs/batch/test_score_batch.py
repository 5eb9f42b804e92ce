"""Batch scoring: the rows that were known at a time, scored like the online plane, put in place whole or not at all."""

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artefacts.addresses import Artefacts
from contract import ContractMismatchError
from jobs.batch import score_batch as batch
from jobs.batch.score_batch import BatchRequest, BatchResult, score_batch
from jobs.errors import JobError
from jobs.feature_store import apply
from jobs.features.build import build_features
from jobs.settings import JobsSettings
from scoring.models.imported_model import ImportedModel
from tests.models.churn_model import churn_model
from training.churn.own_orders import write_own
from training.churn.source.addresses import OrderAddresses

NOW = datetime.now(UTC).replace(microsecond=0)
MIDNIGHT = NOW.replace(hour=0, minute=0, second=0)
SPEND = "customer_lifetime__total_spend"
NEW_TODAY, EARLY, BETWEEN = "00099", "00001", "00098"
WITHOUT_WINDOWS = MIDNIGHT - timedelta(days=296)
REFUSED_IF_MISSING = "customer_orders_windowed__order_count_7d"


def _orders() -> list[tuple[str, datetime, float]]:
    """60 customers over 240 days; `EARLY` ordered 300 days ago already, `NEW_TODAY` for the first time today.

    `BETWEEN` came on a day without a snapshot, and `WITHOUT_WINDOWS` is the day after it.
    """
    many = [
        (f"{n % 60 + 1:05d}", MIDNIGHT - timedelta(days=1 + (n * 7) % 240, minutes=n % 50), (n * 31 % 500) / 10)
        for n in range(400)
    ]
    early = [(EARLY, MIDNIGHT - timedelta(days=300), 9.0), (BETWEEN, MIDNIGHT - timedelta(days=297), 4.0)]
    return [*many, *early, (NEW_TODAY, MIDNIGHT, 5.0)]


@dataclass(frozen=True)
class Shop:
    artefacts: Artefacts
    model: ImportedModel
    out: Path

    def score(
        self, as_of: datetime = NOW, customers: Path | None = None, model: ImportedModel | None = None
    ) -> BatchResult:
        return score_batch(self.artefacts, model or self.model, BatchRequest(as_of, self.out, customers), NOW)

    def rows(self, as_of: datetime = NOW, customers: Path | None = None) -> dict[str, dict[str, Any]]:
        """Customer → the row of its prediction."""
        table = pq.read_table(next(self.score(as_of, customers).partition.glob("*.parquet")))
        rows = table.to_pylist()
        assert sorted(row["customer_id"] for row in rows) == [row["customer_id"] for row in rows]
        return {row["customer_id"]: row for row in rows}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    root = tmp_path_factory.mktemp("batch")
    artefacts, orders = Artefacts.of({}, root=root), OrderAddresses.of({}, root)
    lines = [f"{customer},{at.isoformat()},{amount},1" for customer, at, amount in _orders()]
    own = root / "own.csv"
    own.write_text("\n".join(["customer_id,event_timestamp,amount,items", *lines]) + "\n")
    write_own(orders.orders, own, NOW)
    build_features(artefacts, orders, JobsSettings(), NOW)
    apply(artefacts)
    return Shop(artefacts, churn_model(artefacts, root / "model"), root / "never")


@pytest.fixture
def shop(built: Shop, tmp_path: Path) -> Shop:
    return Shop(built.artefacts, built.model, tmp_path / "predictions")


def listed(folder: Path, text: str, name: str = "customers.csv") -> Path:
    file = folder / name
    file.write_text(text)
    return file


def test_everybody_who_had_ordered_by_then_is_scored_once(shop: Shop) -> None:
    rows = shop.rows()

    assert {customer for customer, at, _ in _orders() if at < NOW} == set(rows)
    assert all(0 < row["churn_probability"] < 1 for row in rows.values())
    assert all(row["churn"] == (row["churn_probability"] >= 0.5) for row in rows.values())
    assert {("test_churn", "1", NOW)} == {(r["model_name"], r["model_version"], r["as_of"]) for r in rows.values()}


def test_a_customer_without_a_row_in_one_view_is_degraded_and_told_which_features_are_missing(shop: Shop) -> None:
    row = shop.rows(WITHOUT_WINDOWS)[BETWEEN]

    assert "degraded" == row["status"]
    assert {("missing", "default", None)} == {(i["state"], i["used"], i["age_seconds"]) for i in row["feature_issues"]}
    assert all(issue["feature"].startswith("customer_orders_windowed__") for issue in row["feature_issues"])


def test_a_customer_who_is_new_today_lacks_nothing(shop: Shop) -> None:
    row = shop.rows()[NEW_TODAY]

    assert ("ok", []) == (row["status"], row["feature_issues"])


def test_features_are_those_of_the_time_and_their_ages_too(shop: Shop) -> None:
    as_of = NOW - timedelta(days=20)  # between two snapshots of the grid: older than their TTL

    row = shop.rows(as_of)[EARLY]

    stale = [issue for issue in row["feature_issues"] if issue["state"] == "stale"]
    assert stale
    assert {"customer_orders_windowed"} == {issue["feature"].split("__")[0] for issue in stale}
    assert all(issue["age_seconds"] > timedelta(days=2).total_seconds() for issue in stale)
    assert {EARLY, BETWEEN} == shop.rows(MIDNIGHT - timedelta(days=290)).keys()
    assert {EARLY} == shop.rows(MIDNIGHT - timedelta(days=299)).keys()


def test_listed_customers_are_scored_and_no_others_and_an_unknown_one_is_said_to_be_unknown(
    shop: Shop, tmp_path: Path
) -> None:
    rows = shop.rows(customers=listed(tmp_path, "customer_id\nnobody\n00002\n00002\nZoë\n00001\n"))

    assert ["00001", "00002", "Zoë", "nobody"] == list(rows)
    unknown = rows["nobody"]
    assert ("unknown_customer", None, None, []) == (
        unknown["status"],
        unknown["churn_probability"],
        unknown["churn"],
        unknown["feature_issues"],
    )


def test_features_in_the_list_replace_looked_up_ones_for_that_customer_alone(shop: Shop, tmp_path: Path) -> None:
    plain = shop.rows(customers=listed(tmp_path, "customer_id\n00001\n00002\n"))

    rows = shop.rows(customers=listed(tmp_path, f"customer_id,{SPEND}\n00001,900.5\n00002,\n"))

    assert plain["00002"] == rows["00002"]
    assert plain["00001"]["churn_probability"] != rows["00001"]["churn_probability"]
    assert [{"feature": SPEND, "state": "overridden", "age_seconds": None, "used": "value"}] == rows["00001"][
        "feature_issues"
    ]


def test_a_refused_row_has_no_probability_and_says_why(shop: Shop, tmp_path: Path) -> None:
    strict = churn_model(shop.artefacts, tmp_path / "strict", refuse_missing=(REFUSED_IF_MISSING,))

    done = shop.score(WITHOUT_WINDOWS, model=strict)

    rows = {row["customer_id"]: row for row in pq.read_table(done.partition / "part-0.parquet").to_pylist()}
    row = rows[BETWEEN]
    assert ("refused", None, None) == (row["status"], row["churn_probability"], row["churn"])
    assert {None} == {issue["used"] for issue in row["feature_issues"]}
    assert sum(each["status"] == "refused" for each in rows.values()) == done.statuses["refused"]


def test_small_chunks_give_the_same_rows_as_one_large_one(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = shop.rows()

    monkeypatch.setattr(batch, "KEYS_PER_CHUNK", 7)

    assert whole == shop.rows()


def test_all_predictions_are_read_as_one_table(shop: Shop, tmp_path: Path) -> None:
    elsewhere = replace(shop, out=tmp_path / "predictions")
    times = [NOW, NOW - timedelta(days=1)]
    made = [elsewhere.score(as_of).rows for as_of in times]

    table = pd.read_parquet(elsewhere.out)

    assert sum(made) == len(table)
    assert {shop.model.contract.model_version} == set(table["model_version"])
    assert set(times) == {at.to_pydatetime() for at in table["as_of"].unique()}


def test_a_folder_that_cannot_be_written_to_is_named_in_one_line(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(JobError, match=r"file: the predictions cannot be written: Not a directory$"):
        replace(shop, out=tmp_path / "file").rows()


def test_a_rerun_replaces_its_own_partition_and_no_other(shop: Shop, tmp_path: Path) -> None:
    yesterday = NOW - timedelta(days=1)
    before = shop.score(yesterday).partition
    first = shop.score()
    kept = (before / "part-0.parquet").read_bytes()

    again = shop.score(customers=listed(tmp_path, "customer_id\n00001\n"))

    assert first.partition == again.partition
    assert 1 == pq.read_table(again.partition).num_rows
    assert kept == (before / "part-0.parquet").read_bytes()
    assert [] == [f for f in shop.out.rglob("*") if f.name.endswith((".partial", ".old"))]


def test_a_run_that_fails_half_way_leaves_what_was_there(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    before = shop.rows()
    monkeypatch.setattr(batch, "KEYS_PER_CHUNK", 7)
    chunks = iter([shop.model.score] * 2)
    broken = replace(shop.model, score=lambda matrix: next(chunks)(matrix))

    with pytest.raises(RuntimeError):  # how a generator says that its iterator came to an end
        shop.score(model=broken)

    monkeypatch.undo()
    (file,) = list(shop.out.rglob("*.parquet"))
    assert before == {row["customer_id"]: row for row in pq.read_table(file).to_pylist()}


@pytest.mark.parametrize(
    ("as_of", "why"),
    [(NOW + timedelta(hours=1), "lies in the future"), (NOW - timedelta(days=4000), "no customer has features at")],
)
def test_a_time_of_which_nothing_is_known_is_refused_and_nothing_is_written(
    shop: Shop, as_of: datetime, why: str
) -> None:
    with pytest.raises(JobError, match=why):
        shop.score(as_of)

    assert [] == list(shop.out.rglob("*.parquet"))
    assert [] == [f for f in shop.out.rglob("*") if f.is_dir() and f.name.startswith(("as_of", "."))]


def test_a_registry_that_does_not_keep_the_contract_is_refused(shop: Shop, tmp_path: Path) -> None:
    contract = shop.model.contract
    schema = contract.feature_schema.model_copy(update={"transformations": {"customer_recency": "0" * 64}})
    other = replace(shop.model, contract=contract.model_copy(update={"feature_schema": schema}))

    with pytest.raises(ContractMismatchError, match="customer_recency"):
        shop.score(model=other)


@pytest.mark.parametrize("damage", ["garbage", "no column"])
def test_a_damaged_offline_store_is_refused_by_file_name_and_nothing_is_written(
    shop: Shop, tmp_path: Path, damage: str
) -> None:
    copied = shop.artefacts.model_copy(update={"offline_store": tmp_path / "offline"})
    view = tmp_path / "offline" / "current" / "customer_lifetime" / "2024-01"
    view.mkdir(parents=True)
    if damage == "garbage":
        (view / "part-0.parquet").write_bytes(b"PAR1 garbage PAR1")
    else:
        pq.write_table(pa.table({"customer_id": ["a"]}), view / "part-0.parquet")

    with pytest.raises(JobError, match=r"part-0\.parquet|customer_orders_windowed"):
        score_batch(_applied(copied, tmp_path), shop.model, BatchRequest(NOW, shop.out), NOW)

    assert not list(shop.out.rglob("*.parquet"))


def _applied(artefacts: Artefacts, folder: Path) -> Artefacts:
    """The registry records where the offline store is, so another one needs a registry of its own."""
    with_registry = artefacts.model_copy(update={"feast_registry": str(folder / "registry.db")})
    apply(with_registry)
    return with_registry


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("id\na\n", "has no column 'customer_id'"),
        ("customer_id,customer_lifetime__typo\na,1\n", "customer_lifetime__typo"),
        ("customer_id\n", "no rows"),
        ('customer_id\na\n""\n', "row 2: expected a key"),
        (f"customer_id,{SPEND}\na,many\n", rf"{SPEND}, row 1"),
        (f"customer_id,{SPEND}\na,1\na,2\n", "'a' occurs twice"),
        ("", "cannot be read as csv"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused_with_its_column_and_row(
    shop: Shop, tmp_path: Path, text: str, why: str
) -> None:
    with pytest.raises(JobError, match=why):
        shop.score(customers=listed(tmp_path, text))


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())], ids=str)
def test_a_list_may_hold_any_kind_of_text(shop: Shop, tmp_path: Path, kind: pa.DataType) -> None:
    file = tmp_path / "customers.parquet"
    pq.write_table(pa.table({"customer_id": pa.array([EARLY, NEW_TODAY]).cast(kind)}), file)

    assert {EARLY, NEW_TODAY} == set(shop.rows(customers=file))


def test_whole_numbers_in_a_list_are_taken_as_text(shop: Shop, tmp_path: Path) -> None:
    file = tmp_path / "customers.parquet"
    pq.write_table(pa.table({"customer_id": [1, 2**53 + 1]}), file)

    assert {"1", "9007199254740993"} == set(shop.rows(customers=file))


def test_a_list_with_other_numbers_for_ids_is_refused(shop: Shop, tmp_path: Path) -> None:
    file = tmp_path / "customers.parquet"
    pq.write_table(pa.table({"customer_id": [1.0, 2.0]}), file)

    with pytest.raises(JobError, match="column customer_id is double; expected text or whole numbers"):
        shop.score(customers=file)


def test_a_list_that_is_not_there_or_of_another_kind_is_refused(shop: Shop, tmp_path: Path) -> None:
    for file in (tmp_path / "nowhere.csv", listed(tmp_path, json.dumps([]), "customers.json")):
        with pytest.raises(JobError, match=str(file)):
            shop.score(customers=file)
