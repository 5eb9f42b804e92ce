"""What has been materialized, remembered in Redis beside the rows: when Redis forgets the rows, it forgets this too."""

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Self
from uuid import uuid4

from jobs.latest_rows import KeyRange, ViewSource
from jobs.view_files import newest_event_time


@dataclass(frozen=True)
class Extent:
    """The rows that a view's online rows were made of.

    until: rows with an event time up to this, UTC.
    files: as `view_files.identities` names them.
    columns: a digest of the view's columns and types.
    """

    until: datetime
    files: dict[str, str]
    columns: str

    @classmethod
    def of(cls, source: ViewSource, until: datetime, files: dict[str, str]) -> Self:
        """What a run over these files makes of the view."""
        columns = json.dumps([source.join_key, source.timestamp_field, source.columns, source.dtypes])
        return cls(until, files, hashlib.sha256(columns.encode()).hexdigest()[:16])


@dataclass(frozen=True)
class Pass:
    """One way through the customers of a view.

    extent: what will have been materialized at its end.
    full: everybody's row is written, whatever was materialized before.
    reached: customers before this id are done.
    """

    extent: Extent
    full: bool
    reached: str | None = None

    def is_done(self, key_range: KeyRange) -> bool:
        """True if an earlier run got through this range."""
        return self.reached is not None and key_range.high is not None and key_range.high <= self.reached


class Materialized:
    """The marks in one Redis hash, `<project>:materialized`. Errors are redis-py's.

    source: which orders the online rows are made of.
    """

    def __init__(self, client: Any, project: str) -> None:
        self._client, self._key = client, f"{project}:materialized"
        self._passes: dict[str, str] = {}

    @property
    def source(self) -> str | None:
        stored = self._get("source")
        return None if stored is None else str(stored)

    def restart(self, source: str) -> None:
        """Forget every view; from now on, rows are made of these orders."""
        self._client.delete(self._key)
        self._set("source", source)

    def done(self, view: str) -> Extent | None:
        """What the online rows of a view are made of; None where that is not known."""
        stored = self._get(f"{view}:done")
        return None if stored is None else _extent(stored)

    def begun(self, view: str) -> Pass | None:
        """The pass that was not finished."""
        stored = self._get(f"{view}:begun")
        if stored is None:
            return None
        self._passes[view] = stored.get("id", "")
        reached = self._get(f"{view}:reached")
        own = isinstance(reached, list) and reached[0] == self._passes[view]
        return Pass(_extent(stored["extent"]), bool(stored["full"]), reached[1] if own else None)

    def begin(self, view: str, begun: Pass) -> None:
        """Set out."""
        self._client.hdel(self._key, f"{view}:reached")
        self._passes[view] = uuid4().hex
        self._set(f"{view}:begun", {"extent": _shown(begun.extent), "full": begun.full, "id": self._passes[view]})

    def reach(self, view: str, key_range: KeyRange) -> None:
        """All customers before the range's end are written, by the pass that was begun or gone on with here.

        The pass is named, so that a run that lost its lock says nothing of another's.
        """
        self._set(f"{view}:reached", [self._passes.get(view, ""), key_range.high])

    def finish(self, view: str, extent: Extent) -> None:
        """The pass has come to its end."""
        self._set(f"{view}:done", _shown(extent))
        self._client.hdel(self._key, f"{view}:begun", f"{view}:reached")

    def forget(self, view: str) -> None:
        """The next run writes everybody's row."""
        self._client.hdel(self._key, f"{view}:done", f"{view}:begun", f"{view}:reached")

    def _get(self, field: str) -> Any:
        (stored,) = self._client.hmget(self._key, [field])
        return None if stored is None else json.loads(stored)

    def _set(self, field: str, value: Any) -> None:
        self._client.hset(self._key, field, json.dumps(value))


def next_pass(wanted: Extent, done: Extent | None, begun: Pass | None, full: bool) -> Pass | None:
    """What is still to be done so that `wanted` is materialized; None: nothing.

    A pass that was begun is finished first, if all its files are still there as they were; they may have become more.
    """
    if (
        begun is not None
        and begun.extent.columns == wanted.columns
        and begun.extent.until <= wanted.until
        and begun.extent.files.items() <= wanted.files.items()
        and (begun.full or not full)
    ):
        return begun
    if full or done is None or done.columns != wanted.columns:
        return Pass(wanted, full=True)
    if done.until >= wanted.until and wanted.files.items() <= done.files.items():
        return None
    return Pass(wanted, full=False)


def changed_files(source: ViewSource, extent: Extent, done: Extent) -> list[str]:
    """Files of which some rows may not have been materialized: new ones, and those with rows after `done.until`.

    Raises:
        JobError: a file is not readable as Parquet.
    """
    return [
        name
        for name, identity in extent.files.items()
        if done.files.get(name) != identity or ((at := newest_event_time(source, name)) is not None and at > done.until)
    ]


def _shown(extent: Extent) -> dict[str, Any]:
    return asdict(extent) | {"until": extent.until.isoformat()}


def _extent(stored: dict[str, Any]) -> Extent:
    return Extent(datetime.fromisoformat(stored["until"]), stored["files"], stored["columns"])
