"""Materializes into an online store other than Redis, by Feast's own run."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from artefacts.addresses import Artefacts
from artefacts.process.file_locks import locked
from jobs.errors import JobError
from jobs.materialization.feast_fallback import materialize_by_feast
from jobs.materialization.feast_rows import read_back, sample_of
from jobs.materialization.locks import LockedError
from jobs.materialization.run_records import RunRecord, UnverifiedError, ViewRecord
from jobs.settings import JobsSettings

if TYPE_CHECKING:
    from feast import FeatureStore, FeatureView

_LOG = logging.getLogger(__name__)


def into_another_store(
    artefacts: Artefacts,
    store: "FeatureStore",
    views: "list[FeatureView]",
    record: RunRecord,
    settings: JobsSettings,
) -> None:
    """Materialize all views and read a sample of each back through Feast's SDK; errors of a view are recorded.

    Feast writes every row, and removes none. One run at a time on this machine: the lock is a file beside the records.

    Raises:
        LockedError: another run is active.
    """
    with only_run(artefacts, store.project):
        for view in views:
            record.views.append(made := ViewRecord(view.name, written_by="feast"))
            clock = time.monotonic()
            try:
                sampled = sample_of(store, view, record.until, settings.materialize_verify_rows)
                materialize_by_feast(store, view, record.until)
                read_back(store, view, sampled, made)
            except JobError as error:
                made.failure, made.unverified = str(error), isinstance(error, UnverifiedError)
            made.seconds = round(time.monotonic() - clock, 3)
            said = f"failed: {made.failure}" if made.failure else f"{made.verified} read back, {made.seconds:.1f} s"
            _LOG.log(logging.ERROR if made.failure else logging.INFO, f"  {view.name}: by Feast's own run, {said}")


@contextmanager
def only_run(artefacts: Artefacts, project: str) -> Iterator[None]:
    """Keep other runs away that write the store of this Feast project, on this machine.

    Raises:
        LockedError: another run is active.
    """
    try:
        with locked(artefacts.materialize_runs.with_name(f"{project}.lock"), wait=False):
            yield
    except BlockingIOError:
        raise LockedError("another materialization is running") from None
