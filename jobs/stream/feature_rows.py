"""Computes the feature rows that new orders add or change, with the same definitions as builds."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from artefacts.build_record import Build
from artefacts.cutoffs import midnight
from feature_repo import transformations
from jobs.features.build_plan import last_snapshot, lifetime_since, windowed_since
from jobs.features.engine import Features, stored_schema
from jobs.features.open_engine import open_engine
from jobs.offline_store.latest_rows import ViewSource, connect, quoted, rows_of, run_query
from jobs.settings import JobsSettings
from jobs.times import unix_us

LIFETIME, WINDOWED = "customer_lifetime", "customer_orders_windowed"


def rows_of_new_orders(
    since: datetime,
    history: Path,
    build: Build,
    stored: ViewSource,
    scratch: Path,
    settings: JobsSettings,
    now: datetime,
) -> dict[str, pa.Table]:
    """Rows of each view from the first new order on, in the offline store's schema; views without rows are left out.

    Args:
        since: time of the first new order; UTC.
        history: Parquet of all orders of the new orders' customers.
        build: the build in place.
        stored: source of the existing rows of `customer_orders_windowed`.
        scratch: an existing folder; the caller removes it.
        now: UTC; `created_timestamp` of the rows.

    Raises:
        JobError: files cannot be read.
    """
    since_us, day_us = unix_us(since), transformations.DAY_US
    snapshots = [unix_us(datetime.fromisoformat(day).replace(tzinfo=UTC)) for day in build.partitions[WINDOWED]]
    snapshots += _upcoming_snapshots(snapshots, build, history, now)
    touched = [at for at in snapshots if at + day_us > since_us]
    # For customers who are new today, the windows of the last midnight are known before a build has made them.
    today = unix_us(midnight(now))
    unbuilt = None if today in snapshots else today
    rows = {}
    with open_engine("duckdb", settings, scratch) as engine:
        orders = engine.keep("distinct_orders", transformations.distinct_orders(engine.orders([history])))
        features: dict[str, Features] = {LIFETIME: lifetime_since(since_us)}
        if touched or unbuilt is not None:
            features[WINDOWED] = windowed_since(since_us, touched, unbuilt)
        for view, make in features.items():
            folder = scratch / view
            engine.write(make, orders, folder, "month", now)
            schema = stored_schema(make(orders))
            rows[view] = ds.dataset(folder, schema=schema).to_table() if folder.exists() else schema.empty_table()
    if WINDOWED in rows:
        rows[WINDOWED] = pa.concat_tables([rows[WINDOWED], _corrected_newcomers(rows[WINDOWED], stored, since)])
    return {view: table for view, table in rows.items() if table.num_rows}


def _upcoming_snapshots(snapshots: list[int], build: Build, history: Path, now: datetime) -> list[int]:
    """The last midnight, if the next build makes its snapshot: a build that is running does not have these orders."""
    ordered = pc.max(pq.read_table(history, columns=["event_timestamp"])["event_timestamp"]).as_py()
    known = max(datetime.fromisoformat(build.known_until or build.observed_until), ordered)
    last = midnight(now)
    follows = bool(snapshots) and max(snapshots) < unix_us(last) and last == last_snapshot(known, now)
    return [unix_us(last)] if follows else []


def _corrected_newcomers(made: pa.Table, stored: ViewSource, since: datetime) -> pa.Table:
    """Windows of a day for customers who counted as new on it, but turn out to have ordered before.

    Their stored rows are stamped after the supposed first order, so they would hide the corrected snapshot.
    """
    key, at = quoted(stored.join_key), quoted(stored.timestamp_field)
    with connect() as connection:
        connection.register("made", made)
        query = f"""
            WITH new AS (
                SELECT DISTINCT {key}, {at} FROM {rows_of(stored.files())}
                WHERE {key} IN (SELECT {key} FROM made) AND {at} > ? AND {at} <> date_trunc('day', {at})
            )
            SELECT made.* REPLACE (new.{at} AS {at})
            FROM made JOIN new ON made.{key} = new.{key} AND made.{at} = date_trunc('day', new.{at})
        """  # noqa: S608  # names are quoted, values are parameters
        return run_query(connection, [stored], query, [since]).cast(made.schema)
