from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.models.orders import Order, write_orders
from training.churn.orders_summary import ChurnCount, check_enough, summarise
from training.churn.source.addresses import OrderAddresses
from training.errors import DatasetError
from training.settings import TrainingSettings

UNTIL = datetime(2024, 6, 10, tzinfo=UTC)  # as `write_orders` describes its files
MONTHLY = TrainingSettings(label_days=30, cutoff_spacing_days=30, training_cutoffs=2, active_days=100)


def ago(days: float) -> datetime:
    return UNTIL - timedelta(days=days)


def enough(folder: Path, orders: list[Order], settings: TrainingSettings = MONTHLY) -> str:
    write_orders(folder / "orders.parquet", orders)
    return check_enough(OrderAddresses.of({"ORDERS_PATH": str(folder / "orders.parquet")}, folder), settings)


def shop(leavers: int, stayers: int, before: list[Order] | None = None) -> list[Order]:
    """Everybody ordered half a year ago and within the active days of every cut-off; stayers go on every week."""
    orders: list[Order] = list(before or [])
    for n in range(leavers + stayers):
        orders += [(f"first-{n}", str(n), ago(200), 1.0, 1), (f"active-{n}", str(n), ago(125), 1.0, 1)]
    for n in range(leavers, leavers + stayers):
        orders += [(f"{week}-{n}", str(n), ago(7 * week + 0.5), 1.0, 1) for week in range(17)]
    return orders


def test_what_was_read_is_counted(tmp_path: Path) -> None:
    orders: list[Order] = [
        ("A", "1", ago(100), 1.0, 1),
        ("A", "1", ago(100), 1.0, 1),
        ("B", "1", ago(40), 1.0, 1),
        ("A", "2", ago(95), 1.0, 1),
        ("C", "3", ago(10), 1.0, 1),
    ]

    summary = summarise(write_orders(tmp_path / "orders.parquet", orders), UNTIL)

    assert (5, 4, 1, 3) == (summary.rows, summary.orders, summary.repeated, summary.customers)
    assert (ago(100), ago(10)) == (summary.first, summary.last)
    assert (ChurnCount(30, 2, 2), ChurnCount(60, 1, 2), ChurnCount(90, 1, 2)) == summary.churn
    said = summary.to_text(ago(-20))
    assert "5 rows, 4 orders of 3 customers, 1 rows repeat an order_id and count once" in said
    assert "last 2024-05-31, 30 days ago; later ones are missing, if there were any" in said
    assert "did not order again: 100% of 2 in 30 days, 50% of 2 in 60 days, 50% of 2 in 90 days" in said


def test_orders_of_today_are_not_told_as_old(tmp_path: Path) -> None:
    summary = summarise(write_orders(tmp_path / "orders.parquet", [("A", "1", ago(0.1), 1.0, 1)]), UNTIL)

    said = summary.to_text(UNTIL)

    assert "in the last two days\n" in said
    assert "unknown, all customers are too new" in said


def test_enough_orders_are_told_with_whom_the_model_is_judged_on(tmp_path: Path) -> None:
    said = enough(tmp_path, shop(leavers=30, stayers=25))

    assert "2 training cut-offs" in said
    assert "tested at 2024-05-10 on 55 customers (30 churned)" in said


def test_too_short_a_period_is_refused_with_the_setting_that_helps(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="a shorter TRAINING_LABEL_DAYS needs less"):
        enough(tmp_path, [("A", "1", ago(50), 1.0, 1)])


@pytest.mark.parametrize(
    ("leavers", "stayers", "way_out"),
    [
        (19, 30, "19 churned and 30 stayed; at least 20 of each are needed. A shorter TRAINING_LABEL_DAYS than 30"),
        (30, 19, "30 churned and 19 stayed; at least 20 of each are needed. A longer TRAINING_LABEL_DAYS than 30"),
        (10, 10, "More customers are needed"),
    ],
)
def test_too_few_of_a_class_are_refused_with_the_setting_that_helps(
    tmp_path: Path, leavers: int, stayers: int, way_out: str
) -> None:
    settings = MONTHLY.model_copy(update={"training_cutoffs": 1})
    with pytest.raises(DatasetError) as refused:
        enough(tmp_path, shop(leavers, stayers), settings)

    assert way_out in str(refused.value)


def test_too_few_active_customers_are_told_from_too_few_customers(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"active customers: 0 churned.* a longer TRAINING_ACTIVE_DAYS than 1 more"):
        enough(tmp_path, shop(leavers=30, stayers=25), MONTHLY.model_copy(update={"active_days": 1}))


def test_it_counts_as_training_does(tmp_path: Path) -> None:
    """On the very edges: an order at a cut-off is in its label window, and not before it."""
    edges: list[Order] = [(f"edge-{n}", f"e{n}", ago(30), 1.0, 1) for n in range(5)]

    at_midnight = MONTHLY.model_copy(update={"request_hours": "0-0"})

    said = enough(tmp_path, shop(leavers=30, stayers=25, before=edges), at_midnight)

    assert "on 55 customers (30 churned)" in said


def test_later_orders_are_not_told_as_missing_where_the_file_is_known_to_be_complete(tmp_path: Path) -> None:
    path = write_orders(tmp_path / "orders.parquet", [("A", "1", datetime(2024, 1, 2, tzinfo=UTC), 1.0, 1)])
    now = datetime(2024, 2, 1, tzinfo=UTC)
    counted = summarise(path, now)

    assert "30 days ago; later ones are missing" in counted.to_text(now, datetime(2024, 1, 3, tzinfo=UTC))
    assert "30 days ago; later" not in counted.to_text(now, now)
