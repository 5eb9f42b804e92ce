"""Online stores as places: Redis, Feast's tables in SQL, and stores of which a key can be read and not removed."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from contract import KeyValue, key_of
from jobs.erasure.places import Place
from jobs.errors import JobError
from jobs.materialization.redis_store.online_entity import OnlineEntity, keys_with
from jobs.offline_store.latest_rows import ViewSource

if TYPE_CHECKING:
    from feast import FeatureStore, FeatureView

    from scoring.feast.online_rows import OnlineTables


@dataclass
class InRedis:
    """Redis as a place."""

    rows: OnlineEntity
    name: str = "Redis"

    def count(self) -> dict[str, int]:
        """See `Place`."""
        return {"keys": found} if (found := len(self.rows.keys())) else {}

    def left(self) -> list[str]:
        """See `Place`: nothing."""
        return []

    def erase(self) -> None:
        """See `Place`."""
        self.rows.remove()


def in_another_store(store: "FeatureStore", views: "Sequence[FeatureView]", values: Mapping[str, KeyValue]) -> Place:
    """The place for a store other than Redis."""
    from scoring.feast.online_rows import OnlineTables  # imports feast

    concerned = [(view, source) for view in views if values.keys() <= set((source := ViewSource.of(view)).join_keys)]
    name = f"the online store ({store.config.online_store.type})"
    if (tables := OnlineTables.of(store)) is None:
        return _OnlyRead(store, concerned, values, name)
    return _InTables(tables, [source for _, source in concerned], values, name)


@dataclass
class _InTables:
    """Feast's tables in SQLite or PostgreSQL."""

    tables: "OnlineTables"
    sources: Sequence[ViewSource]
    values: Mapping[str, KeyValue]
    name: str

    def count(self) -> dict[str, int]:
        found: Counter[str] = Counter()  # two views share a table if PostgreSQL cuts their names to the same
        with _answering(self.name):
            for source in self.sources:
                found.update(self.tables.count(source.name, self._keys(source)))
        return {table: count for table, count in found.items() if count}

    def left(self) -> list[str]:
        return []

    def erase(self) -> None:
        with _answering(self.name):
            for source in self.sources:
                self.tables.remove(source.name, self._keys(source))

    def _keys(self, source: ViewSource) -> list[bytes]:
        from scoring.feast.redis_layout import KeyLayout

        layout = KeyLayout.of("", dict(zip(source.join_keys, source.key_dtypes, strict=True)))
        if set(source.join_keys) == self.values.keys():
            return [layout.key(key_of([self.values[name] for name in source.join_keys]))]
        return list(keys_with(self.values, layout, self.tables.keys(source.name)))


@dataclass
class _OnlyRead:
    """A store of which Feast reads whole keys and removes none."""

    store: "FeatureStore"
    views: "Sequence[tuple[FeatureView, ViewSource]]"
    values: Mapping[str, KeyValue]
    name: str

    def count(self) -> dict[str, int]:
        return {}

    def left(self) -> list[str]:
        from scoring.feast.online_rows import is_stored

        there, unknown = [], []
        with _answering(self.name):
            for view, source in self.views:
                types = dict(zip(source.join_keys, source.key_dtypes, strict=True))
                if types.keys() != self.values.keys():
                    unknown.append(view.name)
                elif is_stored(self.store, view, self.values, types):
                    there.append(view.name)
        said = [f"has rows in {', '.join(there)}"] if there else []
        said += [f"was not looked into for {', '.join(unknown)}, of which KEY has not all join keys"] if unknown else []
        way_out = "delete the key with the store's own tools, or make the store anew (docs/erasure.md)"
        return [f"{self.name} {each}; Feast removes no single key: {way_out}" for each in said]

    def erase(self) -> None:
        """Nothing was counted."""


@contextmanager
def _answering(name: str) -> Iterator[None]:
    try:
        yield
    except (TypeError, AttributeError, NameError, LookupError, AssertionError):  # a fault of the program
        raise
    except Exception as error:  # of any driver
        raise JobError(f"{name} did not answer: {type(error).__name__}") from None
