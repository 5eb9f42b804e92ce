"""Removes online rows of entities that no longer have a row in the offline store."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from jobs.materialization.locks import RunLock, online_writer
from jobs.materialization.progress import SourceState
from jobs.materialization.redis_store.chunks import BuildView
from jobs.materialization.redis_store.encoding import fields_of_view
from jobs.materialization.redis_store.redis_writer import ANY_TIME, Fence, OnlineRows, stored_keys
from jobs.offline_store.latest_rows import ViewSource, connect, event_time, quoted, rows_of, run_query
from jobs.offline_store.view_files import identities, replaced

if TYPE_CHECKING:
    from feast import FeatureView


class Removal:
    """Removes rows under the lock of online writers. Raises redis-py's errors, and `JobError` if files cannot be read.

    Args:
        lock: the run's, checked before each part.
    """

    def __init__(self, client: Any, project: str, lock: RunLock, lock_seconds: float) -> None:
        self._client, self._project, self._lock, self._seconds = client, project, lock, lock_seconds
        self._had_rows: dict[tuple[str, ...], bool] = {}

    def had_rows(self, join_keys: tuple[str, ...]) -> bool:
        """True if entities with these join keys were online at the first call."""
        if join_keys not in self._had_rows:
            self._had_rows[join_keys] = next(stored_keys(self._client, self._project, join_keys), None) is not None
        return self._had_rows[join_keys]

    def of_strangers(
        self, view: BuildView, state: SourceState, online: Callable[[Fence], OnlineRows], at_once: int
    ) -> Iterator[int]:
        """Check all online entities, `at_once` at a time, and remove those that have no row of the view in `state`.

        Stops when a new build is put in place.

        Args:
            online: makes the writer that removes rows, with the run's time limits.

        Yields:
            Rows removed.
        """
        with connect() as connection:
            for keys in stored_keys(self._client, self._project, view.source.join_keys, at_once):
                files = identities(view.source)
                ids = _without_row(connection, view.source, state, view.stored_format.decode_keys(keys))
                if not ids.num_rows:
                    continue
                with online_writer(self._client, self._project, self._seconds) as fence:
                    self._lock.check()
                    if replaced(view.source, view.through_link):
                        return
                    if identities(view.source) != files:  # the stream may have added some of them just now
                        ids = _without_row(connection, view.source, state, ids)
                    vanished = view.stored_format.encode_keys(ids)
                    yield online(fence).remove(vanished, view.stored_format.hash_fields)

    def all_of(self, view: "FeatureView") -> int:
        """Remove every row of a view, because surplus rows cannot be told apart afterwards; returns their number."""
        removed = 0
        for keys in stored_keys(self._client, self._project, view.join_keys):
            with online_writer(self._client, self._project, self._seconds) as fence:
                self._lock.check()
                rows = OnlineRows(self._client, fence, ANY_TIME)
                removed += rows.remove(pa.array(keys, pa.binary()), fields_of_view(view))
        return removed


def _without_row(
    connection: duckdb.DuckDBPyConnection, source: ViewSource, state: SourceState, ids: pa.Table
) -> pa.Table:
    """Those of `ids`, a column per join key, that have no row."""
    files = sorted(source.files(), key=lambda file: Path(file).stat().st_size, reverse=True)
    for some in (files[:1], files[1:]):  # the largest file, the newest snapshot, holds nearly every entity
        if some and ids.num_rows:
            ids = _not_in(connection, replace(source, only=tuple(some)), state, ids)
    return ids


def _not_in(connection: duckdb.DuckDBPyConnection, some: ViewSource, state: SourceState, ids: pa.Table) -> pa.Table:
    keys = ", ".join(map(quoted, some.join_keys))
    connection.register("asked", ids)
    query = f"""
        SELECT {keys} FROM asked ANTI JOIN (
            SELECT {keys} FROM {rows_of(some.files())} WHERE {event_time(some)} <= ?
        ) USING ({keys})
    """  # noqa: S608  # names are quoted, values are parameters
    return run_query(connection, [some], query, [state.until])
