"""Removes online rows of entities that no longer have a row in the offline store."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from jobs.materialization.chunks import BuildView
from jobs.materialization.encoding import fields_of_view
from jobs.materialization.locks import RunLock, online_writer
from jobs.materialization.progress import SourceState
from jobs.materialization.redis_writer import ANY_TIME, Fence, OnlineRows, stored_keys
from jobs.offline_store.latest_rows import ViewSource, connect, quoted, rows_of, run_query
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
        self._had_rows: dict[str, bool] = {}

    def had_rows(self, join_key: str) -> bool:
        """True if entities were online at the first call."""
        if join_key not in self._had_rows:
            self._had_rows[join_key] = next(stored_keys(self._client, self._project, [join_key]), None) is not None
        return self._had_rows[join_key]

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
            for keys in stored_keys(self._client, self._project, [view.source.join_key], at_once):
                files = identities(view.source)
                ids = _without_row(connection, view.source, state, view.stored_format.decode_keys(keys))
                if not len(ids):
                    continue
                with online_writer(self._client, self._project, self._seconds) as fence:
                    self._lock.check()
                    if replaced(view.source, view.through_link):
                        return
                    if identities(view.source) != files:  # the stream may have added some of them just now
                        ids = _without_row(connection, view.source, state, ids)
                    yield online(fence).remove(*view.stored_format.fields_of(ids))

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
    connection: duckdb.DuckDBPyConnection, source: ViewSource, state: SourceState, ids: pa.Array
) -> pa.Array:
    files = sorted(source.files(), key=lambda file: Path(file).stat().st_size, reverse=True)
    for some in (files[:1], files[1:]):  # the largest file, the newest snapshot, holds nearly every entity
        if some and len(ids):
            held = _with_row(connection, replace(source, only=tuple(some)), state, ids)
            ids = ids.filter(pc.invert(pc.is_in(ids, held)))
    return ids


def _with_row(connection: duckdb.DuckDBPyConnection, some: ViewSource, state: SourceState, ids: pa.Array) -> pa.Array:
    key = quoted(some.join_key)
    connection.register("asked", pa.table({"k": ids}))
    query = f"""
        SELECT k FROM asked WHERE k IN (
            SELECT {key} FROM {rows_of(some.files())} WHERE {quoted(some.timestamp_field)} <= ?
        )
    """  # noqa: S608  # names are quoted, values are parameters
    return run_query(connection, [some], query, [state.until])["k"].combine_chunks()
