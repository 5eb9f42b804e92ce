"""The online rows of one entity, in every feature view that has its join keys: found, and removed."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from contract import KeyValue, key_of
from jobs.errors import JobError
from jobs.materialization.locks import FAILURES, RunLock, online_writer
from jobs.materialization.redis_store.key_columns import KeyColumns
from jobs.materialization.redis_store.redis_writer import ANY_TIME, OnlineRows, stored_keys
from jobs.offline_store.latest_rows import ViewSource

if TYPE_CHECKING:
    from feast import FeatureView

    from scoring.feast.redis_layout import KeyLayout


class OnlineEntity:
    """Rows of one entity in Redis, or of all entities that have these values among their join keys.

    Args:
        values: join key → value.
        lock: of the run, checked before anything is removed.
    """

    def __init__(
        self,
        client: Any,
        project: str,
        views: "Iterable[FeatureView]",
        values: Mapping[str, KeyValue],
        lock: RunLock,
        lock_seconds: float,
    ) -> None:
        self._client, self._project, self._values = client, project, values
        self._lock, self._seconds = lock, lock_seconds
        types: dict[tuple[str, ...], tuple[str, ...]] = {}
        for view in views:
            source = ViewSource.of(view)
            if values.keys() <= set(source.join_keys):
                types[source.join_keys] = source.key_dtypes
        self._types = types

    def keys(self) -> list[bytes]:
        """The keys of its hashes that are there.

        Raises:
            JobError: Redis did not answer, or the key's value does not fit its type.
        """
        from scoring.feast.redis_layout import KeyLayout

        found: list[bytes] = []
        try:
            for names, dtypes in self._types.items():
                layout = KeyLayout.of(self._project, dict(zip(names, dtypes, strict=True)))
                if set(names) == self._values.keys():
                    key = layout.key(key_of([self._values[name] for name in names]))
                    found += [key] if self._client.hkeys(key) else []
                else:
                    found += self._scanned(names, layout)
        except FAILURES as error:
            raise JobError(f"Redis did not answer: {type(error).__name__}") from None
        return sorted(set(found))

    def remove(self) -> None:
        """Remove every field of these hashes, also those of views that are no longer registered.

        Raises:
            JobError: Redis did not answer, or the lock of writers was lost.
        """
        try:
            for key in self.keys():
                with online_writer(self._client, self._project, self._seconds) as fence:
                    self._lock.check()
                    fields = sorted(self._client.hkeys(key), key=lambda field: not field.startswith(b"_ts:"))
                    if fields:
                        OnlineRows(self._client, fence, ANY_TIME).remove(pa.array([key], pa.binary()), fields)
        except FAILURES as error:
            raise JobError(f"Redis did not answer: {type(error).__name__}") from None

    def _scanned(self, names: Sequence[str], layout: "KeyLayout") -> Iterable[bytes]:
        for some in stored_keys(self._client, self._project, names):
            yield from keys_with(self._values, layout, some)


def keys_with(values: Mapping[str, KeyValue], layout: "KeyLayout", keys: Iterable[bytes]) -> Iterator[bytes]:
    """Those of a layout's keys that have these values among their join keys."""
    names = list(layout.join_keys)
    for row in zip(*(column.to_pylist() for column in KeyColumns(layout).decode(keys)), strict=True):
        found = dict(zip(names, row, strict=True))
        if all(found[name] == value for name, value in values.items()):
            yield layout.key(key_of(row))
