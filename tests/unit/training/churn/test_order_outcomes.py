"""Targets of the shipped use cases on orders, in training and of later answers, against plain Python."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pandas as pd
import pytest

from tests.models.orders import Order, write_orders
from training.settings import TrainingSettings
from training.use_case import UseCase
from training.use_case_folder import load_use_case

ROOT = Path(__file__).parents[4]
CUTOFF = datetime(2024, 4, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
SETTINGS = TrainingSettings(label_days=30, active_days=60)


def spend(amounts: list[float]) -> object:
    return pytest.approx(sum(amounts))


def classed(amounts: list[float]) -> object:
    return {0: "0", 1: "1", 2: "2-3", 3: "2-3"}.get(len(amounts), "4+")


CASES = [("customer_spend", spend), ("order_count", classed)]


def case_of(name: str) -> UseCase:
    return load_use_case(ROOT / "use_cases" / name)


def orders(customers: int) -> list[Order]:
    """Many customers order often; some orders are delivered twice, later and with another amount."""
    random = Random(4)
    made: list[Order] = []
    for n in range(customers):
        made.append((f"{n}-first", f"{n:05d}", CUTOFF - timedelta(days=random.uniform(1, 60)), 5.0, 1))
        for k in range(random.choice([0, 0, 1, 2, 3, 4, 6])):
            at = CUTOFF + timedelta(
                days=random.choice([0, 30, random.uniform(-20, 45)]), seconds=random.randrange(80_000)
            )
            amount = random.randrange(10_000) / 100
            made.append((f"{n}-{k}", f"{n:05d}", at, amount, 1))
            if random.random() < 0.2:
                made.append((f"{n}-{k}", f"{n:05d}", at + timedelta(hours=7), amount + 1, 1))
    return made


def distinct(made: list[Order]) -> dict[str, list[tuple[datetime, float]]]:
    """Customer → time and amount of each order; of an order that came twice, the earlier."""
    first: dict[tuple[str, str], tuple[datetime, float]] = {}
    for order_id, customer, at, amount, _ in made:
        first[customer, order_id] = min((at, amount), first.get((customer, order_id), (at, amount)))
    found: dict[str, list[tuple[datetime, float]]] = {}
    for (customer, _), order in first.items():
        found.setdefault(customer, []).append(order)
    return found


def environ_of(folder: Path, made: list[Order]) -> dict[str, str]:
    write_orders(folder / "orders.parquet", made)
    return {"ORDERS_PATH": str(folder / "orders.parquet"), "STREAMED_ORDERS_DIR": str(folder / "streamed")}


@pytest.mark.parametrize(("name", "expected"), CASES)
def test_training_and_later_labels_tell_of_the_orders_from_the_moment_on(
    tmp_path: Path, name: str, expected: Callable[[list[float]], object]
) -> None:
    made = orders(300)
    environ = environ_of(tmp_path, made)
    case = case_of(name)
    assert case.outcomes is not None
    own = distinct(made)

    rows = case.labels(environ).rows(CUTOFF, SETTINGS, 17)
    later = case.outcomes(rows[["customer_id", "event_timestamp"]], environ, 30)

    assert len(own) == len(rows)
    for row in rows.assign(later=later["label"]).to_dict("records"):
        moment = row["event_timestamp"].to_pydatetime()
        amounts = [amount for at, amount in own[row["customer_id"]] if moment <= at < moment + timedelta(days=30)]
        assert row[case.task.target] == expected(amounts)
        assert row["later"] == expected(amounts)
    assert rows[case.task.target].nunique() >= 4


@pytest.mark.parametrize(("name", "nothing", "one"), [("customer_spend", 0.0, 7.5), ("order_count", "0", "1")])
def test_a_label_is_null_until_the_days_are_over_and_strangers_ordered_nothing(
    tmp_path: Path, name: str, nothing: object, one: object
) -> None:
    due = datetime(2024, 6, 10, tzinfo=UTC) - timedelta(days=30)  # observed until then, see `write_orders`
    environ = environ_of(tmp_path, [("o1", "one", due, 7.5, 1), ("o2", "none", due - MICROSECOND, 1.0, 1)])
    asked = pd.DataFrame(
        {
            "customer_id": ["one", "none", "stranger", "one"],
            "event_timestamp": pd.to_datetime([due, due, due, due + MICROSECOND]).astype("datetime64[us, UTC]"),
        }
    )
    outcomes = case_of(name).outcomes
    assert outcomes is not None

    found = outcomes(asked, environ, 30)

    assert [one, nothing, nothing, None] == [None if pd.isna(label) else label for label in found["label"]]
    pd.testing.assert_frame_equal(asked, found.drop(columns="label"))
