"""Feature rows that new orders add or change, by the definitions that builds are made by."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from artefacts.cutoffs import midnight
from feature_repo import transformations
from jobs.features.build_plan import last_snapshot, lifetime_since, windowed_since
from jobs.features.engine import Features, stored_schema
from jobs.features.open_engine import open_engine
from jobs.offline_store.builds import Build
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
    """The rows of each view after the first of the new orders, as the offline store has them; no view without any.

    Args:
        since: time of that order; UTC.
        history: Parquet of all orders of the customers who gave the new ones.
        build: the one in place.
        stored: the rows of `customer_orders_windowed` that there are.
        scratch: an existing folder, which is the caller's to remove.
        now: UTC; `created_timestamp` of the rows.

    Raises:
        JobError: files cannot be read.
    """
    since_us, day_us = unix_us(since), transformations.DAY_US
    snapshots = [unix_us(datetime.fromisoformat(day).replace(tzinfo=UTC)) for day in build.partitions[WINDOWED]]
    snapshots += _coming(snapshots, build, history, now)
    touched = [at for at in snapshots if at + day_us > since_us]
    # Of who is new today it is known what the windows of the last midnight are, even before a build has made them.
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
        rows[WINDOWED] = pa.concat_tables([rows[WINDOWED], _no_longer_new(rows[WINDOWED], stored, since)])
    return {view: table for view, table in rows.items() if table.num_rows}


def _coming(snapshots: list[int], build: Build, history: Path, now: datetime) -> list[int]:
    """The last midnight, where the next build makes a snapshot of it: one under way does not know of these orders."""
    ordered = pc.max(pq.read_table(history, columns=["event_timestamp"])["event_timestamp"]).as_py()
    known = max(datetime.fromisoformat(build.known_until or build.observed_until), ordered)
    last = midnight(now)
    follows = bool(snapshots) and max(snapshots) < unix_us(last) and last == last_snapshot(known, now)
    return [unix_us(last)] if follows else []


def _no_longer_new(made: pa.Table, stored: ViewSource, since: datetime) -> pa.Table:
    """Of customers who were taken for new on a day, and turn out to have ordered before it: that day's windows anew.

    Their rows are stamped with the order that was the first, so they would lie over the day's snapshot.
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
