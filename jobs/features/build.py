"""Builds the offline store: runs `feature_repo.transformations` on DuckDB or Spark and writes partitioned Parquet.

A build computes only what can differ from the previous build. It compares the orders day by day. From the first changed
day on it recomputes `customer_lifetime` for the customers who ordered since, and windowed snapshots for all customers.
"""

import logging
import tempfile
import time
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq

from artefacts.addresses import Artefacts
from artefacts.build_files import Written, relative_to_store
from artefacts.build_record import Build, Day, Partition
from artefacts.cutoffs import CutoffSettings, midnight
from feature_repo import transformations
from jobs.errors import JobError
from jobs.features.build_plan import lifetime_since, snapshot_times, windowed_at
from jobs.features.definition import definition_sha256
from jobs.features.engine import Engine, Features, Period, stored_schema
from jobs.features.open_engine import open_engine
from jobs.features.orders_check import check_against_orders
from jobs.features.settings import FeaturesSettings
from jobs.features.source import EventSource
from jobs.offline_store.builds import (
    files_of,
    keep_partition,
    next_history,
    only_build,
    put_in_place,
    read_build_or_none,
    whole_files,
)
from jobs.offline_store.owner import owner_of
from jobs.settings import JobsSettings
from jobs.times import EPOCH, unix_us
from training.churn.source.orders_file import ORDER_COLUMNS, Orders, find_orders
from training.churn.source.orders_schema import ORDERS_SCHEMA

_LOG = logging.getLogger(__name__)

_DAY = timedelta(days=1)


def build_features(
    artefacts: Artefacts,
    source: EventSource,
    settings: JobsSettings,
    now: datetime,
    engine: str = "duckdb",
    full: bool = False,
    cutoffs: CutoffSettings | None = None,
    also: CutoffSettings | None = None,
) -> Build:
    """Compute every stored feature view from the orders and put the build in place in one step.

    `created_timestamp` of a row is the midnight before its build, so the same orders, settings and day give the same
    files byte for byte. The old build stays in place until the last step, also if the run is interrupted.

    Args:
        now: UTC; no row is stamped later.
        engine: `duckdb` or `spark`.
        full: recompute everything.
        cutoffs: training's cut-offs; None reads them from the environment.
        also: further cut-offs, as those of another use case on the same features.

    Raises:
        SourceError: the orders cannot be used.
        JobError: an order is impossible, the engine cannot run or failed, another build is running, or rows differ from
            what their customers' orders give.
    """
    customers = FeaturesSettings().features_verify_customers  # refused before the minutes of building
    orders = find_orders(source)
    if orders.left_out:
        _LOG.info(f"  {len(orders.left_out):,} batches of streamed orders belong to other data and are left out")
    with only_build(artefacts.offline_store) as partial:
        with (
            tempfile.TemporaryDirectory(dir=settings.scratch_dir or partial.parent, suffix=".partial") as scratch,
            open_engine(engine, settings, Path(scratch)) as running,
        ):
            build = _BuildRun(artefacts, source, orders, running, partial, now, full).build(
                settings, cutoffs or CutoffSettings(), also
            )
        checked = check_against_orders(partial, build.partitions, orders.files, customers)
        _LOG.info(f"  {checked.rows:,} rows of {checked.customers:,} customers agree with their orders")
        put_in_place(partial, build, artefacts.offline_store, source.streamed_orders)
    owner_of(artefacts.offline_store, settings.owner)  # noted from the first build on, so that copies are recognized
    return build


