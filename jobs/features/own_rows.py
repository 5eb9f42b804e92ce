"""Builds the offline store of a use case whose own `features.py` computes the rows of its feature views.

The rows of every view are computed whole. A file that is equal to the previous build's is the same file, so that
materialization reads only what changed.
"""

import hashlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from artefacts.addresses import PROJECT_ROOT, Artefacts
from artefacts.build_files import Written
from artefacts.build_record import Build, Day, Partition
from artefacts.cutoffs import CutoffSettings
from jobs.errors import JobError
from jobs.features.build_plan import snapshot_times
from jobs.features.definition import own_definition_sha256
from jobs.features.engine import TIMESTAMP
from jobs.features.use_case_cutoffs import use_case_cutoffs
from jobs.offline_store.builds import files_of, next_history, only_build, put_in_place, read_build_or_none
from jobs.offline_store.owner import owner_of
from jobs.settings import JobsSettings
from jobs.times import unix_us
from jobs.use_case import function_of, known_from_to
from scoring.erased_keys import ErasedKeys

_LOG = logging.getLogger(__name__)

_TIME = "event_timestamp"
_DAY_US = 86_400_000_000

Rows = Mapping[str, pa.Table]
"""Feature view → its rows: the join keys first, `event_timestamp`, and the view's features."""


def own_rows(use_case: Path) -> Callable[..., Rows] | None:
    """`feature_rows` of the folder's `features.py`: (environment variables, snapshot times) → `Rows`; None without it.

    Raises:
        JobError: the module cannot be imported, or has no such function.
    """
    return function_of(use_case / "features.py", "feature_rows")


def build_own(artefacts: Artefacts, feature_rows: Callable[..., Rows], settings: JobsSettings, now: datetime) -> Build:
    """Compute all rows and put the build in place in one step.

    Args:
        now: UTC; no row is stamped later.

    Raises:
        JobError: rows cannot be stored as they are, another build is running, or there are no events.
    """
    first, observed_until = known_from_to()
    with only_build(artefacts.offline_store) as partial:
        in_place = read_build_or_none(artefacts.offline_store)
        cutoffs = use_case_cutoffs()
        # Retraining uses the champion's label, whatever was set for another one.
        chosen = (in_place.cutoffs if in_place else {}) | CutoffSettings().chosen
        times = snapshot_times(
            observed_until,
            observed_until,
            now,
            settings.snapshot_backfill_days,
            settings.daily_snapshots,
            cutoffs,
            cutoffs.model_copy(update=chosen),
        )
        snapshots = [time for time in times if time > first]
        erased = ErasedKeys.of(artefacts.offline_store)
        views = {view: erased.without(rows) for view, rows in feature_rows(os.environ, snapshots).items()}
        partitions: dict[str, dict[str, Partition]] = {}
        files: dict[str, dict[str, dict[str, Written]]] = {}
        for view, rows in views.items():
            counted = _write(_checked(view, rows, now), snapshots, partial / view)
            files[view] = {name: files_of(partial / view / name) for name in counted}
            partitions[view] = {
                name: Partition(rows=count, build=_first_build(in_place, view, name, files[view][name], partial.stem))
                for name, count in counted.items()
            }
            _LOG.info(f"  {view}: {rows.num_rows:,} rows")
        _link_unchanged(artefacts.offline_store / "current", in_place, partial, files)
        owner = artefacts.features_of
        build = Build(
            name=partial.stem,
            source=str(owner.relative_to(PROJECT_ROOT) if owner.is_relative_to(PROJECT_ROOT) else owner.name),
            observed_until=observed_until.isoformat(),
            known_until=observed_until.isoformat(),
            newest_snapshot=snapshots[-1].isoformat() if snapshots else "",
            rows={view: rows.num_rows for view, rows in views.items()},
            engine=f"duckdb {duckdb.__version__}",
            definition=own_definition_sha256(owner),
            streamed_batches=[],
            partitions=partitions,
            days=_of_all(views, files, observed_until),
            files=files,
            cutoffs=chosen,
            history=next_history(in_place),
        )
        put_in_place(partial, build, artefacts.offline_store, artefacts.offline_store / "streamed")
    owner_of(artefacts.offline_store, settings.owner)  # noted from the first build on, so that copies are recognized
    return build


