"""Computes the rows of the feature views from the purchases. A row at time T tells of purchases before T only.

Money is summed in whole cents, so sums are exact in any order. What is undefined, such as a share of no spending, is
null: the models take nulls.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

import pyarrow as pa

from .source import Source

WINDOWS = (7, 28, 84)
"""Days before a snapshot over which purchases are summed."""
LONGEST = max(WINDOWS)
STAPLES = "GROCERY"
"""Nearly everybody's first department; which one comes after it tells households apart."""


def feature_rows(environ: Mapping[str, str], snapshots: Sequence[datetime]) -> dict[str, pa.Table]:
    """View → rows: the join keys, `event_timestamp` and the features of `feature_repo/feature_definitions.py`.

    Args:
        snapshots: midnights, UTC, at which windows end.

    Raises:
        SourceError: there are no purchases.
    """
    with Source.of(environ).opened() as connection:
        taken_at = pa.array(snapshots, pa.timestamp("us", tz="UTC"))
        connection.register("snapshots", pa.table({"taken_at": taken_at}))
        connection.execute(_WINDOWED)
        queries = {
            "household_windowed": _windowed(),
            "household_lifetime": _LIFETIME,
            "household_demographics": _DEMOGRAPHICS,
            "household_department": _DEPARTMENTS,
        }
        return {view: connection.execute(query).to_arrow_table() for view, query in queries.items()}


_WINDOWED = f"""
    CREATE TEMP TABLE windowed AS
    SELECT taken_at, purchases.*, epoch_us(bought_at) // 86400000000 AS day,
        {", ".join(f"bought_at >= taken_at - to_days({days}) AS within_{days}" for days in WINDOWS)}
    FROM purchases JOIN snapshots ON bought_at < taken_at AND bought_at >= taken_at - to_days({LONGEST})
"""  # noqa: S608  # numbers of ours


def _windowed() -> str:
    """One row for each snapshot and household with a purchase before it."""
    sums = ", ".join(
        f"sum(spend_cents) FILTER (within_{days}) AS cents_{days}d, "
        f"sum(discount_cents) FILTER (within_{days}) AS discount_{days}d, "
        f"count(DISTINCT day) FILTER (within_{days}) AS trip_days_{days}d, "
        f"count(DISTINCT basket_id) FILTER (within_{days}) AS basket_count_{days}d, "
        f"count(DISTINCT department) FILTER (within_{days}) AS department_count_{days}d"
        for days in WINDOWS
    )
    columns = ", ".join(
        f"coalesce(cents_{days}d, 0) / 100 AS spend_{days}d, "
        f"coalesce(trip_days_{days}d, 0) AS trip_days_{days}d, "
        f"coalesce(basket_count_{days}d, 0) AS basket_count_{days}d, "
        f"coalesce(department_count_{days}d, 0) AS department_count_{days}d, "
        f"discount_{days}d / nullif(cents_{days}d + discount_{days}d, 0) AS discount_share_{days}d"
        for days in WINDOWS
    )
    return f"""
        WITH sums AS (SELECT taken_at, household_id, {sums} FROM windowed GROUP BY ALL),
        seen AS (SELECT household_id, min(bought_at) AS first_at FROM purchases GROUP BY ALL),
        spent AS (SELECT taken_at, household_id, department, sum(spend_cents) AS cents FROM windowed
            WHERE department IS NOT NULL AND department <> '{STAPLES}' GROUP BY ALL HAVING cents > 0),
        visits AS (SELECT taken_at, household_id, store_id, count(DISTINCT basket_id) AS baskets,
            sum(spend_cents) AS cents FROM windowed GROUP BY ALL),
        department AS (SELECT taken_at, household_id, department FROM spent
            QUALIFY row_number() OVER (PARTITION BY taken_at, household_id ORDER BY cents DESC, department) = 1),
        store AS (SELECT taken_at, household_id, store_id FROM visits QUALIFY row_number() OVER (
            PARTITION BY taken_at, household_id ORDER BY baskets DESC, cents DESC, store_id) = 1)
        SELECT household_id, taken_at AS event_timestamp, {columns},
            department AS favourite_department, store_id AS favourite_store
        FROM seen JOIN snapshots ON first_at < taken_at
        LEFT JOIN sums USING (taken_at, household_id)
        LEFT JOIN department USING (taken_at, household_id) LEFT JOIN store USING (taken_at, household_id)
    """  # noqa: S608  # numbers and names of ours


_LIFETIME = """
    WITH trips AS (
        SELECT household_id, bought_at, count(DISTINCT basket_id) AS baskets, sum(spend_cents) AS cents,
            max(bought_at) FILTER (coupon_cents > 0) AS with_coupon_at
        FROM purchases GROUP BY ALL
    ), gaps AS (
        SELECT *, epoch_us(bought_at) - lag(epoch_us(bought_at)) OVER by_time AS gap_us FROM trips
        WINDOW by_time AS (PARTITION BY household_id ORDER BY bought_at)
    )
    SELECT household_id, bought_at + to_microseconds(1) AS event_timestamp,
        (sum(baskets) OVER so_far)::BIGINT AS basket_count,
        sum(cents) OVER so_far / 100 AS total_spend,
        sum(cents) OVER so_far / 100 / sum(baskets) OVER so_far AS mean_basket,
        cents / 100 AS last_spend,
        sum(gap_us) OVER so_far / 86400e6 / count(gap_us) OVER so_far AS mean_gap_days,
        max(gap_us) OVER so_far / 86400e6 AS max_gap_days,
        epoch_us(min(bought_at) OVER so_far) AS first_trip_unix_us,
        epoch_us(bought_at) AS last_trip_unix_us,
        max(with_coupon_at) OVER so_far AS last_coupon_at
    FROM gaps
    WINDOW so_far AS (PARTITION BY household_id ORDER BY bought_at ROWS UNBOUNDED PRECEDING)
"""
"""One row after each trip, over all trips up to it. The gap before the first trip is null."""

_DEMOGRAPHICS = """
    SELECT household_id, (SELECT min(bought_at) FROM purchases) AS event_timestamp,
        age, income, home_ownership, marital_status, household_size, household_comp, kids_count
    FROM households
"""
"""They carry no dates, so they are taken as known from the first purchase on."""

_DEPARTMENTS = """
    SELECT household_id, department, taken_at AS event_timestamp,
        coalesce(sum(spend_cents) FILTER (within_28), 0) / 100 AS department_spend_28d,
        sum(spend_cents) / 100 AS department_spend_84d,
        count(DISTINCT day) AS department_days_84d,
        sum(discount_cents) / nullif(sum(spend_cents + discount_cents), 0) AS department_discount_share_84d,
        epoch_us(max(bought_at)) AS last_bought_unix_us
    FROM windowed WHERE department IS NOT NULL GROUP BY household_id, department, taken_at
"""
"""One row for each snapshot, household and department in which it bought within the longest window."""
