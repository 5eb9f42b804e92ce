"""A tiny Feast repository with a registry and a Valkey server of its own."""

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from artefacts.addresses import Artefacts
from contract import FeatureSchema, ModelContract
from contract.registry_schema import read_feature_schema
from jobs.local import embedded_redis
from service.features.opening import OpenedFeast, open_feast
from tests.models.fakes import Rows, small_contract
from tests.servers.forked import feast_apply
from tests.servers.postgres import PostgresServer, needs_postgres, postgres

FEATURE_STORE_YAML = """\
project: tiny
provider: local
registry:
  registry_type: file
  path: '${FEAST_REGISTRY}'
offline_store:
  type: duckdb
online_store:
  type: redis
  redis_type: '${REDIS_TYPE}'
  sentinel_master: '${REDIS_SENTINEL_MASTER}'
  connection_string: '${REDIS_CONNECTION_STRING}'
entity_key_serialization_version: 3
"""

DEFINITIONS = """\
import os
from datetime import timedelta
from typing import Any

from feast import Entity, FeatureService, FeatureView, Field, FileSource, RequestSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Bool, Float32, Float64, Int64

customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)


def rows_of(view: str) -> FileSource:
    path = os.path.join(os.environ["OFFLINE_STORE_DIR"], f"{view}.parquet")
    return FileSource(name=view, path=path, timestamp_field="event_timestamp")


profile = FeatureView(
    name="profile",
    entities=[customer],
    ttl=None,
    schema=[
        Field(name="order_count", dtype=Int64),
        Field(name="spend", dtype=Float64),
        Field(name="last_order_unix_us", dtype=Int64),
    ],
    source=rows_of("profile"),
)
activity = FeatureView(
    name="activity",
    entities=[customer],
    ttl=timedelta(days=2),
    schema=[Field(name="order_count_30d", dtype=Int64), Field(name="is_member", dtype=Bool)],
    source=rows_of("activity"),
)
request_time = RequestSource(
    name="request_time",
    schema=[Field(name="as_of", dtype=Int64, tags={"filled_by": "request_time_unix_us"})],
)


@on_demand_feature_view(
    sources=[profile[["last_order_unix_us"]], request_time],
    schema=[Field(name="days_since_last_order", dtype=Float64)],
    mode="python",
)
def recency(inputs: dict[str, Any]) -> dict[str, Any]:
    pairs = zip(inputs["as_of"], inputs["last_order_unix_us"])
    return {"days_since_last_order": [None if last is None else (now - last) / 86_400_000_000 for now, last in pairs]}


tiny_v1 = FeatureService(name="tiny_v1", features=[profile[["order_count", "spend"]], activity, recency])
"""

_NUMBERS = itertools.count(1)

OTHER_STORES = (pytest.param("postgres", marks=needs_postgres), "sqlite")
"""Online stores that are read through Feast's SDK alone, as parameters of `elsewhere`."""

COMPILED = {"sdk": False, "compiled": True}
"""Name of a reader → `compiled` of `open_feast`."""

_COLUMNS: dict[str, dict[str, Any]] = {
    "profile": {"order_count": "Int64", "spend": "Float64", "last_order_unix_us": "Int64"},
    "activity": {"order_count_30d": "Int64", "is_member": "boolean"},
}