class _BuildRun:
    """One run of `build_features`."""

    def __init__(
        self,
        artefacts: Artefacts,
        source: EventSource,
        orders: Orders,
        engine: Engine,
        partial: Path,
        now: datetime,
        full: bool,
    ) -> None:
        self._store = artefacts.offline_store
        self._source = source
        self._orders = orders
        self._engine = engine
        self._partial = partial
        self._now = now
        self._files: dict[str, dict[str, dict[str, Written]]] = {}
        self._definition = definition_sha256()
        self._in_place = read_build_or_none(self._store)
        self._previous = None if full else self._build_to_continue()
        self._distinct = engine.keep("distinct_orders", transformations.distinct_orders(engine.orders(orders.files)))

    def build(self, settings: JobsSettings, cutoffs: CutoffSettings, also: CutoffSettings | None = None) -> Build:
        days, first_order, last_order = self._days()
        changed = self._first_changed_day(days)
        observed_until = self._orders.observed_until
        known_until = max(observed_until, last_order)
        # Retraining uses the champion's label unless one is set, whatever else is set or was set before.
        chosen = (self._in_place.cutoffs if self._in_place else {}) | cutoffs.chosen
        label = {name: chosen[name] for name in ("label_days",) if name in chosen}
        times = snapshot_times(
            observed_until,
            known_until,
            self._now,
            settings.snapshot_backfill_days,
            settings.daily_snapshots,
            cutoffs,
            CutoffSettings(**(cutoffs.chosen | label)),
            CutoffSettings(**chosen),
            *([also] if also else []),
        )
        snapshots = [t for t in times if t > first_order]
        partitions = {
            "customer_lifetime": self._lifetime(changed),
            "customer_orders_windowed": self._windowed(changed, snapshots),
        }
        return Build(
            name=self._partial.stem,
            source=self._orders.source,
            observed_until=observed_until.isoformat(),
            known_until=known_until.isoformat(),
            newest_snapshot=snapshots[-1].isoformat() if snapshots else "",
            rows={view: sum(p["rows"] for p in held.values()) for view, held in partitions.items()},
            engine=self._engine.identity,
            definition=self._definition,
            streamed_batches=list(self._orders.streamed_batches),
            partitions=partitions,
            days=days,
            files=self._files,
            left_out=list(self._orders.left_out),
            cutoffs=chosen,
            history=next_history(self._in_place),
            streamed_from=relative_to_store(self._source.streamed_orders, self._store),
        )

    def _build_to_continue(self) -> Build | None:
        previous = self._in_place
        if previous is None:
            return None
        made_by = (previous.engine, previous.definition)  # its `days` tell which orders it holds
        return previous if made_by == (self._engine.identity, self._definition) else None

    def _days(self) -> tuple[dict[str, Day], datetime, datetime]:
        """Summarize the orders of each day; also returns the times of the first and the last order.

        Raises:
            JobError: a column is empty in some row, or an order lies in the future.
        """
        orders = self._distinct
        by_day = orders.group_by(day=orders.event_unix_us // transformations.DAY_US)
        found = self._engine.fetch(
            by_day.agg(
                orders=orders.count(),
                hash=orders.order_hash.cast("decimal(38, 0)").sum().cast("string"),
                first_us=orders.event_unix_us.min(),
                last_us=orders.event_unix_us.max(),
                **{f"no_{name}": orders[name].isnull().sum() for name in ORDER_COLUMNS},
            )
        )
        path = self._source.orders
        for name, column in zip(ORDER_COLUMNS, ORDERS_SCHEMA.names, strict=True):
            if any(day[f"no_{name}"] for day in found):
                raise JobError(f"{path}: an order, in this file or in the stream's batches, has no {column}")
        if max(day["last_us"] for day in found) >= unix_us(self._now):
            raise JobError(f"{path}: an order lies in the future; now is {self._now.isoformat()}")
        days = {str(day["day"]): Day(events=day["orders"], hash=day["hash"]) for day in found}
        first, last = min(day["first_us"] for day in found), max(day["last_us"] for day in found)
        return dict(sorted(days.items())), EPOCH + timedelta(microseconds=first), EPOCH + timedelta(microseconds=last)

    def _first_changed_day(self, days: dict[str, Day]) -> datetime | None:
        """The first midnight from which the orders differ from the previous build's; None if they are equal."""
        before = self._previous.days if self._previous else {}
        changed = [int(day) for day in days.keys() | before.keys() if days.get(day) != before.get(day)]
        return EPOCH + min(changed) * _DAY if changed else None

    def _lifetime(self, changed: datetime | None) -> dict[str, Partition]:
        """Keep the months before the first changed or damaged one: a row depends only on orders before it."""
        view = "customer_lifetime"
        undamaged = self._undamaged(view)
        damaged = [month for month in self._previous_partitions(view) if month not in undamaged]
        first = min([*damaged, f"{changed:%Y-%m}"] if changed else damaged, default="9999")
        kept = [month for month in undamaged if month < first]
        since = unix_us(datetime.fromisoformat(f"{first}-01").replace(tzinfo=UTC)) if kept and first != "9999" else 0
        return self._write(view, "month", kept, lifetime_since(since), first != "9999")

    def _windowed(self, changed: datetime | None, snapshots: list[datetime]) -> dict[str, Partition]:
        """Keep the snapshots of days before the first changed one.

        A snapshot depends on all orders until its day ends, because it holds the customers who are new on that day.
        """
        view = "customer_orders_windowed"
        wanted = {f"{t:%Y-%m-%d}": unix_us(t) for t in snapshots}
        last = "9999" if changed is None else f"{changed:%Y-%m-%d}"
        kept = [day for day in self._undamaged(view) if day in wanted and day < last]
        needed = [wanted[day] for day in wanted if day not in kept]
        return self._write(view, "day", kept, windowed_at(needed), bool(needed))

    def _previous_partitions(self, view: str) -> dict[str, Partition]:
        return self._previous.partitions.get(view, {}) if self._previous else {}

    def _undamaged(self, view: str) -> list[str]:
        """Partitions of the previous build whose files are unchanged since it wrote them; logs the others."""
        held = self._previous_partitions(view)
        undamaged = [name for name in held if self._previous and whole_files(self._store, self._previous, view, name)]
        for name in sorted(held.keys() - set(undamaged)):
            _LOG.warning(f"  {view}/{name}: damaged or missing; computing it again")
        return undamaged

    def _write(
        self, view: str, period: Period, kept: Collection[str], features: Features, needed: bool
    ) -> dict[str, Partition]:
        """Assemble a view's folder: partitions kept from the previous build and, if needed, computed rows."""
        started = time.monotonic()
        held = {name: self._previous_partitions(view)[name] for name in kept}
        known = self._previous.files[view] if self._previous and held else {}
        for name in held:
            keep_partition(self._store, view, name, known[name], self._partial)
        folder = self._partial / view
        created = midnight(self._now)
        written = self._engine.write(features, self._distinct, folder, period, created) if needed else {}
        new = {name: Partition(rows=count, build=self._partial.stem) for name, count in written.items()}
        if not held and not new:  # the feature view needs a file with its columns
            (folder / "none").mkdir(parents=True)
            pq.write_table(stored_schema(features(self._distinct)).empty_table(), folder / "none" / "part-0.parquet")
        self._files[view] = {name: known[name] for name in held} | {
            part.name: files_of(part) for part in sorted(folder.iterdir()) if part.name not in held
        }
        total = sum(partition["rows"] for partition in (held | new).values())
        _LOG.info(
            f"  {view}: {total:,} rows in {time.monotonic() - started:.1f} s, "
            f"{len(new)} partitions written, {len(held)} kept",
        )
        return dict(sorted((held | new).items()))
