"""Orders → the offline store: `feature_repo.transformations` run on DuckDB, written as partitioned Parquet."""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from contract.artefacts import Artefacts
from feature_repo import transformations
from jobs.errors import JobError
from jobs.orders import read_orders
from jobs.settings import JobsSettings

_DAY = timedelta(days=1)
_TIMESTAMP = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class Build:
    """One complete build of the offline store.

    source: which orders it is made of; it changes when they are replaced, not when they grow.
    rows: per feature view.
    """

    source: str
    observed_until: str
    newest_snapshot: str
    rows: dict[str, int]


def snapshot_times(observed_until: datetime, now: datetime, backfill_days: int, daily: int) -> list[datetime]:
    """Midnights that get a windowed snapshot: a backfilled grid for training, daily ones for serving.

    The grid is anchored at the first midnight at or before `observed_until`, where the last label window
    ends, so that training finds its cut-offs `backfill_days` apart whatever day it is run on.

    Returns:
        Ascending, unique, none after `now`; the grid reaches ten years back.
    """
    anchor, today = _midnight(observed_until), _midnight(now)
    grid = {anchor - k * backfill_days * _DAY for k in range(3650 // backfill_days)}
    return sorted(t for t in grid | {today - k * _DAY for k in range(daily)} if t <= now)


def build_features(artefacts: Artefacts, settings: JobsSettings, now: datetime) -> Build:
    """Compute every stored feature view from the orders and put the result in place in one step.

    The same orders, settings and day give byte-for-byte the same files: `created_timestamp` of every row is the
    midnight before `now`. Until the last step the old
    build stays whole; an interrupted run leaves it so.

    Args:
        artefacts: `current` in the offline store is a link to the newest build.
        now: UTC; no row is stamped later.

    Raises:
        JobError: the orders cannot be used, or another build is running.
    """
    orders = read_orders(artefacts.orders)
    now_us = _unix_us(now)
    latest = pc.max(orders.rows["event_unix_us"]).as_py()
    if latest >= now_us:
        raise JobError(f"{artefacts.orders}: an order lies in the future of {now.isoformat()}")
    first = _from_unix_us(pc.min(orders.rows["event_unix_us"]).as_py())
    snapshots = [
        t
        for t in snapshot_times(orders.observed_until, now, settings.snapshot_backfill_days, settings.daily_snapshots)
        if t > first
    ]
    connection = ibis.duckdb.connect()
    rows = transformations.distinct_orders(ibis.memtable(orders.rows))
    views: dict[str, ir.Table] = {
        "customer_lifetime": transformations.customer_lifetime(rows),
        "customer_orders_windowed": transformations.customer_orders_windowed(
            rows, ibis.memtable(pa.table({"snapshot_unix_us": pa.array([_unix_us(t) for t in snapshots], pa.int64())}))
        ),
    }
    builds = artefacts.offline_store / "builds"
    builds.mkdir(parents=True, exist_ok=True)
    with _only_one_build(builds):
        for abandoned in builds.glob("*.partial"):
            shutil.rmtree(abandoned)
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
        partial = builds / f"{name}.partial"
        counts = {}
        for view, expression in views.items():
            started = time.monotonic()
            counts[view] = _write(connection, expression, partial / view, _midnight(now))
            print(f"  {view}: {counts[view]:,} rows in {time.monotonic() - started:.1f} s", flush=True)
        build = Build(
            source=orders.source,
            observed_until=orders.observed_until.isoformat(),
            newest_snapshot=snapshots[-1].isoformat() if snapshots else "",
            rows=counts,
        )
        (partial / "build.json").write_text(json.dumps(asdict(build), indent=2) + "\n")
        _put_in_place(partial, builds / name, artefacts.offline_store / "current")
    return build


def read_build(offline_store: Path) -> Build:
    """Describe the build in place.

    Raises:
        JobError: there is none.
    """
    try:
        return Build(**json.loads((offline_store / "current" / "build.json").read_text()))
    except (OSError, ValueError, TypeError):
        raise JobError(f"{offline_store}: no features; run `make features` first") from None


def _write(connection: ibis.BaseBackend, expression: ir.Table, folder: Path, created: datetime) -> int:
    """Stream one view into folder/<year-month>/*.parquet, sorted by customer and time; returns the rows."""
    written = 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal written
        for batch in connection.to_pyarrow_batches(expression, chunk_size=100_000):
            written += batch.num_rows
            rows = _stamped(batch, created)
            yield rows.append_column("month", pc.strftime(rows["event_timestamp"], "%Y-%m"))

    stream = batches()
    first = next(stream, None)
    if first is None:  # the feature view must still find a file with its columns
        (folder / "none").mkdir(parents=True)
        pq.write_table(
            _stamped(expression.schema().to_pyarrow().empty_table(), created), folder / "none" / "part-0.parquet"
        )
        return 0
    ds.write_dataset(
        (batch for part in ((first,), stream) for batch in part),
        folder,
        schema=first.schema,
        format="parquet",
        partitioning=ds.partitioning(pa.schema([("month", pa.string())])),
        use_threads=False,  # threads would change the order of rows from run to run
    )
    return written


def _stamped(rows: Any, created: datetime) -> Any:
    """An Arrow batch or table with `event_timestamp` in the place of `event_unix_us`, and `created_timestamp`."""
    at = rows["event_unix_us"].cast(_TIMESTAMP)
    stamps = pa.repeat(pa.scalar(created, _TIMESTAMP), rows.num_rows)
    rows = rows.drop_columns(["event_unix_us"])
    return rows.append_column("event_timestamp", at).append_column("created_timestamp", stamps)


def _put_in_place(partial: Path, complete: Path, current: Path) -> None:
    """Name the finished build and move the link onto it; keeps the build before it for its readers."""
    previous = current.resolve() if current.is_symlink() else None
    partial.rename(complete)
    link = current.with_name(f"current.{os.getpid()}")
    link.symlink_to(Path("builds") / complete.name)
    link.replace(current)
    for build in complete.parent.iterdir():
        if build.is_dir() and build not in (complete, previous):
            shutil.rmtree(build)


@contextmanager
def _only_one_build(builds: Path) -> Iterator[None]:
    with (builds / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JobError(f"{builds}: another build is running") from None
        yield


def _midnight(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0)


def _unix_us(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _from_unix_us(value: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=value)
