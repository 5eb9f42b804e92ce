from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from training.__main__ import main
from training.churn.source.addresses import OrderAddresses
from training.churn.source.orders_file import find_orders
from training.churn.synthetic_orders import ShopParameters, write_synthetic
from training.errors import OrdersError

REFERENCE = date(2024, 6, 10)
END = datetime(2024, 6, 10, tzinfo=UTC)
IN_BLOCKS = ShopParameters(customers_per_block=2_000)


def frame(path: Path) -> pd.DataFrame:
    rows: pd.DataFrame = pq.read_table(path).to_pandas()
    return rows


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Of 10,000 customers, in five blocks; as delivered."""
    path = tmp_path_factory.mktemp("synthetic") / "orders.parquet"
    write_synthetic(path, 10_000, seed=1, reference=REFERENCE, shop=IN_BLOCKS)
    return frame(path)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("one", "again", "other")]
    for file, seed in zip(files, (1, 1, 2), strict=True):
        write_synthetic(file, 3_000, seed, REFERENCE, IN_BLOCKS)
    one, again, other = (file.read_bytes() for file in files)

    assert one == again != other
    assert pq.ParquetFile(files[0]).num_row_groups == 2, "a block must not wait in memory for the next"


def test_the_jobs_accept_synthetic_orders_and_what_was_written_is_described(tmp_path: Path) -> None:
    addresses = OrderAddresses.of({}, tmp_path)

    written = write_synthetic(addresses.orders, 100, seed=7, reference=REFERENCE)

    found = find_orders(addresses)
    table = frame(addresses.orders)
    assert (written.source, END) == (found.source, found.observed_until)
    assert (written.rows, written.customers) == (len(table), table["customer_id"].nunique())


def test_orders_end_before_the_reference_and_customers_arrive_throughout(orders: pd.DataFrame) -> None:
    first = orders.groupby("customer_id")["event_timestamp"].min()
    arrived = np.histogram((pd.Timestamp(END) - first).dt.days / 7, bins=6, range=(0, 78))[0]

    assert orders["event_timestamp"].max() < END
    assert END - timedelta(weeks=78) < first.min()
    assert arrived.min() > 0.85 * arrived.max()


def test_customers_buy_and_spend_as_the_parameters_say(orders: pd.DataFrame) -> None:
    """Against the expectations of the Pareto/NBD and Gamma-Gamma models, within five standard errors or so."""
    distinct = orders.drop_duplicates("order_id")
    shop, weeks = ShopParameters(), np.linspace(0, ShopParameters().weeks, 1_000)
    alive = (
        (1 - (shop.beta / (shop.beta + weeks)) ** (shop.s - 1)) * shop.beta / (shop.s - 1)
    )  # mean weeks of the given
    expected_repeats = shop.r / shop.alpha * alive.mean()

    repeats = len(distinct) / 10_000 - 1
    assert repeats == pytest.approx(expected_repeats, rel=0.08)
    assert distinct["amount"].mean() == pytest.approx(shop.p * shop.gamma / (shop.q - 1), rel=0.05)
    assert distinct["amount"].sum() / distinct["items"].sum() == pytest.approx(shop.dollars_per_item, rel=0.05)
    assert (distinct["items"] >= 1).all()


def test_some_orders_are_delivered_twice_with_one_id_and_the_same_content(orders: pd.DataFrame) -> None:
    repeated = orders[orders["order_id"].duplicated(keep=False)]

    assert 0.015 < repeated["order_id"].nunique() / orders["order_id"].nunique() < 0.025
    assert len(repeated.drop_duplicates()) == repeated["order_id"].nunique()


def test_rows_lie_in_the_order_of_delivery_so_that_late_orders_follow_later_ones(orders: pd.DataFrame) -> None:
    block = orders[orders["customer_id"] < "000002000"]
    behind = block["event_timestamp"].cummax() - block["event_timestamp"]

    assert 0.03 < (behind > timedelta(hours=6)).mean() < 0.08
    assert behind.max() > timedelta(days=3)


def test_a_day_later_the_same_orders_have_been_delivered_and_some_more_of_them_late(tmp_path: Path) -> None:
    def delivered(until: datetime) -> pd.DataFrame:
        written = write_synthetic(
            tmp_path / "orders.parquet", 5_000, seed=3, reference=REFERENCE, delivered_until=until
        )
        assert until == written.observed_until
        return frame(written.path).drop_duplicates("order_id").set_index("order_id")

    yesterday, today = delivered(END - timedelta(days=1)), delivered(END)

    assert yesterday.equals(today.loc[yesterday.index])
    new = today.drop(yesterday.index)
    assert (new["event_timestamp"] >= END - timedelta(days=1)).any()
    assert (new["event_timestamp"] < END - timedelta(days=1)).any()


def test_a_reference_in_the_future_or_nothing_delivered_is_refused_and_nothing_written(tmp_path: Path) -> None:
    path = tmp_path / "orders.parquet"

    with pytest.raises(OrdersError, match="is in the future"):
        write_synthetic(path, 10, seed=1, reference=datetime.now(UTC).date() + timedelta(days=2))
    with pytest.raises(OrdersError, match="no order of 10 customers was delivered"):
        write_synthetic(path, 10, seed=1, reference=REFERENCE, delivered_until=END - timedelta(weeks=200))

    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--synthetic", "abc"], "'abc' is not a number of customers ≥ 1"),
        (["--synthetic", "0"], "'0' is not a number of customers ≥ 1"),
        (["--synthetic=-5"], "'-5' is not a number of customers ≥ 1"),
        (["--synthetic", "1e6"], "'1e6' is not a number of customers ≥ 1"),
        (["--synthetic", "5", "--seed", "x"], "'x' is not a whole number ≥ 0"),
        (["--seed", "5"], "--seed is for --synthetic"),
        (["--synthetic", "5", "--orders", "own.csv"], "either --orders or --synthetic"),
    ],
)
def test_bad_values_are_refused_in_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["data", *arguments])

    assert 2 == ended.value.code
    assert said in capsys.readouterr().err.splitlines()[-1]
