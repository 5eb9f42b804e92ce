"""What has been materialized, remembered in Redis beside the rows: when Redis forgets the rows, it forgets this too."""

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Self
from uuid import uuid4

from jobs.offline_store.latest_rows import KeyRange, ViewSource
from jobs.offline_store.view_files import newest_event_time

_NOTE_OWNER = """
if (redis.call('HMGET', KEYS[1], 'owner')[1] or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'owner', ARGV[2])
return 1
"""
_FORGOTTEN = ""
"""Instead of the digest of columns, so that it is like no other."""


@dataclass(frozen=True)
class SourceState:
    """The source rows that a view's online rows are made from.

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
class MaterializationPass:
    """One way through the customers of a view.

    state: the source state that the online rows reflect when the pass ends.
    full: everybody's row is written, whatever was materialized before.
    reached: customers before this id are done.
    """

    state: SourceState
    full: bool
    reached: str | None = None

    def is_done(self, key_range: KeyRange) -> bool:
        """True if an earlier run got through this range."""
        return self.reached is not None and key_range.high is not None and key_range.high <= self.reached


class Materialized:
    """The marks in one Redis hash, `<project>:materialized`. Errors are redis-py's.

    Of each view: `done`, what its online rows are made of; `begun` and `reached`, the pass under way; `left`, further
    files of which rows may be online, because a pass over them was given up; `streamed:<file>`, one that the stream
    added. Files are named by their identities, see `view_files`. Of all: `owner`.
    """

    def __init__(self, client: Any, project: str) -> None:
        self._client, self._key = client, f"{project}:materialized"
        self._passes: dict[str, str] = {}
        self._finished: dict[str, SourceState] = {}
        self._settled: dict[str, set[str]] = {}

    @property
    def owner(self) -> dict[str, Any] | None:
        """Whose the online rows are, as `jobs.materialization.owners` has it."""
        found: dict[str, Any] | None = self._get("owner")
        return found

    def is_now_of(self, owner: dict[str, Any], before: dict[str, Any] | None) -> bool:
        """Note an owner; False, and nothing is noted, if it is no longer `before` who owns the rows."""
        known = "" if before is None else json.dumps(before)
        noted = self._client.register_script(_NOTE_OWNER)(keys=[self._key], args=[known, json.dumps(owner)])
        return bool(noted)

    def forget_all(self) -> None:
        """As `forget`, of every view."""
        for view in {field.partition(":")[0] for field in self._fields() if ":" in field}:
            self.forget(view)

    def done(self, view: str) -> SourceState | None:
        """What the online rows of a view are made of; None where that is not known."""
        return self._finished.get(view) or self._done_before(view)

    def gone(self, view: str, present: SourceState) -> frozenset[str]:
        """Files of which rows may be online although they are no longer among those that are there."""
        done = self.done(view)
        known = {*(done.files.values() if done else ()), *self._left(view), *self._streamed(view)}
        return frozenset(known - set(present.files.values()) - self._settled.get(view, set()))

    def begun(self, view: str) -> MaterializationPass | None:
        """The pass that was not finished."""
        stored = self._get(f"{view}:begun")
        if stored is None:
            return None
        self._passes[view] = stored.get("id", "")
        reached = self._get(f"{view}:reached")
        own = isinstance(reached, list) and reached[0] == self._passes[view]
        return MaterializationPass(_from_json(stored["extent"]), bool(stored["full"]), reached[1] if own else None)

    def begin(self, view: str, begun: MaterializationPass) -> None:
        """Set out; what an unfinished pass before this one has written is remembered."""
        if (given_up := self.begun(view)) is not None:
            self._leave(view, given_up.state)
        self._client.hdel(self._key, f"{view}:reached")
        self._passes[view] = uuid4().hex
        self._set(f"{view}:begun", {"extent": _to_json(begun.state), "full": begun.full, "id": self._passes[view]})

    def reach(self, view: str, key_range: KeyRange) -> None:
        """All customers before the range's end are written, by the pass that was begun or gone on with here.

        The pass is named, so that a run that lost its lock says nothing of another's.
        """
        self._set(f"{view}:reached", [self._passes.get(view, ""), key_range.high])

    def finish(self, view: str, state: SourceState, gone: frozenset[str]) -> None:
        """The pass has come to its end: no rows of the files `gone` are online, but for newer ones than its `until`.

        A pass that ends before an earlier one did leaves newer rows alone, so it does not say what all are made of.
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
        """The next run writes everybody's row."""
        self._finished.pop(view, None)
        self._client.hdel(self._key, f"{view}:begun", f"{view}:reached")
        if (done := self._done_before(view)) is not None:  # until when newer rows may be online is not forgotten
            self._set(f"{view}:done", _to_json(SourceState(done.until, {}, _FORGOTTEN)))

    def restart(self) -> None:
        """Forget every view, and until when its rows are."""
        self._finished.clear()
        views = [field for field in self._fields() if field.partition(":")[2]]
        if views:
            self._client.hdel(self._key, *views)

    def streamed(self, view: str, file: str) -> None:
        """The stream is about to write rows of a file that it has added."""
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
    """What is still to be done so that `wanted` is materialized; None: nothing.

    A pass that was begun is finished first, if all its files are still there as they were; they may have become more.

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
    """Files of which some rows may not have been materialized: new ones, and those with rows after `done.until`.

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
