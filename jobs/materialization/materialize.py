"""Offline store → Redis: the latest row of every customer in every view, for operators and schedulers to rely on.

One run at a time; per view in chunks, so that memory does not grow and a cut-off run goes on where it was; no row of
another owner, nor one that is newer than the run, is touched; a sample read back through Feast's SDK. Exit codes:
docs/materialization.md.
"""

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

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_LOOKED_FOR, _LOOKED_FOR_AT_ONCE = 50_000, 2_000
"""Customers per view who are looked for in Redis at the end; fewer where their rows were all written just now."""


@dataclass(frozen=True)
class _Wanted:
    """What `materialize` was called with."""

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
    """Put the latest row at `until` of every customer and view online, and nothing else; record the run.

    What was materialized before and has not changed is not written again. Rows online that the offline store does not
    hold any more are written over, or removed where their customer has no row; those after `until` stay.

    Args:
        until: UTC; now, where it lies in the future or is not given.
        replace: write everybody's row, over newer ones, too, if `until` is in the past, else over those of the future;
            then remove whom the offline store does not know.
        full: write everybody's row again.
        take_over: as `replace`, if the rows are another owner's.

    Raises:
        LockedError: another run is active.
        OtherOwnerError: the rows online are another's; nothing was written.
        PartlyError: some views could not be materialized; the others were.
        UnverifiedError: the sample that was read back differs.
        JobError: nothing could be done, e.g. no Redis address, Redis unreachable, or no features.
    """
    started = datetime.now(UTC)
    record = RunRecord(started=started, until=min(until or started, started))
    clock = time.monotonic()
    try:
        _materialize(artefacts, record, _Wanted(full, replace, take_over), settings or JobsSettings())
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


def _materialize(artefacts: Artefacts, record: RunRecord, wanted: _Wanted, settings: JobsSettings) -> None:
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
            # Of a run of now, rows after it are the stream's own, which it has added to the offline store.
            over = ANY_TIME if taken or (wanted.replace and record.until < record.started) else b""
            full = wanted.full or wanted.replace or taken
            removal = Removal(client, store.project, lock, settings.lock_seconds)
            run = _Run(store, client, lock, settings, marks, full, over, wanted.replace, artefacts, removal)
            if (said := eviction(client)) is not None:
                print(f"  {said}", flush=True)
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

    full: write everybody's row.
    over: up to which event time stored rows go, a serialised `Timestamp`; empty for that of the run.
    replaces: stored rows of the future go, too.
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
        """Materialize one view; what goes wrong with its rows is written down, not raised.

        Raises:
            LockedError: the run's lock was lost.
            redis.RedisError: as redis-py does.
        """
        clock = time.monotonic()
        try:
            reason = why_not_here(self.store, view)
            if reason is None:
                was_full = self._by_chunks(view, until, made, self.full)
                self._confirm(view, until, made, was_full)
                tell_materialized(self.artefacts, self.store, view, BEGINNING, until)
            else:
                made.written_by = "feast"
                print(f"  {view.name}: by Feast's own run, because {reason}", flush=True)
                if self.full:
                    made.removed = self.removal.all_of(view)
                materialize_by_feast(self.store, view, until)
        except LockedError:
            raise
        except JobError as error:
            made.failure, made.unverified = str(error), isinstance(error, UnverifiedError)
        made.seconds = round(time.monotonic() - clock, 3)
        if made.failure:
            print(f"  {view.name}: failed: {made.failure}", flush=True)
        elif made.written_by == "job":
            removed = f"{made.removed:,} of customers who are gone removed, " if made.removed else ""
            print(
                f"  {view.name}: {made.written:,} rows written, {made.skipped:,} already newer, {removed}"
                f"{made.verified} read back, {made.seconds:.1f} s",
                flush=True,
            )

    def _confirm(self, view: "FeatureView", until: datetime, made: ViewRecord, was_full: bool) -> None:
        """Look for rows that should be online, of whatever run they are; where some are not, write everybody's.

        Raises:
            UnverifiedError: they are not there even then.
        """
        lost, looked_for = self._lost(view, until, made, was_full)
        if lost and not was_full:
            print(f"  {view.name}: of {looked_for:,} customers {lost:,} are missing in Redis; writing all", flush=True)
            self.marks.forget(view.name)
            self._by_chunks(view, until, made, full=True)
            lost, looked_for = self._lost(view, until, made, was_full=False)
        if lost:
            self.marks.forget(view.name)
            raise UnverifiedError(
                f"of {looked_for:,} customers {lost:,} are missing in Redis, or stored otherwise: it dropped them, or "
                "another writes there"
            )

    def _lost(self, view: "FeatureView", until: datetime, made: ViewRecord, was_full: bool) -> tuple[int, int]:
        """Customers whose row is missing or stored otherwise, and of how many; what was just written was read back."""
        source, stored_format = resolved(ViewSource.of(view)), StoredFormat.of(self.store, view)
        rows = some_rows(source, until, _LOOKED_FOR_AT_ONCE if was_full else _LOOKED_FOR)
        lost = gone(self.client, stored_format, rows, until)
        if not lost and not was_full:
            compared, lost = mismatches(self.store, stored_format, rows, self.settings.materialize_verify_rows)
            made.verified += compared
        return lost, rows.num_rows

    def _by_chunks(self, view: "FeatureView", until: datetime, made: ViewRecord, full: bool) -> bool:
        """Write what is not online yet, and put right what is too much; True if everybody was looked at."""
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
                if former is None and not todo.full:  # whose rows they held is not to be known any more
                    todo = MaterializationPass(wanted, full=True)
                was_full |= todo.full and todo.reached is None
                made.resumed |= todo is begun
                view_now = BuildView(through_link, source, stored_format)
                self._pass(view_now, todo, _Gone(gone, former or []), made)
            except (LockedError, UnverifiedError):
                raise
            except JobError:
                if not replaced(source, through_link):
                    raise
            if replaced(source, through_link):
                print(f"  {view.name}: a new build was put in place; going on with it", flush=True)
                check_whole(build_of(resolved(through_link)), self.artefacts.streamed_orders)
                continue
            full = False  # it has been, now only what came meanwhile is missing

    def _pass(self, view: BuildView, todo: MaterializationPass, gone: "_Gone", made: ViewRecord) -> None:
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
                        return  # its files may hold older values of event times that the stream has written since
                    if not reader.is_current(chunk):  # the stream has added rows, and written them
                        chunk = reader.read(chunk.key_range)
                    online = self._online(todo, fence)
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
            for removed in self.removal.of_strangers(view, todo.state, partial(self._online, todo), at_once):
                made.removed += removed
        if not replaced(view.source, view.through_link):
            self.marks.finish(name, todo.state, gone.identities)

    def _online(self, todo: MaterializationPass, fence: Fence) -> OnlineRows:
        """Stored rows up to the run's time are either what the offline store says or too much; later ones stay.

        Those that are replaced stay up to this moment, by clocks that may differ: the stream writes no later ones.
        """
        beyond = datetime.now(UTC) + timedelta(seconds=CLOCK_SKEW_SECONDS)
        times = encode_times(pa.array([todo.state.until, beyond], pa.timestamp("us", tz="UTC"))).to_pylist()
        return OnlineRows(self.client, fence, self.over or times[0], times[1] if self.replaces else b"")


@dataclass(frozen=True)
class _Gone:
    """Files that the view had, and of which rows may be online.

    files: where they still lie; of a pass over everybody perhaps not all.
    """

    identities: frozenset[str]
    files: list[str]
