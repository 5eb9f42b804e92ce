"""Rows of one entity in online stores other than Redis: found in any, removed from Feast's tables in SQL.

Feast has no call that removes a key. In SQLite and PostgreSQL it keeps a table per view, `<project>_<view>`, with a row
per feature of an entity and the serialised key in `entity_key`: `KeyLayout` without a project at its end.

Source: https://github.com/feast-dev/feast/blob/master/docs/specs/online_store_format.md
"""

import re
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from feast import FeatureStore, FeatureView
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from sqlalchemy import (
    Connection,
    Engine,
    LargeBinary,
    NullPool,
    TableClause,
    column,
    create_engine,
    delete,
    func,
    inspect,
    select,
    table,
)

from contract import KeyValue
from scoring.feast.redis_layout import KEY_TYPES


@dataclass(frozen=True)
class OnlineTables:
    """Feast's tables of one project.

    engine: None where there is no database yet.
    views: names of all feature views: `visits_v2` may be one, or version 2 of `visits`.
    """

    engine: Engine | None
    project: str
    views: frozenset[str] = frozenset()

    @classmethod
    def of(cls, store: FeatureStore) -> "OnlineTables | None":
        """None for a store of another kind."""
        opens = _ENGINES.get(store.config.online_store.type)
        if opens is None:
            return None
        return cls(opens(store), store.project, frozenset(view.name for view in store.list_all_feature_views()))

    def keys(self, view: str) -> list[bytes]:
        """The keys of all entities with rows of a view."""
        if self.engine is None:
            return []
        with self.engine.connect() as connection:
            found = {
                bytes(key)
                for rows in self._tables(connection, view)
                for key in connection.scalars(select(rows.c.entity_key).distinct())
            }
        return sorted(found)

    def count(self, view: str, keys: Sequence[bytes]) -> dict[str, int]:
        """Table → number of rows under these keys."""
        if self.engine is None:
            return {}
        with self.engine.connect() as connection:
            return {
                rows.name: sum(
                    connection.scalar(select(func.count()).select_from(rows).where(rows.c.entity_key == key)) or 0
                    for key in keys
                )
                for rows in self._tables(connection, view)
            }

    def remove(self, view: str, keys: Sequence[bytes]) -> None:
        """Remove all rows under these keys, in one transaction."""
        if self.engine is None:
            return
        with self.engine.begin() as connection:
            for rows in self._tables(connection, view):
                for key in keys:
                    connection.execute(delete(rows).where(rows.c.entity_key == key))

    def _tables(self, connection: Connection, view: str) -> list[TableClause]:
        """The view's, and those of its versions where Feast keeps several. PostgreSQL cuts long names."""
        longest = connection.dialect.max_identifier_length
        cut = {
            each: f"{self.project}_{each}".encode()[:longest].decode(errors="ignore") for each in self.views | {view}
        }
        name = re.compile(rf"{re.escape(cut[view])}(_(v[0-9]*)?)?")
        others = set(cut.values()) - {cut[view]}
        found = [each for each in inspect(connection).get_table_names() if name.fullmatch(each) and each not in others]
        return [table(each, column("entity_key", LargeBinary)) for each in found]


def is_stored(store: FeatureStore, view: FeatureView, key: Mapping[str, KeyValue], types: Mapping[str, str]) -> bool:
    """True if any online store has a row of this view under all of its join keys.

    Args:
        key, types: join key → value, and → Feast's type in lower case.
    """
    values = [KEY_TYPES[types[name]].proto(value) for name, value in key.items()]
    asked = EntityKey(join_keys=list(key), entity_values=values)
    features = [field.name for field in view.features]
    found = store.provider.online_store.online_read(store.config, view, [asked], features)
    return any(row is not None for _, row in found)


def _in_sqlite(store: FeatureStore) -> Engine | None:
    file = Path(store.config.repo_path or "", store.config.online_store.path)
    if not file.exists():
        return None

    def connected() -> sqlite3.Connection:
        connection = sqlite3.connect(f"{file.resolve().as_uri()}?mode=rw", uri=True)
        connection.execute("PRAGMA secure_delete = ON")  # zeros in the place of what is removed
        return connection

    return create_engine("sqlite://", creator=connected, poolclass=NullPool)


def _in_postgres(store: FeatureStore) -> Engine:
    from scoring.feast.postgres import connected

    config: Any = store.config.online_store
    return create_engine("postgresql+psycopg://", creator=lambda: connected(config), poolclass=NullPool)


_ENGINES: dict[str, Callable[[FeatureStore], Engine | None]] = {
    "sqlite": _in_sqlite,
    "feast.infra.online_stores.sqlite.SqliteOnlineStore": _in_sqlite,
    "postgres": _in_postgres,
}
"""Type of an online store, as the YAML names it → opens its database."""
