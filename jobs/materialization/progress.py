"""Marks in Redis of what has been materialized. They lie beside the rows: if Redis loses one, it loses both."""

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Self
from uuid import uuid4

from contract.keys import Key, key_values
from jobs.offline_store.latest_rows import KeyRange, ViewSource
from jobs.offline_store.view_files import newest_event_time

_NOTE_OWNER = """
if (redis.call('HMGET', KEYS[1], 'owner')[1] or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'owner', ARGV[2])
return 1
"""
_FORGOTTEN = ""
"""Stands for the digest of columns; it equals no digest."""


@dataclass(frozen=True)
class SourceState:
    """The source rows that a view's online rows are made from.

    until: event time of the rows, at most; UTC.
    files: file → identity, see `view_files.identities`.
    columns: digest of the view's columns and types.
    """

    until: datetime
    files: dict[str, str]
    columns: str

    @classmethod
    def of(cls, source: ViewSource, until: datetime, files: dict[str, str]) -> Self:
        """The state of a view over these files."""
        # Earlier versions had one text key, and noted its name only.
        text = source.join_key if source.key_dtypes == ("string",) else None
        keys = text or list(zip(source.join_keys, source.key_dtypes, strict=True))
        columns = json.dumps([keys, source.timestamp_field, source.columns, source.dtypes])
        return cls(until, files, hashlib.sha256(columns.encode()).hexdigest()[:16])


@dataclass(frozen=True)
class MaterializationPass:
    """One pass over the entities of a view.

    state: the source state that the online rows reflect when the pass ends.
    full: write all rows, whatever was materialized before.
    reached: keys before this one are done.
    """

    state: SourceState
    full: bool
    reached: Key | None = None

    def is_done(self, key_range: KeyRange) -> bool:
        """True if an earlier run finished this range."""
        if self.reached is None or key_range.high is None:
            return False
        return key_values(key_range.high) <= key_values(self.reached)


