"""Materializes the offline store into Redis: the latest row of every customer in every view.

One run at a time. Each view goes in chunks, so memory is bounded and an interrupted run resumes. Rows of another owner,
and rows newer than the run, stay. A sample is read back through Feast's SDK. Exit codes: docs/materialization.md.
"""

import logging
import time
from dataclasses import dataclass
from dataclasses import replace as changed_in
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from artefacts.addresses import Artefacts
from artefacts.process.redaction import redacted
from contract.resolve import CLOCK_SKEW_SECONDS
from jobs.errors import JobError
from jobs.feature_store import open_feature_store, tell_materialized
from jobs.materialization.chunks import BuildView, ChunkReader, Progress
from jobs.materialization.encoding import StoredFormat, encode_times
from jobs.materialization.feast_fallback import materialize_by_feast, why_not_here
from jobs.materialization.locks import FAILURES, LockedError, RunLock, online_writer
from jobs.materialization.newest_snapshot import note_newest_snapshot
from jobs.materialization.owners import OtherOwnerError, claim
from jobs.materialization.progress import MaterializationPass, Materialized, SourceState, changed_files, next_pass
from jobs.materialization.read_back import eviction, gone, mismatches, some_rows
from jobs.materialization.redis_client import client_beside
from jobs.materialization.redis_writer import ANY_TIME, Fence, OnlineRows
from jobs.materialization.run_records import Outcome, PartlyError, RunRecord, UnverifiedError, ViewRecord
from jobs.materialization.vanished_rows import Removal
from jobs.offline_store.builds import check_whole, read_build
from jobs.offline_store.latest_rows import (
    ViewSource,
    check_columns,
    connect,
    customer_ranges,
    newest_time,
)
from jobs.offline_store.owner import owner_of
from jobs.offline_store.view_files import build_of, identities, limited_to, of_kept_builds, replaced, resolved
from jobs.settings import JobsSettings

if TYPE_CHECKING:
    from feast import FeatureStore, FeatureView

_LOG = logging.getLogger(__name__)

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_CHECKED_CUSTOMERS, _CHECKED_AFTER_FULL = 50_000, 2_000
"""Customers per view whose rows are looked for in Redis at the end; the second number, if all were just written."""


@dataclass(frozen=True)
class _Options:
    """Arguments of `materialize`."""

    full: bool = False
    replace: bool = False
    take_over: bool = False


def materialize(
    artefacts: Artefacts,
    until: datetime | None = None,
    replace: bool = False,
    full: bool = False,
    settings: JobsSettings | None = None,
    take_over: bool = False,
) -> None:
    """Write the latest row at `until` of every customer and view online; record the run.

    Unchanged rows that were materialized before are not written again. Online rows that the offline store no longer
    holds are overwritten, or removed if their customer has no row. Rows later than `until` stay.

    Args:
        until: UTC; default, and at most, now.
        replace: write all rows, also over newer ones if `until` is in the past, else over rows of the future. Then
            remove customers whom the offline store does not have.
        full: write all rows again.
        take_over: if the rows are another owner's, do as with `replace`.

    Raises:
        LockedError: another run is active.
        OtherOwnerError: the online rows are another owner's; nothing was written.
        PartlyError: some views could not be materialized; the others were.
        UnverifiedError: the sample that was read back differs.
        JobError: nothing could be done, e.g. no Redis address, Redis unreachable, or no features.
    """
    started = datetime.now(UTC)
    record = RunRecord(started=started, until=min(until or started, started))
    clock = time.monotonic()
    try:
        _materialize(artefacts, record, _Options(full, replace, take_over), settings or JobsSettings())
        record.outcome, record.exit_code = "done", 0
    except JobError as error:
        record.exit_code, record.error = error.exit_code, str(error)
        outcomes: dict[int, Outcome] = {
            LockedError.exit_code: "locked",
            PartlyError.exit_code: "partly",
            UnverifiedError.exit_code: "unverified",
            OtherOwnerError.exit_code: "refused",
        }
        record.outcome = outcomes.get(error.exit_code, "failed")
        raise
    finally:
        record.seconds = round(time.monotonic() - clock, 3)
        record.append_to(artefacts.materialize_runs)


