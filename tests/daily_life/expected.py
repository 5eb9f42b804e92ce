"""What should be served, in plain Python, written from docs/features.md alone: nothing of the project is imported."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pandas as pd

DAY_US = 86_400_000_000
WINDOWS = (7, 30, 90, 180)
TTL_US = 2 * DAY_US
LIFETIME, WINDOWED, RECENCY = "customer_lifetime", "customer_orders_windowed", "customer_recency"


@dataclass(frozen=True, order=True)
class Placed:
    """An order: its time in microseconds since 1970, money in ten-thousandths, pieces."""

    at_us: int
    money: int
    items: int


Orders = dict[tuple[str, str], Placed]
"""Customer and order id → the order."""


@dataclass(frozen=True)
class Expected:
    """What a customer's answer is made of.

    values: feature → value.
    event_us: feature view → event time of the row that the values are of.
    stale: the windows are older than their TTL.
    """

    values: Mapping[str, float]
    event_us: Mapping[str, int]
    stale: bool


def unix_us(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def of_lines(lines: pd.DataFrame) -> Orders:
    """The orders of a delivery: the lines of one add up, and it is placed when the first of them is.

    Args:
        lines: customer_id, order_id, event_timestamp (UTC), amount, items.
    """
    units = lines.assign(
        money=(lines["amount"] * 10_000).round().astype("int64"),
        at_us=lines["event_timestamp"].astype("datetime64[us, UTC]").astype("int64"),
    )
    orders = units.groupby(["customer_id", "order_id"], sort=False).agg(
        at_us=("at_us", "min"), money=("money", "sum"), items=("items", "sum")
    )
    return {
        key: Placed(at_us, money, items)
        for key, at_us, money, items in zip(
            orders.index, orders["at_us"].tolist(), orders["money"].tolist(), orders["items"].tolist(), strict=True
        )
    }


def known(delivered: Orders, streamed: Orders) -> dict[str, list[Placed]]:
    """Customer → orders in the order of their times. What the delivery says of a streamed order counts."""
    found: dict[str, list[Placed]] = defaultdict(list)
    for (customer, _), placed in {**streamed, **delivered}.items():
        found[customer].append(placed)
    return {customer: sorted(orders) for customer, orders in found.items()}


def snapshot(orders_end: datetime, now: datetime) -> datetime:
    """The midnight of the newest windows that a build at `now` makes of orders that are known up to `orders_end`."""
    day = timedelta(days=1)
    closing = midnight(orders_end) if orders_end == midnight(orders_end) else midnight(orders_end) + day
    return min(closing, midnight(now))


def midnight(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0)


def expected(orders: Iterable[Placed], at_us: int, snapshot_us: int) -> Expected | None:
    """What is right at a time, of one customer's orders; None of one who has none before it."""
    past = [order for order in orders if order.at_us < at_us]
    if not past:
        return None
    times = sorted({order.at_us for order in past})
    first, last = times[0], times[-1]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    money, items, count = sum(o.money for o in past) / 10_000, sum(o.items for o in past), len(past)
    mean_gap = sum(gaps) / len(gaps) / DAY_US if gaps else 0.0
    values: dict[str, float] = {
        f"{LIFETIME}__order_count": count,
        f"{LIFETIME}__order_day_count": len({order.at_us // DAY_US for order in past}),
        f"{LIFETIME}__item_count": items,
        f"{LIFETIME}__total_spend": money,
        f"{LIFETIME}__mean_order_value": money / count,
        f"{LIFETIME}__max_order_value": max(o.money for o in past) / 10_000,
        f"{LIFETIME}__last_order_value": sum(o.money for o in past if o.at_us == last) / 10_000,
        f"{LIFETIME}__mean_items_per_order": items / count,
        f"{LIFETIME}__mean_gap_days": mean_gap,
        f"{LIFETIME}__max_gap_days": max(gaps, default=0) / DAY_US,
        f"{LIFETIME}__last_gap_days": gaps[-1] / DAY_US if gaps else 0.0,
        f"{RECENCY}__days_since_last_order": (at_us - last) / DAY_US,
        f"{RECENCY}__tenure_days": (at_us - first) / DAY_US,
        f"{RECENCY}__recency_over_mean_gap": (at_us - last) / DAY_US / mean_gap if mean_gap else 1.0,
        f"{RECENCY}__active_share_of_tenure": (last - first) / (at_us - first),
    }
    for days in WINDOWS:
        inside = [o for o in past if snapshot_us - days * DAY_US <= o.at_us < snapshot_us]
        values[f"{WINDOWED}__order_count_{days}d"] = len(inside)
        values[f"{WINDOWED}__item_count_{days}d"] = sum(o.items for o in inside)
        values[f"{WINDOWED}__spend_{days}d"] = sum(o.money for o in inside) / 10_000
    # Whoever is new since the snapshot has windows of zeros from the first order on.
    windows_us = snapshot_us if first < snapshot_us else first + 1
    stale = at_us - windows_us > TTL_US
    return Expected(values, {LIFETIME: last + 1, RECENCY: last + 1, WINDOWED: windows_us}, stale)


def same(one: float, other: float) -> bool:
    """Equal, as far as float32 can tell, in which the model takes them."""
    return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-6)
