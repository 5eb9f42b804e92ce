"""Stored features, computed by `transformations.py`."""

from datetime import timedelta

from data_sources import customer_lifetime_rows, customer_orders_windowed_rows
from entities import OWNER, customer
from feast import FeatureView, Field
from feast.types import Float64, Int64

customer_lifetime = FeatureView(
    name="customer_lifetime",
    description="Everything a customer ever ordered; one row after each order, valid until the next.",
    entities=[customer],
    ttl=None,
    schema=[
        Field(name="order_count", dtype=Int64, description="orders so far"),
        Field(name="order_day_count", dtype=Int64, description="distinct days with an order"),
        Field(name="item_count", dtype=Int64, description="items so far"),
        Field(name="total_spend", dtype=Float64, description="money so far"),
        Field(name="mean_order_value", dtype=Float64, description="money per order"),
        Field(name="max_order_value", dtype=Float64, description="money of the largest order"),
        Field(name="last_order_value", dtype=Float64, description="money at the last order time"),
        Field(name="mean_items_per_order", dtype=Float64, description="items per order"),
        Field(name="mean_gap_days", dtype=Float64, description="days between order times; 0 before the second"),
        Field(name="max_gap_days", dtype=Float64, description="longest gap in days; 0 before the second"),
        Field(name="last_gap_days", dtype=Float64, description="gap before the last order time; 0 at the first"),
        Field(name="first_order_unix_us", dtype=Int64, description="first order, microseconds since 1970"),
        Field(name="last_order_unix_us", dtype=Int64, description="last order, microseconds since 1970"),
    ],
    source=customer_lifetime_rows,
    online=True,
    tags={"rows": "one after each order"},
    owner=OWNER,
)

WINDOW_DAYS = (7, 30, 90, 180)

customer_orders_windowed = FeatureView(
    name="customer_orders_windowed",
    description="Orders in the last 7/30/90/180 days, one snapshot at midnight UTC of each day.",
    entities=[customer],
    ttl=timedelta(days=2),  # two snapshot intervals: one missed run is tolerated, two are reported
    schema=[
        field
        for days in WINDOW_DAYS
        for field in (
            Field(name=f"order_count_{days}d", dtype=Int64, description=f"orders in the last {days} days"),
            Field(name=f"item_count_{days}d", dtype=Int64, description=f"items in the last {days} days"),
            Field(name=f"spend_{days}d", dtype=Float64, description=f"money in the last {days} days"),
        )
    ],
    source=customer_orders_windowed_rows,
    online=True,
    tags={"rows": "one a day"},
    owner=OWNER,
)
