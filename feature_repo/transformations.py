"""Orders → feature rows, as pure Ibis expressions. DuckDB (one machine) and Spark (larger data) give equal rows.

Two rules make the engines agree to the last bit and prevent leakage from the future:

- Times are int64 microseconds since 1970. Money is summed as int64 ten-thousandths. So sums are exact in any order;
  each is divided once, at the end, in float64.
- A feature row at time T uses only orders before T. A row that includes an order at t is stamped t + 1 µs.

`orders` has the columns order_id, customer_id (string), event_unix_us (int64), amount (float64), items (int64).
`distinct_orders` also reads `streamed` (int64): 0 for the orders file, 1 for the stream. The other functions take its
result. docs/features.md describes late and repeated orders.
"""

from collections.abc import Sequence

import ibis
import ibis.expr.types as ir

DAY_US = 86_400_000_000
MONEY_UNIT = 10_000
"""Parts of one unit of money. Amounts are rounded to such parts and summed exactly."""


def distinct_orders(orders: ir.Table) -> ir.Table:
    """Keep one row per customer and order_id: the orders file's; of several, the smallest (event time, amount, items).

    The file is delivered after the stream and may correct it. The order covers every column that features use, so the
    choice is the same for any engine and any delivery or storage order. It depends on one customer only, so it can be
    made for some customers alone.

    Returns:
        The columns of `orders` without `streamed`.
    """
    first = ibis.window(group_by=["customer_id", "order_id"], order_by=["streamed", "event_unix_us", "amount", "items"])
    numbered = orders.mutate(nth=ibis.row_number().over(first))
    return numbered.filter(numbered.nth == 0).drop("nth", "streamed")


def _money(orders: ir.Table) -> ir.IntegerValue:
    return (orders.amount * MONEY_UNIT).round().cast("int64")


def customer_lifetime(orders: ir.Table) -> ir.Table:
    """One row after each order time of a customer, over all orders up to and including it.

    Orders of one customer at the same microsecond give one row.
    Gaps are between consecutive order times; they are 0 for the first one.

    Returns:
        customer_id, event_unix_us, and the fields of the feature view `customer_lifetime`.
    """
    money = orders.mutate(money=_money(orders))
    at = money.group_by("customer_id", "event_unix_us").agg(
        orders_here=money.count(),
        items_here=money["items"].sum().cast("int64"),
        money_here=money.money.sum().cast("int64"),
        largest_here=money.money.max(),
    )
    by_time = ibis.window(group_by="customer_id", order_by="event_unix_us")
    gaps = at.mutate(
        gap_us=(at.event_unix_us - at.event_unix_us.lag().over(by_time)).fill_null(0),
        is_new_day=(at.event_unix_us // DAY_US != (at.event_unix_us.lag().over(by_time) // DAY_US).fill_null(-1)).cast(
            "int64"
        ),
    )
    so_far = ibis.window(group_by="customer_id", order_by="event_unix_us", preceding=None, following=0)
    total = gaps.mutate(
        order_count=gaps.orders_here.sum().over(so_far).cast("int64"),
        order_day_count=gaps.is_new_day.sum().over(so_far).cast("int64"),
        item_count=gaps.items_here.sum().over(so_far).cast("int64"),
        money_total=gaps.money_here.sum().over(so_far).cast("int64"),
        money_max=gaps.largest_here.max().over(so_far),
        time_count=gaps.count().over(so_far),
        gap_max_us=gaps.gap_us.max().over(so_far),
        first_order_unix_us=gaps.event_unix_us.min().over(so_far),
        last_order_unix_us=gaps.event_unix_us,
    )
    span_us = total.last_order_unix_us - total.first_order_unix_us
    gap_count = total.time_count - 1
    return total.select(
        "customer_id",
        event_unix_us=total.last_order_unix_us + 1,
        order_count=total.order_count,
        order_day_count=total.order_day_count,
        item_count=total.item_count,
        total_spend=total.money_total / MONEY_UNIT,
        mean_order_value=total.money_total / MONEY_UNIT / total.order_count,
        max_order_value=total.money_max / MONEY_UNIT,
        last_order_value=total.money_here / MONEY_UNIT,
        mean_items_per_order=total.item_count / total.order_count,
        mean_gap_days=(gap_count > 0).ifelse(span_us / DAY_US / gap_count.nullif(0), 0.0),
        max_gap_days=total.gap_max_us / DAY_US,
        last_gap_days=total.gap_us / DAY_US,
        first_order_unix_us=total.first_order_unix_us,
        last_order_unix_us=total.last_order_unix_us,
    )


