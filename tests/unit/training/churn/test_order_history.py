"""Who is asked about, when, and what became of them, against the same in plain Python."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import numpy as np
import pandas as pd
import pytest

from scoring.evaluation import Floats
from tests.models.orders import Order, write_orders
from training.churn.order_history import CHURNED, SAME_DAY, open_order_history
from training.settings import TrainingSettings

CUTOFF = datetime(2024, 5, 1, tzinfo=UTC)
SETTINGS = TrainingSettings(label_days=30, active_days=60)


def orders(customers: int, seed: int = 1) -> list[Order]:
    """Many of them on the day of the cut-off, and as old as the windows are long; some are delivered twice."""
    random = Random(seed)
    made: list[Order] = []
    for n in range(customers):
        for k in range(random.randrange(1, 5)):
            days = random.choice([-60, -90, -1, 0, 0, 30, 31, random.uniform(-200, 60)])
            at = CUTOFF + timedelta(days=days, seconds=random.randrange(86_400))
            made.append((f"{n}-{k}", f"{n:05d}", at, 1.0, 1))
            if random.random() < 0.2:
                made.append((f"{n}-{k}", f"{n:05d}", at + timedelta(hours=7), 1.0, 1))
    return made


def asked(folder: Path, made: list[Order], settings: TrainingSettings = SETTINGS) -> pd.DataFrame:
    with open_order_history(write_orders(folder / "orders.parquet", made)) as history:
        active = f"bool_or(ordered_us < request_us AND ordered_us >= request_us - {60 * 86_400_000_000})"
        columns = {"churned": CHURNED, "same_day": SAME_DAY, "active": active}
        return history.customers_at(CUTOFF, settings, settings.seed, **columns)


def hours_after(rows: pd.DataFrame) -> Floats:
    return np.asarray((rows["event_timestamp"] - CUTOFF) / timedelta(hours=1), dtype=np.float64)


@pytest.mark.parametrize("hours", ["0-24", "0-0", "7-7", "3-27", "8-20:9 20-24:1"])
def test_everybody_is_looked_at_at_a_moment_and_labelled_by_what_comes_after_it(tmp_path: Path, hours: str) -> None:
    made = orders(400)
    first_times: dict[tuple[str, str], datetime] = {}
    for order_id, customer, at, _, _ in made:
        first_times[customer, order_id] = min(at, first_times.get((customer, order_id), at))
    times: dict[str, list[datetime]] = {}
    for (customer, _), at in first_times.items():
        times.setdefault(customer, []).append(at)

    rows = asked(tmp_path, made, SETTINGS.model_copy(update={"request_hours": hours}))

    found = {row["customer_id"]: row for row in rows.to_dict("records")}
    assert sorted(found) == rows["customer_id"].tolist()
    for customer, own in times.items():
        if customer not in found:
            assert min(own) >= CUTOFF, "nobody who ordered before the cut-off is left out"
            continue
        row = found[customer]
        moment = row["event_timestamp"].to_pydatetime()
        assert min(own) < moment
        assert row["churned"] == (not any(moment <= at < moment + timedelta(days=30) for at in own))
        assert row["active"] == any(moment - timedelta(days=60) <= at < moment for at in own)
        assert row["same_day"] == any(CUTOFF <= at < moment for at in own)
    assert rows["churned"].any()
    assert rows["active"].any()
    assert rows["same_day"].any() == (hours != "0-0")


def test_moments_depend_on_seed_customer_and_cutoff_and_on_nothing_else(tmp_path: Path) -> None:
    made = orders(200)
    rows = asked(tmp_path, made)
    Random(2).shuffle(made)

    again = asked(tmp_path, [*made, ("more", "00001", CUTOFF - timedelta(days=9), 1.0, 1)])
    other_seed = asked(tmp_path, made, SETTINGS.model_copy(update={"seed": SETTINGS.seed + 1}))

    moments = rows.set_index("customer_id")["event_timestamp"]
    assert moments.equals(again.set_index("customer_id")["event_timestamp"])
    elsewhere = other_seed.set_index("customer_id")["event_timestamp"]
    assert not (moments == elsewhere.reindex(moments.index)).any()


@pytest.mark.parametrize(
    ("hours", "expected"),
    [
        ("0-24", {6: 0.25, 12: 0.5, 24: 1.0}),
        ("8-20:3 20-24:1", {8: 0.0, 14: 0.375, 20: 0.75, 24: 1.0}),
        ("5-5", {5: 1}),
    ],
)
def test_moments_are_spread_over_the_hours_as_the_setting_says(
    tmp_path: Path, hours: str, expected: dict[float, float]
) -> None:
    before: list[Order] = [(str(n), str(n), CUTOFF - timedelta(days=5), 1.0, 1) for n in range(4_000)]

    found = hours_after(asked(tmp_path, before, SETTINGS.model_copy(update={"request_hours": hours})))

    assert len(before) == len(found)
    for hour, share in expected.items():
        assert abs((found <= hour).mean() - share) < 0.03
