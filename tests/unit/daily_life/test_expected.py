"""The independent computation of what is served, held against figures made by hand."""

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from tests.daily_life.expected import DAY_US, Expected, Placed, expected, known, of_lines, snapshot, unix_us

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)


def at(**ago: float) -> int:
    return unix_us(NOON - timedelta(**ago))


def right(orders: list[Placed], snapshot_at: datetime = MIDNIGHT) -> Expected:
    found = expected(orders, unix_us(NOON), unix_us(snapshot_at))
    assert found is not None
    return found


def test_every_value_of_a_small_customer() -> None:
    found = right(
        [
            Placed(at(days=40), 100_000, 1),
            Placed(at(days=10), 300_000, 4),
            Placed(at(days=10), 50_000, 0),
            Placed(at(hours=2), 200_000, 2),
        ]
    ).values

    assert (4, 3, 7) == tuple(
        found[f"customer_lifetime__{n}"] for n in ("order_count", "order_day_count", "item_count")
    )
    assert [65.0, 16.25, 30.0, 20.0, 1.75] == [
        found[f"customer_lifetime__{name}"]
        for name in ("total_spend", "mean_order_value", "max_order_value", "last_order_value", "mean_items_per_order")
    ]
    gap = 10 - 2 / 24
    assert (30 + gap) / 2 == pytest.approx(found["customer_lifetime__mean_gap_days"])
    assert (30, gap) == pytest.approx(
        (found["customer_lifetime__max_gap_days"], found["customer_lifetime__last_gap_days"])
    )
    assert [0, 2, 3, 3] == [found[f"customer_orders_windowed__order_count_{days}d"] for days in (7, 30, 90, 180)]
    assert [0, 35, 45, 45] == [found[f"customer_orders_windowed__spend_{days}d"] for days in (7, 30, 90, 180)]
    assert (2 / 24, 40) == pytest.approx(
        (found["customer_recency__days_since_last_order"], found["customer_recency__tenure_days"])
    )
    assert (40 - 2 / 24) / 40 == pytest.approx(found["customer_recency__active_share_of_tenure"])


def test_who_is_new_since_the_snapshot_has_windows_of_zeros_from_the_first_order_on() -> None:
    found = right([Placed(at(hours=2), 200_000, 2)])

    assert {0} == {value for name, value in found.values.items() if name.startswith("customer_orders_windowed")}
    assert (at(hours=2) + 1, False) == (found.event_us["customer_orders_windowed"], found.stale)


def test_windows_are_stale_beyond_two_days_and_nobody_is_known_before_the_first_order() -> None:
    orders = [Placed(at(days=40), 1, 1)]

    assert [False, True] == [right(orders, MIDNIGHT - timedelta(days=days)).stale for days in (1, 2)]
    assert expected(orders, at(days=40), at(days=41)) is None


def test_lines_add_up_at_the_time_of_the_first_and_the_delivery_counts_before_the_stream() -> None:
    lines = pd.DataFrame(
        {
            "customer_id": ["a", "a", "a"],
            "order_id": ["1", "1", "2"],
            "event_timestamp": pd.to_datetime([NOON, NOON - timedelta(hours=1), NOON], utc=True),
            "amount": [10.1, -0.1, 5.0],
            "items": [2, 0, 1],
        }
    )
    delivered = of_lines(lines)

    assert Placed(at(hours=1), 100_000, 2) == delivered["a", "1"]
    orders = known(delivered, {("a", "1"): Placed(at(hours=9), 1, 1), ("b", "3"): Placed(at(hours=9), 1, 1)})
    assert {"a": sorted(delivered.values()), "b": [Placed(at(hours=9), 1, 1)]} == orders


def test_windows_end_with_the_orders_at_a_midnight() -> None:
    day = timedelta(microseconds=DAY_US)
    for end, newest in (
        (MIDNIGHT, MIDNIGHT),
        (NOON, MIDNIGHT),
        (MIDNIGHT - day / 2, MIDNIGHT),
        (NOON - 2 * day, MIDNIGHT - day),
    ):
        assert newest == snapshot(end, NOON)