def customer_orders_windowed(
    orders: ir.Table, snapshots: ir.Table, window_days: Sequence[int] = (7, 30, 90, 180)
) -> ir.Table:
    """One row per snapshot time S and customer with an order before S, over orders in [S − days, S).

    A customer whose first order t lies in the day after S had no order at S. This is known from t on: a row of zeros
    is stamped t + 1 µs, within [S, S + 1 day). It holds until the next snapshot.

    Args:
        snapshots: one column, snapshot_unix_us (int64).
        window_days: lengths of the windows in days.

    Returns:
        customer_id, event_unix_us (= S, or t + 1), order_count/item_count/spend per window.
    """
    at_snapshots = _windows(orders, snapshots, window_days)
    newcomers = newcomers_windowed(orders, snapshots, window_days)
    return at_snapshots.union(newcomers.select(*at_snapshots.columns))


def newcomers_windowed(
    orders: ir.Table, snapshots: ir.Table, window_days: Sequence[int] = (7, 30, 90, 180)
) -> ir.Table:
    """Only the rows of zeros in `customer_orders_windowed`: of customers who are new on the day after a snapshot."""
    first = orders.group_by("customer_id").agg(first_us=orders.event_unix_us.min())
    new = first.join(
        snapshots,
        [first.first_us >= snapshots.snapshot_unix_us, first.first_us + 1 < snapshots.snapshot_unix_us + DAY_US],
    )
    columns: dict[str, ir.Value] = {}
    for days in window_days:
        columns[f"order_count_{days}d"] = ibis.literal(0, "int64")
        columns[f"item_count_{days}d"] = ibis.literal(0, "int64")
        columns[f"spend_{days}d"] = ibis.literal(0.0, "float64")
    return new.select("customer_id", event_unix_us=new.first_us + 1, **columns).distinct()


def _windows(orders: ir.Table, snapshots: ir.Table, window_days: Sequence[int]) -> ir.Table:
    money = orders.mutate(money=_money(orders))
    seen = money.group_by("customer_id").agg(first_us=money.event_unix_us.min())
    rows = seen.join(snapshots, seen.first_us < snapshots.snapshot_unix_us).select("customer_id", "snapshot_unix_us")
    longest_us = max(window_days) * DAY_US
    inside = money.join(
        snapshots,
        [
            money.event_unix_us < snapshots.snapshot_unix_us,
            money.event_unix_us >= snapshots.snapshot_unix_us - longest_us,
        ],
    )
    age_us = inside.snapshot_unix_us - inside.event_unix_us
    sums = inside.group_by("customer_id", "snapshot_unix_us").agg(
        **{
            f"{name}_{days}d": (age_us <= days * DAY_US).ifelse(value, 0).sum().cast("int64")
            for days in window_days
            for name, value in (
                ("order_count", ibis.literal(1)),
                ("item_count", inside["items"]),
                ("money", inside.money),
            )
        }
    )
    joined = rows.left_join(sums, ["customer_id", "snapshot_unix_us"])
    columns: dict[str, ir.Value] = {}
    for days in window_days:
        columns[f"order_count_{days}d"] = joined[f"order_count_{days}d"].fill_null(0)
        columns[f"item_count_{days}d"] = joined[f"item_count_{days}d"].fill_null(0)
        columns[f"spend_{days}d"] = joined[f"money_{days}d"].fill_null(0) / MONEY_UNIT
    return joined.select("customer_id", event_unix_us=joined.snapshot_unix_us, **columns)