def _materialize(artefacts: Artefacts, record: RunRecord, wanted: _Options, settings: JobsSettings) -> None:
    if artefacts.redis_url is None:
        raise JobError("REDIS_URL is not set and no embedded server runs; `make redis` starts one")
    build = read_build(artefacts.offline_store)
    record.source, record.newest_snapshot = build.source, build.newest_snapshot
    in_place = (artefacts.offline_store / "current").resolve()
    record.build = in_place.name
    check_whole(in_place, artefacts.streamed_orders)
    store = open_feature_store(artefacts)
    from scoring.feast.store import views_to_materialize  # imports feast

    views = views_to_materialize(store)
    if not views:
        raise JobError(f"{redacted(artefacts.feast_registry)}: no feature views; run `make apply` first")
    if store.config.online_store.type != "redis":
        raise JobError("the online store is not Redis, in which runs are locked and remembered")
    try:
        client = client_beside(store, artefacts.redis_url)
        with RunLock(client, f"{store.project}:materialize", "materialization", settings.lock_seconds) as lock:
            owner = owner_of(artefacts.offline_store, settings.owner)
            taken = claim(client, store.project, owner, wanted.take_over)
            marks = Materialized(client, store.project)
            if wanted.replace:
                marks.restart()
            # In a run up to now, later rows are the stream's, which has also added them to the offline store.
            over = ANY_TIME if taken or (wanted.replace and record.until < record.started) else b""
            full = wanted.full or wanted.replace or taken
            removal = Removal(client, store.project, lock, settings.lock_seconds)
            run = _Run(store, client, lock, settings, marks, full, over, wanted.replace, artefacts, removal)
            if (said := eviction(client)) is not None:
                _LOG.warning(f"  {said}")
            for view in views:
                record.views.append(made := ViewRecord(view.name))
                run.view(view, record.until, made)
            if not any(made.failure for made in record.views):
                note_newest_snapshot(client, store.project, build.newest_snapshot, record.until)
    except FAILURES as error:
        raise JobError(f"Redis did not answer: {type(error).__name__}") from None
    record.raise_failures()


