"""Features of households and of their departments; the rows are those of ../features.py.

Tags say what happens to a value that is missing (docs/how-to.md): `keep` hands the null to the model, and `default` 0
is the truth where nothing was bought. `kind: categorical` makes a category of a whole number.
"""

import os
from datetime import timedelta
from glob import escape
from pathlib import Path
from typing import Any

from feast import Entity, FeatureService, FeatureView, Field, FileSource, Project, RequestSource, ValueType
from feast.data_format import ParquetFormat
from feast.feature_logging import LoggingConfig
from feast.infra.offline_stores.file_source import FileLoggingDestination
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64, String, UnixTimestamp

_OFFLINE_STORE = Path(
    os.environ.get("OFFLINE_STORE_DIR")
    or Path(__file__).resolve().parents[3] / "var" / "use_cases" / "household_spend" / "offline_store"
)
_ZERO = {"default": "0"}
_KEEP = {"on_missing": "keep"}
_SNAPSHOTS = timedelta(days=2)
"""TTL of daily snapshots: one missed run is tolerated, two are reported."""


def _rows(feature_view: str) -> FileSource:
    # `current` is a link that `make features` moves in one step from one complete build to the next.
    path = str(Path(escape(str(_OFFLINE_STORE))) / "current" / feature_view / "*" / "*.parquet")
    # `feast monitor` asks for the format.
    return FileSource(name=feature_view, path=path, file_format=ParquetFormat(), timestamp_field="event_timestamp")


def _logging(feature_service: str) -> LoggingConfig:
    return LoggingConfig(destination=FileLoggingDestination(path=str(_OFFLINE_STORE / "feature_log" / feature_service)))


_OWNER = "customer-analytics@example.com"

households = Project(
    name="household",
    description="What a grocer knows of the households of its panel.",
    tags={"domain": "purchases"},
    owner=_OWNER,
)

household = Entity(
    name="household",
    join_keys=["household_id"],
    value_type=ValueType.INT64,
    description="One household of the panel.",
    owner=_OWNER,
)
department = Entity(
    name="department",
    join_keys=["department"],
    value_type=ValueType.STRING,
    description="A department of the stores.",
    owner=_OWNER,
)

household_windowed = FeatureView(
    name="household_windowed",
    description="Purchases in the last 7/28/84 days, one snapshot at midnight UTC of each day.",
    entities=[household],
    ttl=_SNAPSHOTS,
    schema=[
        *(
            field
            for days in (7, 28, 84)
            for field in (
                Field(name=f"spend_{days}d", dtype=Float64, tags=_ZERO, description="money, after discounts"),
                Field(name=f"trip_days_{days}d", dtype=Int64, tags=_ZERO, description="days with a purchase"),
                Field(name=f"basket_count_{days}d", dtype=Int64, tags=_ZERO, description="baskets"),
                Field(name=f"department_count_{days}d", dtype=Int64, tags=_ZERO, description="distinct departments"),
                Field(
                    name=f"discount_share_{days}d",
                    dtype=Float64,
                    tags=_KEEP,
                    description="discounts ÷ money before them; null without a purchase",
                ),
            )
        ),
        Field(
            name="favourite_department",
            dtype=String,
            tags=_KEEP,
            description="department with the most money in 84 days beside GROCERY; null without one",
        ),
        Field(
            name="favourite_store",
            dtype=Int64,
            tags={**_KEEP, "kind": "categorical"},
            description="store with the most baskets in 84 days; null without one",
        ),
    ],
    source=_rows("household_windowed"),
    tags={"rows": "one a day"},
    owner=_OWNER,
)

household_lifetime = FeatureView(
    name="household_lifetime",
    description="All that a household ever bought; one row after each trip, valid until the next.",
    entities=[household],
    ttl=None,
    schema=[
        Field(name="basket_count", dtype=Int64, description="baskets so far"),
        Field(name="total_spend", dtype=Float64, description="money so far"),
        Field(name="mean_basket", dtype=Float64, description="money per basket"),
        Field(name="last_spend", dtype=Float64, description="money at the last trip"),
        Field(name="mean_gap_days", dtype=Float64, tags=_KEEP, description="days between trips; null at the first"),
        Field(name="max_gap_days", dtype=Float64, tags=_KEEP, description="longest gap; null at the first"),
        Field(name="first_trip_unix_us", dtype=Int64, description="first trip, microseconds since 1970"),
        Field(name="last_trip_unix_us", dtype=Int64, description="last trip, microseconds since 1970"),
        Field(
            name="last_coupon_at",
            dtype=UnixTimestamp,
            tags=_KEEP,
            description="last purchase with a coupon; null if never. The model sees how long ago that is",
        ),
    ],
    source=_rows("household_lifetime"),
    tags={"rows": "one after each trip"},
    owner=_OWNER,
)

household_demographics = FeatureView(
    name="household_demographics",
    description="What a third of the households told of themselves; no dates, so taken as always known.",
    entities=[household],
    ttl=None,
    schema=[
        Field(name=name, dtype=String, tags=_KEEP)
        for name in (
            *("age", "income", "home_ownership", "marital_status"),
            *("household_size", "household_comp", "kids_count"),
        )
    ],
    source=_rows("household_demographics"),
    tags={"rows": "one a household"},
    owner=_OWNER,
)

