"""Labels of a log, as the churn use case tells them from orders whose times are known."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artefacts.errors import SourceError
from contract import Label, ModelContract
from jobs.__main__ import main
from jobs.errors import JobError
from jobs.quality.labels import LabelRequest, LabelSummary, NothingDueError, make_labels
from scoring.errors import ModelError
from scoring.models.imported_model import ImportedModel
from scoring.pseudonyms import Pseudonyms
from tests.models.labelled_log import Asked, LabelledLog, small_model
from tests.models.orders import Order, write_orders
from training.churn.source.addresses import OrderAddresses

OBSERVED = datetime.fromisoformat("2024-06-10T00:00:00+00:00")  # as `write_orders` describes them
DUE = OBSERVED - timedelta(days=90)
MICROSECOND = timedelta(microseconds=1)
KEY = "0123456789abcdef" * 4


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ImportedModel:
    return small_model(tmp_path_factory.mktemp("model"), "7")


class Shop:
    """A log, and orders of its customers."""

    def __init__(self, root: Path, model: ImportedModel) -> None:
        self.log = LabelledLog(root)
        self.artefacts = self.log.artefacts
        self.environ = {"ORDERS_PATH": str(root / "orders.parquet"), "STREAMED_ORDERS_DIR": str(root / "streamed")}
        self.orders = OrderAddresses.of(self.environ)
        self.out = root / "labels.parquet"
        self.model = model

    def ask(self, customers: Sequence[str], at: datetime, prefix: str = "r") -> None:
        asked = Asked.some(len(customers), at, seed=1)
        requests = [f"{prefix}-{customer}" for customer in customers]
        self.log.put(replace(asked, customer_ids=list(customers), request_ids=requests).answers(self.model))

    def order(self, *times: tuple[str, datetime]) -> None:
        write_orders(self.orders.orders, [_order(n, *time) for n, time in enumerate(times)])

    def store(self, *customers: str) -> None:
        """They have features in the offline store."""
        file = self.artefacts.offline_store / "current" / "view" / "2024-06" / "part-0.parquet"
        file.parent.mkdir(parents=True)
        pq.write_table(pa.table({"customer_id": customers}), file)

    def label(
        self, days: int | None = 90, id_key_file: Path | None = None, until: datetime | None = None
    ) -> LabelSummary:
        return make_labels(
            self.artefacts, self.environ, LabelRequest(self.out, days, until=until, id_key_file=id_key_file)
        )

    def churned(self) -> dict[str, bool]:
        rows = pq.read_table(self.out).to_pylist()
        return {row["customer_id"]: row["label"] for row in rows}


def _order(number: int, customer: str, at: datetime) -> Order:
    return f"o{number}", customer, at, 10.0, 1


@pytest.fixture
def shop(tmp_path: Path, model: ImportedModel) -> Shop:
    return Shop(tmp_path, model)


def test_who_orders_nothing_from_the_answer_on_until_the_days_are_over_has_left(shop: Shop) -> None:
    end = DUE + timedelta(days=90)
    shop.order(
        ("before", DUE - MICROSECOND),
        ("at once", DUE),
        ("at last", end - MICROSECOND),
        ("too late", end),
        ("often", DUE - timedelta(days=5)),
        ("often", DUE + timedelta(days=5)),
        ("often", end + timedelta(days=5)),
    )
    customers = ["before", "at once", "at last", "too late", "often", "never seen"]
    shop.ask(customers, DUE)

    made = shop.label()

    assert (6, 3, 0) == (made.labels, made.positive, made.not_due)
    assert {"before", "too late", "never seen"} == {customer for customer, left in shop.churned().items() if left}
    first = pq.read_table(shop.out).sort_by("request_id").slice(0, 1).to_pylist()[0]
    assert {
        "request_id": "r-at last",
        "row": 0,
        "customer_id": "at last",
        "as_of": DUE,
        "label": False,
        "label_days": 90,
    } == first


def test_each_answer_is_labelled_over_as_many_days_as_its_model_predicts(shop: Shop, tmp_path: Path) -> None:
    monthly = replace(shop.model, tag="small_churn:v8", contract=promising(shop.model, 30))
    quarterly = replace(shop.model, contract=promising(shop.model, 90))
    store = {model.tag: model for model in (monthly, quarterly)}
    shop.order(("a", DUE + timedelta(days=40)), ("b", DUE + timedelta(days=40)))
    shop.ask(["a"], DUE)
    asked = replace(Asked.some(2, DUE, seed=1), request_ids=["m-b", "m-c"], customer_ids=["b", "c"])
    shop.log.put(asked.answers(monthly))
    shop.log.put(replace(asked, request_ids=["l-b", "l-c"], at=DUE + timedelta(days=60)).answers(monthly))
    shop.log.put(replace(asked, request_ids=["n-b", "n-c"], at=DUE + timedelta(days=60)).answers(quarterly))

    made = make_labels(shop.artefacts, shop.environ, LabelRequest(shop.out), store.__getitem__)

    rows = {row["request_id"]: (row["label"], row["label_days"]) for row in pq.read_table(shop.out).to_pylist()}
    month = {"m-b": (True, 30), "m-c": (True, 30), "l-b": (True, 30), "l-c": (True, 30)}
    assert {"r-a": (False, 90), **month} == rows
    assert ((30, 90), 2) == (made.days, made.not_due)
    assert "over 30 or 90 days, 4 positive" in str(made)
    with pytest.raises(JobError, match="model small_churn:v7 has labels over 90 days, and --days is 30"):
        make_labels(shop.artefacts, shop.environ, LabelRequest(shop.out, days=30), store.__getitem__)


def promising(model: ImportedModel, days: int) -> ModelContract:
    label = Label(name="churned", days=days, definition=f"no order in {days} days")
    return model.contract.model_copy(update={"label": label})


def test_answers_of_models_that_are_gone_are_labelled_as_the_pinned_one_predicts(shop: Shop) -> None:
    def opened(tag: str) -> ImportedModel:
        if tag != "small_churn:v9":
            raise ModelError(f"{tag} is gone")
        return replace(shop.model, contract=promising(shop.model, 30))

    shop.order(("a", DUE))
    shop.ask(["a"], DUE)
    with pytest.raises(JobError, match=r"labels of model small_churn:v7 have is not known: .*DAYS=90"):
        make_labels(shop.artefacts, shop.environ, LabelRequest(shop.out), opened)
    shop.artefacts.model_tag.parent.mkdir(parents=True, exist_ok=True)
    shop.artefacts.model_tag.write_text("small_churn:v9")

    assert (30,) == make_labels(shop.artefacts, shop.environ, LabelRequest(shop.out), opened).days


def test_answers_whose_days_are_not_over_wait_and_are_counted(shop: Shop) -> None:
    shop.order(("a", DUE))
    shop.ask(["a"], DUE)
    shop.ask(["b", "c"], DUE + MICROSECOND, prefix="later")

    assert str(shop.label()) == (
        "1 labels of answers until 2024-03-12T00:00:00+00:00, over 90 days, 0 positive; 2 later answers are not yet due"
    )
    assert (3, 0) == (shop.label(days=30).labels, shop.label(days=30).not_due)


def test_streamed_orders_count_and_of_a_repeated_one_what_the_file_says_and_else_the_earliest(shop: Shop) -> None:
    before, after = DUE - timedelta(days=1), DUE + timedelta(days=1)
    shop.order(("moved back", before), ("moved on", after))
    again = [("o0", "moved back", after, 10.0, 1), ("o1", "moved on", before, 10.0, 1)]
    new = [("o9", "streamed", after, 10.0, 1), ("o8", "twice", after, 10.0, 1), ("o8", "twice", before, 10.0, 1)]
    write_orders(shop.orders.streamed_orders / "batch=0" / "part-0.parquet", [*again, *new])
    shop.ask(["moved back", "moved on", "streamed", "twice"], DUE)

    shop.label()

    assert {"moved back": True, "moved on": False, "streamed": False, "twice": True} == shop.churned()


def test_pseudonyms_are_found_again_with_their_key_and_stay_pseudonyms(shop: Shop, tmp_path: Path) -> None:
    key_file, other_key = tmp_path / "key", tmp_path / "other"
    key_file.write_text(KEY)
    other_key.write_text(KEY[::-1])
    shop.order(("a", DUE + MICROSECOND), ("b", DUE - MICROSECOND), ("open", DUE + MICROSECOND))
    shop.store("a", "b", "open", "another")
    hidden = Pseudonyms.from_file(key_file).of(["a", "b", "unknown"])
    shop.ask([*hidden, "open"], DUE)

    with pytest.raises(JobError, match="are pseudonyms; name the file of their key: --id-key-file"):
        shop.label()
    with pytest.raises(JobError, match="no id of the offline store has one of the log's 3 pseudonyms under this key"):
        shop.label(id_key_file=other_key)
    assert not shop.out.exists()
    shop.label(id_key_file=key_file)

    assert dict(zip([*hidden, "open"], [False, True, True, False], strict=True)) == shop.churned()


def test_a_customer_whose_id_begins_like_a_pseudonym_needs_no_key(shop: Shop) -> None:
    shop.order(("p:17", DUE + MICROSECOND))
    shop.ask(["p:17"], DUE)

    shop.label()

    assert {"p:17": False} == shop.churned()


def test_pseudonyms_are_resolved_where_the_offline_store_is(shop: Shop, tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text(KEY)
    shop.order(("a", DUE))
    shop.ask(Pseudonyms.from_file(key_file).of(["a"]), DUE)

    with pytest.raises(JobError, match=r"offline_store: no features by 'customer_id'; run `make features` first"):
        shop.label(id_key_file=key_file)


def test_a_request_id_that_was_used_for_several_customers_gets_no_label(shop: Shop) -> None:
    shop.order(("a", DUE))
    shop.ask(["a", "b"], DUE - timedelta(days=1))
    shop.log.put(replace(Asked.some(1, DUE, seed=1), request_ids=["r-a"], customer_ids=["c"]).answers(shop.model))

    made = shop.label()

    assert (1, 1) == (made.labels, made.ambiguous)
    assert ["b"] == list(shop.churned())


def test_where_nothing_is_due_nothing_is_written(shop: Shop) -> None:
    shop.order(("a", DUE))
    with pytest.raises(NothingDueError, match="no inference log is there"):
        shop.label()
    shop.ask(["a"], DUE + MICROSECOND)

    with pytest.raises(NothingDueError, match="no answered row until 2024-03-12"):
        shop.label(until=DUE)
    with pytest.raises(
        NothingDueError, match=r"found: 1, the first of 2024-03-12T.*none is due.* 90 days .* until 2024-06-10"
    ) as caught:
        shop.label()

    assert 4 == caught.value.exit_code
    assert not shop.out.exists()


def test_a_damaged_file_is_named_and_the_others_are_labelled(shop: Shop) -> None:
    shop.order(("a", DUE))
    shop.ask(["a"], DUE)
    (shop.log.root / "log" / f"date={DUE.date()}" / "torn.parquet").write_bytes(b"PAR1")

    with pytest.raises(JobError, match=r"torn.parquet: cannot be read as inference log"):
        shop.label()

    assert ["a"] == list(shop.churned())


def test_what_cannot_be_used_is_refused_in_a_line(shop: Shop) -> None:
    shop.ask(["a"], DUE)
    with pytest.raises(SourceError, match=r"orders.parquet: no orders; run `make data` first"):
        shop.label()
    with pytest.raises(JobError, match="--days 0: expected 1 to 3,650 days"):
        shop.label(days=0)
    shop.order(("a", DUE))
    shop.out.mkdir()
    with pytest.raises(JobError, match=r"labels.parquet: the labels cannot be written"):
        shop.label()
    assert [] == list(shop.log.root.glob("*.partial"))


def test_the_command_says_what_it_wrote_and_ends_with_a_code(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("INFERENCE_LOG_DIR", str(shop.artefacts.inference_log))
    for name, path in shop.environ.items():
        monkeypatch.setenv(name, path)
    shop.order(("a", DUE))
    monkeypatch.setenv("MODEL_TAG_PATH", str(shop.artefacts.model_tag))
    arguments = ["labels", "--out", str(shop.out)]

    nothing = main(arguments)
    shop.ask(["a"], DUE)

    assert 1 == main(arguments)  # neither the model that answered is in the store, nor is one pinned
    assert "how many days the labels of model small_churn:v7 have is not known" in capsys.readouterr().err
    assert (4, 0) == (nothing, main([*arguments, "--days", "90"]))
    assert f"  {shop.out}\n" in capsys.readouterr().out
    assert 2 == main([*arguments, "--days", "0"])
    assert "error: --days 0: expected 1 to 3,650 days\n" == capsys.readouterr().err
