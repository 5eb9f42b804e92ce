"""Use cases whose feature rows somebody else writes: tables of households and of what they bought in a department."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import redis
import yaml

from artefacts.addresses import Artefacts
from jobs.feature_store import apply, open_feature_store
from jobs.materialization.materialize import materialize
from jobs.settings import JobsSettings
from tests.servers.redis_servers import RunningServer

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
REDIS = {
    "type": "redis",
    "redis_type": "${REDIS_TYPE}",
    "sentinel_master": "${REDIS_SENTINEL_MASTER}",
    "connection_string": "${REDIS_CONNECTION_STRING}",
}
DEFINITIONS = """\
from feast import Entity, FeatureView, Field, ValueType
from feast.types import Bool, Float64, Int64, String, UnixTimestamp
{imports}
household = Entity(name="household", join_keys=["household_id"], value_type=ValueType.INT64)
department = Entity(name="department", join_keys=["department"], value_type=ValueType.STRING)
household_profile = FeatureView(
    name="household_profile",
    entities=[household],
    schema=[
        Field(name="income", dtype=String),
        Field(name="size", dtype=Int64),
        Field(name="is_owner", dtype=Bool),
        Field(name="joined_at", dtype=UnixTimestamp),
    ],
    source={profile},
)
department_spend = FeatureView(
    name="department_spend",
    entities=[household, department],
    schema=[Field(name="spend", dtype=Float64)],
    source={spend},
)
"""


@dataclass(frozen=True)
class Tables:
    """A use case over tables that it does not fill, with a registry and records of its own."""

    artefacts: Artefacts
    settings: JobsSettings

    @classmethod
    def over_files(
        cls, folder: Path, project: str, redis_url: str | None, profile: Path, spend: Path, **parts: Any
    ) -> "Tables":
        """Applied, over Parquet files or folders."""
        definitions = DEFINITIONS.format(
            imports="from feast import FileSource\nfrom feast.data_format import ParquetFormat",
            profile=_file_source("profile", profile),
            spend=_file_source("spend", spend),
        )
        return cls.of(folder, project, redis_url, definitions, {"offline_store": {"type": "duckdb"}, **parts})

    @classmethod
    def of(
        cls, folder: Path, project: str, redis_url: str | None, definitions: str, parts: Mapping[str, Any]
    ) -> "Tables":
        """Applied; `parts` of feature_store.yaml go over the usual ones."""
        repo = folder / project / "feature_repo"
        repo.mkdir(parents=True)
        usual = {
            "project": project,
            "provider": "local",
            "registry": {"registry_type": "file", "path": "${FEAST_REGISTRY}"},
            "online_store": REDIS,
            "entity_key_serialization_version": 3,
        }
        (repo / "feature_store.yaml").write_text(yaml.safe_dump(usual | dict(parts)))
        (repo / "definitions.py").write_text(definitions)
        environment = {"USE_CASE": str(folder / project), **({"REDIS_URL": redis_url} if redis_url else {})}
        made = cls(Artefacts.of(environment, root=folder), JobsSettings(materialize_chunk_rows=100))
        made.artefacts.materialize_runs.parent.mkdir(parents=True)
        apply(made.artefacts)
        return made

    def materialize(self, until: datetime | None = NOW, **how: bool) -> dict[str, Any]:
        """Run it; what it recorded of itself."""
        materialize(self.artefacts, until, settings=self.settings, **how)
        return self.last_record()

    def last_record(self) -> dict[str, Any]:
        record: dict[str, Any] = json.loads(self.artefacts.materialize_runs.read_text().splitlines()[-1])
        return record

    def online(self, view: str, columns: list[str], keys: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
        """Values of the columns for each key, through Feast's SDK."""
        answer = (
            open_feature_store(self.artefacts).get_online_features([f"{view}:{c}" for c in columns], keys).to_dict()
        )
        return list(zip(*(answer[column] for column in columns), strict=True))


def _file_source(name: str, path: Path) -> str:
    return f"FileSource(name={name!r}, path={str(path)!r}, timestamp_field='at', file_format=ParquetFormat())"


def profiles(households: range, at: datetime = NOW - DAY, size: int = 3) -> pd.DataFrame:
    """One row each, as pandas writes them: times in nanoseconds; every fifth without demographics."""
    known = [household for household in households if household % 5]
    demographics = pd.DataFrame(
        {
            "household_id": known,
            "income": "35-49K",
            "size": size,
            "is_owner": [household % 2 == 0 for household in known],
            "joined_at": [at - household * DAY for household in known],
        }
    ).astype({"size": "Int64", "is_owner": "boolean"})
    rows = pd.DataFrame({"household_id": list(households), "at": pd.Timestamp(at)}).astype({"household_id": "int64"})
    return rows.merge(demographics, how="left", on="household_id")


def spends(
    households: range, departments: tuple[str, ...] = ("GROCERY", "MEAT"), at: datetime = NOW - DAY, spend: float = 1.5
) -> pd.DataFrame:
    """One row for each household and department."""
    rows = [(household, department, spend, at) for household in households for department in departments]
    return pd.DataFrame(rows, columns=["household_id", "department", "spend", "at"])


def stored(server: RunningServer, project: str) -> dict[bytes, dict[bytes, bytes]]:
    """Every hash of a project's entities."""
    with redis.Redis.from_url(server.url) as client:
        keys = (key for key in client.scan_iter(b"*" + project.encode()) if not key.endswith(b":" + project.encode()))
        return {key: client.hgetall(key) for key in keys}