@dataclass(frozen=True)
class _Run:
    """One run: what all its views share.

    full: write all rows.
    over: event time up to which stored rows are replaced, a serialised `Timestamp`; empty for the run's own.
    replaces: stored rows of the future are replaced too.
    """

    store: "FeatureStore"
    client: Any
    lock: RunLock
    settings: JobsSettings
    marks: Materialized
    full: bool
    over: bytes
    replaces: bool
    artefacts: Artefacts
    removal: Removal

    def view(self, view: "FeatureView", until: datetime, made: ViewRecord) -> None:
        """Materialize one view; errors of its rows are recorded, not raised.

        Raises:
            LockedError: the run's lock was lost.
            redis.RedisError: Redis failed.
        """
        clock = time.monotonic()
        try:
            reason = why_not_here(self.store, view)
            if reason is None:
                was_full = self._write_view(view, until, made, self.full)
                self._check_online(view, until, made, was_full)
                tell_materialized(self.artefacts, self.store, view, BEGINNING, until)
            else:
                made.written_by = "feast"
                _LOG.info(f"  {view.name}: by Feast's own run, because {reason}")
                if self.full:
                    made.removed = self.removal.all_of(view)
                materialize_by_feast(self.store, view, until)
        except LockedError:
            raise
        except JobError as error:
            made.failure, made.unverified = str(error), isinstance(error, UnverifiedError)
        made.seconds = round(time.monotonic() - clock, 3)
        if made.failure:
            _LOG.error(f"  {view.name}: failed: {made.failure}")
        elif made.written_by == "job":
            removed = f"{made.removed:,} of customers who are gone removed, " if made.removed else ""
            _LOG.info(
                f"  {view.name}: {made.written:,} rows written, {made.skipped:,} already newer, {removed}"
                f"{made.verified} read back, {made.seconds:.1f} s",
            )

    def _check_online(self, view: "FeatureView", until: datetime, made: ViewRecord, was_full: bool) -> None:
        """Look for rows that should be online, of any run; if some are missing, write all rows.

        Raises:
            UnverifiedError: some are still missing after that.
        """
        lost, looked_for = self._count_missing(view, until, made, was_full)
        if lost and not was_full:
            _LOG.warning(f"  {view.name}: of {looked_for:,} customers {lost:,} are missing in Redis; writing all")
            self.marks.forget(view.name)
            self._write_view(view, until, made, full=True)
            lost, looked_for = self._count_missing(view, until, made, was_full=False)
        if lost:
            self.marks.forget(view.name)
            raise UnverifiedError(
                f"of {looked_for:,} customers {lost:,} are missing in Redis, or stored otherwise: it dropped them, or "
                "another writes there"
            )

    def _count_missing(self, view: "FeatureView", until: datetime, made: ViewRecord, was_full: bool) -> tuple[int, int]:
        """Count customers whose row is missing or differs, and customers looked for.

        After a full run, values are not compared again: each chunk was read back when it was written.
        """
        source, stored_format = resolved(ViewSource.of(view)), StoredFormat.of(self.store, view)
        rows = some_rows(source, until, _CHECKED_AFTER_FULL if was_full else _CHECKED_CUSTOMERS)
        lost = gone(self.client, stored_format, rows, until)
        if not lost and not was_full:
            compared, lost = mismatches(self.store, stored_format, rows, self.settings.materialize_verify_rows)
            made.verified += compared
        return lost, rows.num_rows

    def _write_view(self, view: "FeatureView", until: datetime, made: ViewRecord, full: bool) -> bool:
        """Write rows that are not online yet, and remove those that should not be; True after a pass over everybody."""
        through_link = ViewSource.of(view)
        stored_format = StoredFormat.of(self.store, view)
        was_full = False
        while True:
            self.lock.check()
            source = resolved(through_link)
            try:
                check_columns(source)
                wanted = SourceState.of(source, until, identities(source))
                gone = self.marks.gone(view.name, wanted)
                begun = self.marks.begun(view.name)
                todo = next_pass(wanted, self.marks.done(view.name), begun, full, gone)
                if todo is None:
                    return was_full
                former = of_kept_builds(source, gone)
                if former is None and not todo.full:  # nobody can tell any more whose rows they held
                    todo = MaterializationPass(wanted, full=True)
                was_full |= todo.full and todo.reached is None
                made.resumed |= todo is begun
                view_now = BuildView(through_link, source, stored_format)
                self._run_pass(view_now, todo, _FormerFiles(gone, former or []), made)
            except (LockedError, UnverifiedError):
                raise
            except JobError:
                if not replaced(source, through_link):
                    raise
            if replaced(source, through_link):
                _LOG.info(f"  {view.name}: a new build was put in place; going on with it")
                check_whole(build_of(resolved(through_link)), self.artefacts.streamed_orders)
                continue
            full = False  # done; only rows that came meanwhile are missing

    def _run_pass(self, view: BuildView, todo: MaterializationPass, gone: "_FormerFiles", made: ViewRecord) -> None:
        name = view.source.name
        done = self.marks.done(name)
        changed = None
        if not todo.full and done is not None:
            changed = limited_to(view.source, changed_files(view.source, todo.state, done))
            changed = changed_in(changed, only=(*changed.only, *gone.files))
            if not changed.only:
                self.marks.finish(name, todo.state, gone.identities)
                return
        sweeps = todo.full and self.removal.had_rows(view.source.join_key)
        if todo.reached is None:
            self.marks.begin(name, todo)
        with connect() as connection:
            ranges = customer_ranges(connection, [changed or view.source], self.settings.materialize_chunk_rows)
            sample = -(-self.settings.materialize_verify_rows // len(ranges))
            left = [key_range for key_range in ranges if not todo.is_done(key_range)]
            reader = ChunkReader(connection, view.source, view.stored_format, todo.state.until, changed)
            progress = Progress(name, len(left))
            for chunk in reader.read_ahead(left):
                with online_writer(self.client, self.store.project, self.settings.lock_seconds) as fence:
                    self.lock.check()  # here, because no other run can write before this chunk is written or refused
                    if replaced(view.source, view.through_link):
                        return  # for some event times the stream may have written newer values than these files hold
                    if not reader.is_current(chunk):  # the stream has added rows, and written them
                        chunk = reader.read(chunk.key_range)
                    online = self._writer(todo, fence)
                    written = online.write(chunk.hashes)
                    made.removed += online.remove(*view.stored_format.fields_of(chunk.vanished))
                    compared, wrong = mismatches(self.store, view.stored_format, chunk.rows, sample)
                made.wrote(written, chunk.rows.num_rows, newest_time(view.source, chunk.rows))
                made.verified += compared
                if wrong:
                    self.marks.forget(name)
                    raise UnverifiedError(f"{wrong} of {compared} customers read back differ from their rows")
                self.marks.reach(name, chunk.key_range)
                progress.tell(chunk.rows.num_rows)
        if sweeps:
            at_once = self.settings.materialize_chunk_rows
            for removed in self.removal.of_strangers(view, todo.state, partial(self._writer, todo), at_once):
                made.removed += removed
        if not replaced(view.source, view.through_link):
            self.marks.finish(name, todo.state, gone.identities)

    def _writer(self, todo: MaterializationPass, fence: Fence) -> OnlineRows:
        """Writer that replaces stored rows up to the run's time, and keeps later ones.

        With `replaces`, rows later than now (plus clock skew) are replaced too: the stream writes none of these.
        """
        beyond = datetime.now(UTC) + timedelta(seconds=CLOCK_SKEW_SECONDS)
        times = encode_times(pa.array([todo.state.until, beyond], pa.timestamp("us", tz="UTC"))).to_pylist()
        return OnlineRows(self.client, fence, self.over or times[0], times[1] if self.replaces else b"")


@dataclass(frozen=True)
class _FormerFiles:
    """Files that the view no longer has, but whose rows may be online.

    files: paths of those that kept builds still hold; possibly incomplete in a full pass.
    """

    identities: frozenset[str]
    files: list[str]
