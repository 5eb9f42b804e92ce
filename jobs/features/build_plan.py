"""Plans a build: which snapshots there are, and which rows of each feature view can have changed."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import ibis
import ibis.expr.types as ir

from artefacts.build_record import Build
from artefacts.cutoffs import CutoffSettings, lay_back, midnight
from feature_repo import transformations
from jobs.features.engine import Features

_DAY = timedelta(days=1)


def snapshot_times(
    observed_until: datetime,
    known_until: datetime,
    now: datetime,
    backfill_days: int,
    daily: int,
    *cutoffs: CutoffSettings,
) -> list[datetime]:
    """Midnights that get a windowed snapshot: training's cut-offs, daily ones for serving, and a grid of the past.

    Cut-offs and grid count back from the last midnight at or before `observed_until`. The grid serves scoring as of a
    past time. The daily ones end with `last_snapshot`.

    Args:
        known_until: end of the orders, delivered or streamed; UTC.

    Returns:
        Ascending, unique, none after `now`; the grid reaches ten years back.
    """
    anchor = midnight(observed_until)
    last = last_snapshot(known_until, now)
    grid = {anchor - k * backfill_days * _DAY for k in range(3650 // backfill_days)}
    recent = {last - k * _DAY for k in range(daily)}
    asked = {t for settings in cutoffs for t in lay_back(observed_until, settings).all}
    return sorted(t for t in grid | recent | asked if t <= now)


def last_snapshot(known_until: datetime, now: datetime) -> datetime:
    """The last midnight up to `now`, at most the one that ends the day of `known_until`.

    A later window would count days without a delivery as days without an order. So a window is as old as its orders.
    """
    return min(midnight(known_until + _DAY - timedelta.resolution), midnight(now))


def lifetime_since(since_us: int) -> Features:
    """`customer_lifetime` rows from a time on, of the customers who ordered since; microseconds since 1970."""

    def features(orders: ir.Table) -> ir.Table:
        buyers = orders.filter(orders.event_unix_us + 1 >= since_us).select("customer_id").distinct()
        rows = transformations.customer_lifetime(orders.semi_join(buyers, "customer_id") if since_us else orders)
        return rows.filter(rows.event_unix_us >= since_us)

    return features


def windowed_at(snapshots_us: Sequence[int]) -> Features:
    """`customer_orders_windowed` at these times, in microseconds since 1970."""
    times = _times(snapshots_us)
    return lambda orders: transformations.customer_orders_windowed(orders, times)


def windowed_since(since_us: int, snapshots_us: Sequence[int], unbuilt_us: int | None = None) -> Features:
    """The rows of `windowed_at` after a time: those that orders from then on can change.

    Args:
        unbuilt_us: a snapshot that no build has made; only customers who are new on its day get a row.
    """

    def features(orders: ir.Table) -> ir.Table:
        rows = windowed_at(snapshots_us)(orders)
        if unbuilt_us is not None:
            new = transformations.newcomers_windowed(orders, _times([unbuilt_us]))
            rows = rows.union(new.select(*rows.columns))
        return rows.filter(rows.event_unix_us > since_us)

    return features


def _times(snapshots_us: Sequence[int]) -> ir.Table:
    return ibis.literal(list(snapshots_us), "array<int64>").unnest().name("snapshot_unix_us").as_table()


def reach(build: Build, now: datetime) -> str:
    """Say up to when a build's features reach, and how old its newest orders are.

    Args:
        now: UTC, the time of the build.
    """
    until, snapshot = datetime.fromisoformat(build.known_until), build.newest_snapshot
    end = f"features up to {snapshot}" if snapshot else "no snapshot of windowed features yet"
    if snapshot == midnight(now).isoformat():
        return end
    return (
        f"{end}, because the orders end at {until:%Y-%m-%d %H:%M} UTC, {(now - until).days} days ago; windowed "
        "features grow old from then on. If nobody ordered since, say so: UNTIL= or COMPLETE=1, docs/own-orders.md"
    )
