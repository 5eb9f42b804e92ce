"""Generates synthetic orders of any number of customers from a seed: like CDNOW, plus late and repeated deliveries.

Purchases follow Pareto/NBD (Schmittlein, Morrison & Colombo, 1987): while a customer is alive, orders come at the
customer's rate ~ Gamma(r, α); the customer leaves at rate ~ Gamma(s, β). Amounts follow Gamma-Gamma (Fader, Hardie &
Lee, 2005): Gamma(p, ν) with the customer's ν ~ Gamma(q, γ). The parameters were fitted to CDNOW, in weeks and dollars.
An item costs 15 dollars on average, as in CDNOW.

Chosen, not fitted: customers arrive at a steady rate; some orders are delivered late, some twice. Rows are in order of
delivery within each block of customers, not in order of time.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from training.churn.orders import OrdersWritten, check_reference, orders_file
from training.churn.source.orders_schema import ORDERS_SCHEMA
from training.errors import OrdersError

_WEEK_US = 7 * 86_400_000_000
_HOUR_US = 3_600_000_000


@dataclass(frozen=True)
class ShopParameters:
    """Parameters of the order model; rates per week, money in dollars."""

    r: float = 0.611
    alpha: float = 13.61
    s: float = 0.3125
    beta: float = 6.149
    p: float = 5.086
    q: float = 3.995
    gamma: float = 21.25
    dollars_per_item: float = 15.0
    weeks: float = 78.0
    """The period in which customers arrive; 78 as in CDNOW."""
    late_share: float = 0.05
    late_hours: float = 36.0
    """Mean delay of a late order."""
    repeated_share: float = 0.02
    repeated_hours: float = 12.0
    """Mean time from an order's delivery to its repeated delivery."""
    customers_per_block: int = 50_000
    """Customers held in memory at once; each block is a row group."""


def write_synthetic(
    path: Path,
    customers: int,
    seed: int,
    reference: date,
    shop: ShopParameters | None = None,
    delivered_until: datetime | None = None,
    follows_today: bool = False,
) -> OrdersWritten:
    """Write the delivered orders of `customers` who arrived in the weeks before `reference`.

    The same arguments give the same file, byte for byte. Memory does not grow with `customers`.

    Args:
        customers: at least 1.
        reference: orders end at its midnight (UTC).
        delivered_until: write only orders delivered before this time, UTC; default that midnight. A later time adds
            orders and changes none.
        follows_today: `reference` is today by default.

    Raises:
        OrdersError: `reference` is in the future, or nothing was delivered.
    """
    check_reference(reference)
    shop = shop or ShopParameters()
    end = datetime.combine(reference, time(), UTC)
    until = min(delivered_until or end, end)
    source = f"synthetic: {customers} customers until {'yesterday' if follows_today else reference}, seed {seed}"
    rows = buyers = 0
    with orders_file(path, source, 0, until, follows_today=follows_today) as write:
        for first in range(0, customers, shop.customers_per_block):
            count = min(shop.customers_per_block, customers - first)
            random = np.random.default_rng([seed, first])
            block = _delivered(shop, random, np.arange(first, first + count), _unix_us(end), _unix_us(until))
            if block.num_rows:
                write(block)
            rows += block.num_rows
            buyers += pc.count_distinct(block["customer_id"]).as_py()
        if rows == 0:
            raise OrdersError(f"no order of {customers} customers was delivered; use more customers")
    return OrdersWritten(path=path, source=source, rows=rows, customers=buyers, shift_days=0, observed_until=until)


def _delivered(shop: ShopParameters, random: np.random.Generator, ids: Any, end_us: int, until_us: int) -> pa.Table:
    """The orders of a block of customers delivered before `until_us`, in order of delivery."""
    n = len(ids)
    arrival = random.uniform(0, shop.weeks, n)
    rate = random.gamma(shop.r, 1 / shop.alpha, n)
    leaving = np.maximum(random.gamma(shop.s, 1 / shop.beta, n), 1e-12)  # a rate of 0 would give an infinite lifetime
    alive = np.minimum(random.exponential(1 / leaving), shop.weeks - arrival)
    orders = 1 + random.poisson(rate * alive)  # every customer arrives with an order
    customer = np.repeat(np.arange(n), orders)
    number = np.arange(len(customer)) - np.repeat(np.cumsum(orders) - orders, orders)
    after = np.where(number == 0, 0, random.uniform(0, 1, len(customer)) * alive[customer])
    at_us = end_us - ((shop.weeks - arrival[customer] - after) * _WEEK_US).astype(np.int64) - 1

    nu = random.gamma(shop.q, 1 / shop.gamma, n)
    amount = np.round(random.gamma(shop.p, 1 / nu[customer]), 2)
    items = 1 + random.poisson(np.maximum(amount / shop.dollars_per_item - 1, 0))

    late = random.uniform(size=len(customer)) < shop.late_share
    delay_us = late * random.exponential(shop.late_hours * _HOUR_US, len(customer))
    delivered_us = at_us + delay_us.astype(np.int64)
    again = np.flatnonzero(random.uniform(size=len(customer)) < shop.repeated_share)
    again_us = delivered_us[again] + random.exponential(shop.repeated_hours * _HOUR_US, len(again)).astype(np.int64)

    row = np.concatenate([np.arange(len(customer)), again])
    when = np.concatenate([delivered_us, again_us])
    by_delivery = np.argsort(when, kind="stable")
    row = row[by_delivery[: np.searchsorted(when[by_delivery], until_us)]]

    customer_ids = pc.utf8_lpad(pa.array(ids[customer[row]]).cast(pa.string()), 9, "0")
    return pa.table(
        {
            "order_id": pc.binary_join_element_wise(customer_ids, pa.array(number[row]).cast(pa.string()), "-"),
            "customer_id": customer_ids,
            "event_timestamp": pa.array(at_us[row]).cast(ORDERS_SCHEMA.field("event_timestamp").type),
            "amount": pa.array(amount[row]),
            "items": pa.array(items[row]),
        },
        schema=ORDERS_SCHEMA,
    )


def _unix_us(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