def _checked(view: str, rows: pa.Table, now: datetime) -> pa.Table:
    """The rows with times as every reader takes them.

    Raises:
        JobError: there is no usable time, or one lies in the future.
    """
    if _TIME not in rows.column_names:
        raise JobError(f"features.py: {view} has no column {_TIME!r}")
    if not pa.types.is_timestamp(found := rows.schema.field(_TIME).type) or found.tz is None:
        raise JobError(f"features.py: {view}: {_TIME!r} is {found}; it must be a timestamp with a time zone")
    if rows[_TIME].null_count:
        raise JobError(f"features.py: {view}: {_TIME!r} is empty in {rows[_TIME].null_count:,} rows")
    column = rows.column_names.index(_TIME)
    rows = rows.set_column(column, _TIME, rows[_TIME].cast(TIMESTAMP))
    if rows.num_rows and pc.max(rows[_TIME]).as_py() > now:
        raise JobError(f"features.py: {view} has rows of the future: {pc.max(rows[_TIME]).as_py().isoformat()}")
    return rows


def _write(rows: pa.Table, snapshots: Sequence[datetime], folder: Path) -> dict[str, int]:
    """Write a folder for each day of a view of snapshots, else for each month; returns rows by folder.

    Rows are sorted by the columns before the time and by it. A dropped snapshot is told by its folder.
    """
    keys = rows.column_names[: rows.column_names.index(_TIME)]
    taken_at = pa.array(snapshots, TIMESTAMP)
    of_snapshots = pc.all(pc.is_in(rows[_TIME], taken_at)).as_py()
    periods = pc.strftime(rows[_TIME], "%Y-%m-%d" if of_snapshots else "%Y-%m")
    counted: dict[str, int] = {}
    for period in sorted(pc.unique(periods).to_pylist()) or ["none"]:  # a view needs a file with its columns
        of_period = rows.filter(pc.equal(periods, period)).sort_by([(name, "ascending") for name in (*keys, _TIME)])
        (folder / period).mkdir(parents=True)
        pq.write_table(of_period, folder / period / "part-0.parquet", row_group_size=100_000)
        counted[period] = of_period.num_rows
    return counted


def _first_build(previous: Build | None, view: str, name: str, files: Mapping[str, Written], current: str) -> str:
    """The build that first wrote these files: the previous one's, where they are equal."""
    if previous is None or previous.files.get(view, {}).get(name) != files:
        return current
    return previous.partitions[view][name]["build"]


def _link_unchanged(
    current: Path, previous: Build | None, partial: Path, files: Mapping[str, Mapping[str, Mapping[str, Written]]]
) -> None:
    for view, by_month in files.items():
        for month, written in by_month.items():
            before = previous.files.get(view, {}).get(month, {}) if previous else {}
            for name in [name for name, found in written.items() if before.get(name) == found]:
                file, same = partial / view / month / name, current / view / month / name
                if same.is_file():
                    file.unlink()
                    os.link(same, file)


def _of_all(
    views: Rows, files: Mapping[str, Mapping[str, Mapping[str, Written]]], observed_until: datetime
) -> dict[str, Day]:
    """One entry for all rows: nobody but `features.py` knows which events they come from."""
    digest = hashlib.sha256(repr(sorted((v, sorted(m.items())) for v, m in files.items())).encode()).hexdigest()
    rows = sum(table.num_rows for table in views.values())
    return {str(unix_us(observed_until) // _DAY_US): Day(events=rows, hash=digest)}