household_department = FeatureView(
    name="household_department",
    description="Purchases of a household in one department, one snapshot at midnight UTC of each day.",
    entities=[household, department],
    ttl=_SNAPSHOTS,
    schema=[
        Field(name="department_spend_28d", dtype=Float64, tags=_ZERO, description="money in 28 days"),
        Field(name="department_spend_84d", dtype=Float64, tags=_ZERO, description="money in 84 days"),
        Field(name="department_days_84d", dtype=Int64, tags=_ZERO, description="days with a purchase in 84 days"),
        Field(name="department_discount_share_84d", dtype=Float64, tags=_KEEP, description="null without money"),
        Field(name="last_bought_unix_us", dtype=Int64, tags=_KEEP, description="microseconds since 1970"),
    ],
    source=_rows("household_department"),
    tags={"rows": "one a day"},
    owner=_OWNER,
)

request_time = RequestSource(
    name="request_time",
    schema=[
        Field(
            name="as_of",
            dtype=Int64,
            description="microseconds since 1970; the request time in training",
            tags={"filled_by": "request_time_unix_us"},
        )
    ],
)

coupon = RequestSource(
    name="coupon",
    schema=[Field(name="coupon_value", dtype=Float64, description="money off that is offered; the request says it")],
)


@on_demand_feature_view(  # type: ignore[untyped-decorator]  # feast publishes no types
    sources=[household_lifetime[["first_trip_unix_us", "last_trip_unix_us", "mean_gap_days"]], request_time],
    schema=[
        Field(name="days_since_last_trip", dtype=Float64),
        Field(name="tenure_days", dtype=Float64),  # days since the first trip
        Field(name="recency_over_mean_gap", dtype=Float64),  # 1 while there is no gap to compare with
    ],
    mode="python",
)
def household_recency(inputs: dict[str, Any]) -> dict[str, Any]:
    """Columns in, columns out; null where the household has made no trip. Stored with Feast, so self-contained."""
    day_us = 86_400_000_000
    recency: list[float | None] = []
    tenure: list[float | None] = []
    ratio: list[float | None] = []
    for as_of, first, last, gap in zip(
        inputs["as_of"],
        inputs["first_trip_unix_us"],
        inputs["last_trip_unix_us"],
        inputs["mean_gap_days"],
        strict=True,
    ):
        if first is None or last is None or first != first or last != last:  # None online, NaN offline
            recency.append(None)
            tenure.append(None)
            ratio.append(None)
            continue
        since_last = (as_of - last) / day_us
        recency.append(since_last)
        tenure.append((as_of - first) / day_us)
        ratio.append(since_last / gap if gap is not None and gap == gap and gap > 0 else 1.0)
    return {"days_since_last_trip": recency, "tenure_days": tenure, "recency_over_mean_gap": ratio}


@on_demand_feature_view(  # type: ignore[untyped-decorator]  # feast publishes no types
    sources=[household_department[["department_spend_84d", "last_bought_unix_us"]], request_time, coupon],
    schema=[
        Field(name="coupon_offered", dtype=Float64),
        Field(name="coupon_over_usual_spend", dtype=Float64),  # coupon ÷ money of 28 days; the coupon without money
        Field(name="days_since_department", dtype=Float64),  # 84, the length of the window, if it is longer ago
    ],
    mode="python",
)
def coupon_offer(inputs: dict[str, Any]) -> dict[str, Any]:
    """Columns in, columns out. Stored with Feast, so self-contained."""
    day_us = 86_400_000_000
    offered: list[float] = []
    ratio: list[float] = []
    recency: list[float] = []
    for value, spend, last, as_of in zip(
        inputs["coupon_value"],
        inputs["department_spend_84d"],
        inputs["last_bought_unix_us"],
        inputs["as_of"],
        strict=True,
    ):
        usual = spend / 3 if spend is not None and spend == spend and spend > 0 else 1.0
        offered.append(float(value))
        ratio.append(value / usual)
        recency.append(84.0 if last is None or last != last else (as_of - last) / day_us)
    return {"coupon_offered": offered, "coupon_over_usual_spend": ratio, "days_since_department": recency}


_LIFETIME = [
    "basket_count",
    "total_spend",
    "mean_basket",
    "last_spend",
    "mean_gap_days",
    "max_gap_days",
    "last_coupon_at",
]

household_spend_v1 = FeatureService(
    name="household_spend_v1",
    features=[household_windowed, household_lifetime[_LIFETIME], household_demographics, household_recency],
    description="Inputs of household_spend from version 1 on.",
    logging_config=_logging("household_spend_v1"),
    owner=_OWNER,
)

next_department_v1 = FeatureService(
    name="next_department_v1",
    features=[household_windowed, household_lifetime[_LIFETIME], household_demographics, household_recency],
    description="Inputs of next_department from version 1 on.",
    logging_config=_logging("next_department_v1"),
    owner=_OWNER,
)

coupon_purchase_v1 = FeatureService(
    name="coupon_purchase_v1",
    features=[
        household_department[["department_spend_28d", "department_days_84d", "department_discount_share_84d"]],
        household_windowed[["spend_28d", "favourite_department"]],
        coupon_offer,
    ],
    description="Household and department: will it buy there, given a coupon?",
    logging_config=_logging("coupon_purchase_v1"),
    owner=_OWNER,
)