class Materialized:
    """Marks of what is materialized, in one Redis hash, `<project>:materialized`. Errors are redis-py's.

    Fields per view: `done`, the source state of its online rows; `begun` and `reached`, the current pass; `left`, other
    files whose rows may be online because a pass over them was abandoned; `streamed:<file>`, a file that the stream
    added. Files are named by their identities, see `view_files`. One field for all views: `owner`.
    """

    def __init__(self, client: Any, project: str) -> None:
        self._client, self._key = client, f"{project}:materialized"
        self._passes: dict[str, str] = {}
        self._finished: dict[str, SourceState] = {}
        self._settled: dict[str, set[str]] = {}

    @property
    def owner(self) -> dict[str, Any] | None:
        """Owner of the online rows, as in `jobs.materialization.owners`."""
        found: dict[str, Any] | None = self._get("owner")
        return found

    def is_now_of(self, owner: dict[str, Any], before: dict[str, Any] | None) -> bool:
        """Set the owner; False, without change, if the owner is no longer `before`."""
        known = "" if before is None else json.dumps(before)
        noted = self._client.register_script(_NOTE_OWNER)(keys=[self._key], args=[known, json.dumps(owner)])
        return bool(noted)

    def forget_all(self) -> None:
        """`forget` every view."""
        for view in {field.partition(":")[0] for field in self._fields() if ":" in field}:
            self.forget(view)

    def done(self, view: str) -> SourceState | None:
        """Source state of a view's online rows; None if unknown."""
        return self._finished.get(view) or self._done_before(view)

    def gone(self, view: str, present: SourceState) -> frozenset[str]:
        """Files that the view no longer has, but whose rows may be online."""
        done = self.done(view)
        known = {*(done.files.values() if done else ()), *self._left(view), *self._streamed(view)}
        return frozenset(known - set(present.files.values()) - self._settled.get(view, set()))

    def begun(self, view: str) -> MaterializationPass | None:
        """The unfinished pass of a view; None if there is none."""
        stored = self._get(f"{view}:begun")
        if stored is None:
            return None
        self._passes[view] = stored.get("id", "")
        reached = self._get(f"{view}:reached")
        own = isinstance(reached, list) and reached[0] == self._passes[view]
        border = reached[1] if own else None
        if isinstance(border, list):  # several join keys
            border = tuple(border)
        return MaterializationPass(_from_json(stored["extent"]), bool(stored["full"]), border)

    def begin(self, view: str, begun: MaterializationPass) -> None:
        """Start a pass; remembers the files of an unfinished pass before it."""
        if (given_up := self.begun(view)) is not None:
            self._leave(view, given_up.state)
        self._client.hdel(self._key, f"{view}:reached")
        self._passes[view] = uuid4().hex
        self._set(f"{view}:begun", {"extent": _to_json(begun.state), "full": begun.full, "id": self._passes[view]})

    def reach(self, view: str, key_range: KeyRange) -> None:
        """Note that this run's pass has written all entities before the range's end.

        The mark names the pass, so a run that lost its lock cannot change another run's progress.
        """
        self._set(f"{view}:reached", [self._passes.get(view, ""), key_range.high])

    def finish(self, view: str, state: SourceState, gone: frozenset[str]) -> None:
        """End a pass. No rows of the files `gone` are online any more, except rows newer than its `until`.

        If an earlier pass had a later `until`, its newer rows stay online; then this state does not become `done`.
        """
        before = self._done_before(view)
        if before is None or state.until >= before.until:
            self._set(f"{view}:done", _to_json(state))
            settled = [f"{view}:streamed:{file}" for file in self._streamed(view) & {*gone, *state.files.values()}]
            self._client.hdel(self._key, f"{view}:left", *settled)
        else:
            self._leave(view, state)
        self._finished[view] = state
        self._settled.setdefault(view, set()).update(gone)
        self._client.hdel(self._key, f"{view}:begun", f"{view}:reached")

    def forget(self, view: str) -> None:
        """Make the next run write all rows."""
        self._finished.pop(view, None)
        self._client.hdel(self._key, f"{view}:begun", f"{view}:reached")
        if (done := self._done_before(view)) is not None:  # keep until when newer rows may be online
            self._set(f"{view}:done", _to_json(SourceState(done.until, {}, _FORGOTTEN)))

    def restart(self) -> None:
        """Delete the marks of every view, with the time of its newest rows."""
        self._finished.clear()
        views = [field for field in self._fields() if field.partition(":")[2]]
        if views:
            self._client.hdel(self._key, *views)

    def streamed(self, view: str, file: str) -> None:
        """Note a file that the stream has added, before its rows are written online."""
        self._set(f"{view}:streamed:{file}", True)

    def _done_before(self, view: str) -> SourceState | None:
        stored = self._get(f"{view}:done")
        return None if stored is None else _from_json(stored)

    def _left(self, view: str) -> list[str]:
        return self._get(f"{view}:left") or []

    def _leave(self, view: str, state: SourceState) -> None:
        self._set(f"{view}:left", sorted({*self._left(view), *state.files.values()}))

    def _streamed(self, view: str) -> set[str]:
        prefix = f"{view}:streamed:"
        return {field.removeprefix(prefix) for field in self._fields() if field.startswith(prefix)}

    def _fields(self) -> list[str]:
        return [field.decode() if isinstance(field, bytes) else field for field in self._client.hkeys(self._key)]

    def _get(self, field: str) -> Any:
        (stored,) = self._client.hmget(self._key, [field])
        return None if stored is None else json.loads(stored)

    def _set(self, field: str, value: Any) -> None:
        self._client.hset(self._key, field, json.dumps(value))


def next_pass(
    wanted: SourceState,
    done: SourceState | None,
    begun: MaterializationPass | None,
    full: bool,
    gone: frozenset[str] = frozenset(),
) -> MaterializationPass | None:
    """The next pass that is needed to materialize `wanted`; None if none is.

    A started pass is finished first if all its files are unchanged; new files do not matter.

    Args:
        gone: see `Materialized.gone`.
    """
    if (
        begun is not None
        and begun.state.columns == wanted.columns
        and begun.state.until <= wanted.until
        and begun.state.files.items() <= wanted.files.items()
        and (begun.full or not full)
    ):
        return begun
    if full or done is None or done.columns != wanted.columns:
        return MaterializationPass(wanted, full=True)
    if done.until >= wanted.until and wanted.files.items() <= done.files.items() and not gone:
        return None
    return MaterializationPass(wanted, full=False)


def changed_files(source: ViewSource, state: SourceState, done: SourceState) -> list[str]:
    """Files with rows that may not be materialized: new files, and files with rows after `done.until`.

    Raises:
        JobError: a file is not readable as Parquet.
    """
    return [
        name
        for name, identity in state.files.items()
        if done.files.get(name) != identity or ((at := newest_event_time(source, name)) is not None and at > done.until)
    ]


def _to_json(state: SourceState) -> dict[str, Any]:
    return asdict(state) | {"until": state.until.isoformat()}


def _from_json(stored: dict[str, Any]) -> SourceState:
    return SourceState(datetime.fromisoformat(stored["until"]), stored["files"], stored["columns"])
