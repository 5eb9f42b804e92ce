"""Materializes the offline store into the online store: the latest row of every entity in every view.

Into Redis: one run at a time. Each view goes in chunks, so memory is bounded and an interrupted run resumes. Rows of
another owner, and rows newer than the run, stay. A sample is read back through Feast's SDK. Exit codes:
docs/materialization.md.
"""

import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from artefacts.addresses import Artefacts
from artefacts.offline_place import is_built
from artefacts.process.redaction import redacted
from jobs.errors import JobError
from jobs.feature_store import open_feature_store
from jobs.materialization.another_store import into_another_store
from jobs.materialization.locks import FAILURES, LockedError, RunLock
from jobs.materialization.newest_snapshot import note_newest_snapshot
from jobs.materialization.owners import OtherOwnerError, claim
from jobs.materialization.progress import Materialized
from jobs.materialization.redis_store.read_back import eviction
from jobs.materialization.redis_store.redis_client import client_beside
from jobs.materialization.redis_store.redis_writer import ANY_TIME
from jobs.materialization.redis_store.vanished_rows import Removal
from jobs.materialization.run_records import Outcome, PartlyError, RunRecord, UnverifiedError, ViewRecord
from jobs.materialization.view_runs import ViewRuns
from jobs.offline_store.builds import check_whole, read_build
from jobs.offline_store.foreign_sources import described
from jobs.offline_store.owner import owner_of
from jobs.settings import JobsSettings

if TYPE_CHECKING:
    from feast import FeatureStore, FeatureView

_LOG = logging.getLogger(__name__)


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
    """Write the latest row at `until` of every entity and view online; record the run.

    Unchanged rows that were materialized before are not written again. Online rows that the offline store no longer
    holds are overwritten, or removed if their entity has no row. Rows later than `until` stay.

    Args:
        until: UTC; default, and at most, now.
        replace: write all rows, also over newer ones if `until` is in the past, else over rows of the future. Then
            remove entities that the offline store does not have.
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
    store = open_feature_store(artefacts)
    record.project = store.project
    from scoring.feast.store import views_to_materialize  # imports feast

    views = views_to_materialize(store)
    if not views:
        raise JobError(f"{redacted(artefacts.feast_registry)}: no feature views; run `make apply` first")
    if any(map(is_built, views)):
        build = read_build(artefacts.offline_store)
        record.source, record.newest_snapshot = build.source, build.newest_snapshot
        in_place = (artefacts.offline_store / "current").resolve()
        record.build = in_place.name
        check_whole(in_place)
    else:
        record.source = described(views)
    if store.config.online_store.type == "redis":
        _into_redis(artefacts, store, views, record, wanted, settings)
    else:
        into_another_store(artefacts, store, views, record, settings)
    record.raise_failures()


def _into_redis(
    artefacts: Artefacts,
    store: "FeatureStore",
    views: "list[FeatureView]",
    record: RunRecord,
    wanted: _Options,
    settings: JobsSettings,
) -> None:
    if artefacts.redis_url is None:
        raise JobError("REDIS_URL is not set and no embedded server runs; `make redis` starts one")
    try:
        client = client_beside(store, artefacts.redis_url)
        with RunLock(client, f"{store.project}:materialize", "materialization", settings.lock_seconds) as lock:
            marks, taken = Materialized(client, store.project), False
            if record.build:  # rows that somebody else fills have no owner here
                owner = owner_of(artefacts.offline_store, settings.owner)
                taken = claim(client, store.project, owner, wanted.take_over)
            if wanted.replace:
                marks.restart()
            # In a run up to now, later rows are the stream's, which has also added them to the offline store.
            over = ANY_TIME if taken or (wanted.replace and record.until < record.started) else b""
            full = wanted.full or wanted.replace or taken
            removal = Removal(client, store.project, lock, settings.lock_seconds)
            run = ViewRuns(store, client, lock, settings, marks, full, over, wanted.replace, artefacts, removal)
            if (said := eviction(client)) is not None:
                _LOG.warning(f"  {said}")
            for view in views:
                record.views.append(made := ViewRecord(view.name))
                run.view(view, record.until, made)
            if not any(made.failure for made in record.views):
                note_newest_snapshot(client, store.project, record.newest_snapshot, record.until)
    except FAILURES as error:
        raise JobError(f"Redis did not answer: {type(error).__name__}") from None