@dataclass(frozen=True)
class TinyFeast:
    """An applied Feast repository, the addresses it uses, and a contract that its registry keeps."""

    repo: Path
    artefacts: Artefacts

    def with_redis(self, url: str | None) -> "TinyFeast":
        return replace(self, artefacts=self.artefacts.model_copy(update={"redis_url": url}))

    def apply(self) -> None:
        """What a user's `feast apply` does."""
        done = feast_apply(self.repo, {**os.environ, **self.artefacts.feast_environment()})
        assert 0 == done.returncode, done.stdout + done.stderr

    def schema(self, feature_service: str = "tiny_v1") -> FeatureSchema:
        """What the registry offers now."""
        from feast import FeatureStore

        os.environ.update(self.artefacts.feast_environment())
        return read_feature_schema(FeatureStore(repo_path=str(self.repo)).registry, "tiny", feature_service)

    def contract(self) -> ModelContract:
        """A contract over what the registry offers now."""
        return small_contract(self.schema())

    def write(self, customers: Mapping[str, Rows]) -> None:
        """Store rows as `materialize` would."""
        from feast import FeatureStore

        os.environ.update(self.artefacts.feast_environment())
        store = FeatureStore(repo_path=str(self.repo))
        for view, columns in _COLUMNS.items():
            of_view = {customer_id: rows[view] for customer_id, rows in customers.items() if view in rows}
            table = pd.DataFrame({"customer_id": list(of_view)}, dtype=object)
            times = [pd.Timestamp(round(row.event_time * 1e6), unit="us", tz="UTC") for row in of_view.values()]
            table["event_timestamp"] = pd.Series(times, dtype="datetime64[us, UTC]")
            for column, dtype in columns.items():
                values = pd.Series([row.values.get(column) for row in of_view.values()], dtype="Float64")
                table[column] = values.astype(dtype)
            store.write_to_online_store(view, table)
        close_connection(store)

    def open(self, contract: ModelContract, *, compiled: bool = True) -> OpenedFeast:
        return open_feast(self.repo, self.artefacts, contract, compiled=compiled, stall_seconds=30)


def close_connection(store: Any) -> None:
    """Close the one to PostgreSQL or SQLite that a `FeatureStore` has written with. Feast leaves it open."""
    if (connection := getattr(store.provider.online_store, "_conn", None)) is not None:
        connection.close()


def contract_over(schema: FeatureSchema) -> ModelContract:
    """A contract that takes every feature, in an order that is not the registry's."""
    made = small_contract()
    inputs = tuple(
        made.inputs[0].model_copy(update={**feature.model_dump(), "sources": feature.sources, "default": 0.0})
        for feature in reversed(schema.features)
    )
    return made.model_copy(update={"feature_schema": schema, "inputs": inputs})


def tiny_feast(
    folder: Path, redis_url: str | None, definitions: str = DEFINITIONS, configuration: str = FEATURE_STORE_YAML
) -> TinyFeast:
    """Write a repository to `folder`; not applied yet."""
    repo = folder / "repo"
    repo.mkdir(parents=True)
    (repo / "feature_store.yaml").write_text(configuration)
    (repo / "definitions.py").write_text(definitions)
    environment = {
        "FEAST_REGISTRY": str(folder / "registry.db"),
        "OFFLINE_STORE_DIR": str(folder / "offline_store"),
    }
    artefacts = Artefacts.of(environment, root=folder)
    return TinyFeast(repo, artefacts).with_redis(redis_url)


def yaml_with(online_store: Mapping[str, Any]) -> str:
    """The tiny repository's configuration with another online store."""
    made = {**yaml.safe_load(FEATURE_STORE_YAML), "online_store": dict(online_store)}
    return yaml.safe_dump(made)


def on_postgres(folder: Path, server: PostgresServer, database: str, definitions: str = DEFINITIONS) -> TinyFeast:
    """A repository, applied, with a new database as its online store."""
    server.create_database(database)
    feast = tiny_feast(folder, None, definitions, yaml_with(server.feast_store(database)))
    feast.apply()
    return feast


def on_sqlite(folder: Path, definitions: str = DEFINITIONS) -> TinyFeast:
    """A repository, applied, with `online.db` in the folder as its online store."""
    feast = tiny_feast(folder, None, definitions, yaml_with({"type": "sqlite", "path": str(folder / "online.db")}))
    feast.apply()
    return feast


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One that nobody stops; each repository has a database of its own."""
    with postgres() as server:
        yield server


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Callable[[str], TinyFeast]:
    """Makes the tiny repository with another of `OTHER_STORES`."""
    makes = {
        "postgres": lambda folder: on_postgres(
            folder, request.getfixturevalue("postgres_server"), f"online_{next(_NUMBERS)}"
        ),
        "sqlite": on_sqlite,
    }
    return lambda kind: makes[kind](tmp_path_factory.mktemp(kind))


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server that only this module uses."""
    folder = tmp_path_factory.mktemp("valkey")
    yield embedded_redis.start(root=folder)
    embedded_redis.stop(root=folder)


@pytest.fixture(scope="module")
def feast(valkey: str, tmp_path_factory: pytest.TempPathFactory) -> TinyFeast:
    """The tiny repository, applied."""
    feast = tiny_feast(tmp_path_factory.mktemp("feast"), valkey)
    feast.apply()
    return feast
