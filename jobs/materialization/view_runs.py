"""Materializes one feature view: writes its latest rows, removes former ones and reads a sample back."""

import logging
import time
from dataclasses import dataclass
from dataclasses import replace as changed_in
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from artefacts.addresses import Artefacts
from contract.resolve import CLOCK_SKEW_SECONDS
from jobs.errors import JobError
from jobs.feature_store import tell_materialized
from jobs.materialization.feast_fallback import materialize_by_feast, why_not_here
from jobs.materialization.feast_rows import read_back, sample_of, tell_odd_rows
from jobs.materialization.locks import LockedError, RunLock, online_writer
from jobs.materialization.progress import MaterializationPass, Materialized, SourceState, changed_files, next_pass
from jobs.materialization.redis_store.chunks import BuildView, ChunkReader, Progress
from jobs.materialization.redis_store.encoding import StoredFormat, encode_times
from jobs.materialization.redis_store.read_back import gone, mismatches, some_rows
from jobs.materialization.redis_store.redis_writer import Fence, OnlineRows
from jobs.materialization.redis_store.vanished_rows import Removal
from jobs.materialization.run_records import UnverifiedError, ViewRecord
from jobs.offline_store.builds import check_whole
from jobs.offline_store.column_types import check_columns
from jobs.offline_store.latest_rows import ViewSource, connect, key_ranges, newest_time
from jobs.offline_store.view_files import build_of, identities, limited_to, of_kept_builds, replaced, resolved
from jobs.settings import JobsSettings

if TYPE_CHECKING:
    from feast import FeatureStore, FeatureView

_LOG = logging.getLogger(__name__)

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_CHECKED_ENTITIES = 50_000
_CHECKED_AFTER_FULL = 2_000
"""Entities per view whose rows are looked for in Redis at the end; the second number, if all were just written."""


@dataclass(frozen=True)
class ViewRuns:
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
                sampled = sample_of(self.store, view, until, self.settings.materialize_verify_rows)
                if self.full:
                    made.removed = self.removal.all_of(view)
                materialize_by_feast(self.store, view, until)
                read_back(self.store, view, sampled, made)
        except LockedError:
            raise
        except JobError as error:
            made.failure, made.unverified = str(error), isinstance(error, UnverifiedError)
        made.seconds = round(time.monotonic() - clock, 3)
        if made.failure:
            _LOG.error(f"  {view.name}: failed: {made.failure}")
        elif made.written_by == "job":
            removed = f"{made.removed:,} of entities that are gone removed, " if made.removed else ""
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
            _LOG.warning(f"  {view.name}: of {looked_for:,} entities {lost:,} are missing in Redis; writing all")
            self.marks.forget(view.name)
            self._write_view(view, until, made, full=True)
            lost, looked_for = self._count_missing(view, until, made, was_full=False)
        if lost:
            self.marks.forget(view.name)
            raise UnverifiedError(
                f"of {looked_for:,} entities {lost:,} are missing in Redis, or stored otherwise: it dropped them, or "
                "another writes there"
            )

    def _count_missing(self, view: "FeatureView", until: datetime, made: ViewRecord, was_full: bool) -> tuple[int, int]:
        """Count entities whose row is missing or differs, and entities looked for.

        After a full run, values are not compared again: each chunk was read back when it was written.
        """
        source, stored_format = resolved(ViewSource.of(view, self.store.repo_path)), StoredFormat.of(self.store, view)
        rows = some_rows(source, until, _CHECKED_AFTER_FULL if was_full else _CHECKED_ENTITIES)
        lost = gone(self.client, stored_format, rows, until)
        if not lost and not was_full:
            compared, lost = mismatches(self.store, stored_format, rows, self.settings.materialize_verify_rows)
            made.verified += compared
        return lost, rows.num_rows

    def _write_view(self, view: "FeatureView", until: datetime, made: ViewRecord, full: bool) -> bool:
        """Write rows that are not online yet, and remove those that should not be; True after a pass over everybody."""
        through_link = ViewSource.of(view, self.store.repo_path)
        stored_format = StoredFormat.of(self.store, view)
        was_full = told = False
        while True:
            self.lock.check()
            source = resolved(through_link)
            try:
                check_columns(source)
                wanted = SourceState.of(source, until, identities(source))
                if not source.is_built and not told:
                    told = tell_odd_rows(source)
                former_identities = self.marks.gone(view.name, wanted)
                begun = self.marks.begun(view.name)
                todo = next_pass(wanted, self.marks.done(view.name), begun, full, former_identities)
                if todo is None:
                    return was_full
                former = of_kept_builds(source, former_identities)
                if former is None and not todo.full:  # nobody can tell any more whose rows they held
                    todo = MaterializationPass(wanted, full=True)
                was_full |= todo.full and todo.reached is None
                made.resumed |= todo is begun
                view_now = BuildView(through_link, source, stored_format)
                self._run_pass(view_now, todo, _FormerFiles(former_identities, former or []), made)
            except (LockedError, UnverifiedError):
                raise
            except JobError:
                if not replaced(source, through_link):
                    raise
            if replaced(source, through_link):
                _LOG.info(f"  {view.name}: a new build was put in place; going on with it")
                if through_link.is_built:
                    check_whole(build_of(resolved(through_link)))
                continue
            full = False  # done; only rows that came meanwhile are missing

    def _run_pass(self, view: BuildView, todo: MaterializationPass, former: "_FormerFiles", made: ViewRecord) -> None:
        name = view.source.name
        done = self.marks.done(name)
        changed = None
        if not todo.full and done is not None:
            changed = limited_to(view.source, changed_files(view.source, todo.state, done))
            changed = changed_in(changed, only=(*changed.only, *former.files))
            if not changed.only:
                self.marks.finish(name, todo.state, former.identities)
                return
        sweeps = todo.full and self.removal.had_rows(view.source.join_keys)
        if todo.reached is None:
            self.marks.begin(name, todo)
        with connect() as connection:
            ranges = key_ranges(connection, [changed or view.source], self.settings.materialize_chunk_rows)
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
                    made.removed += online.remove(chunk.vanished, view.stored_format.hash_fields)
                    compared, wrong = mismatches(self.store, view.stored_format, chunk.rows, sample)
                made.wrote(written, chunk.rows.num_rows, newest_time(view.source, chunk.rows))
                made.verified += compared
                if wrong:
                    self.marks.forget(name)
                    raise UnverifiedError(f"{wrong} of {compared} entities read back differ from their rows")
                self.marks.reach(name, chunk.key_range)
                progress.tell(chunk.rows.num_rows)
        if sweeps:
            at_once = self.settings.materialize_chunk_rows
            for removed in self.removal.of_strangers(view, todo.state, partial(self._writer, todo), at_once):
                made.removed += removed
        if not replaced(view.source, view.through_link):
            self.marks.finish(name, todo.state, former.identities)

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
