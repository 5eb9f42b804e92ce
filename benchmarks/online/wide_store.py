"""A Feast repository of wide feature services over a Redis of its own, filled by Feast's own writer."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Bool, Float32, Float64, Int64, String, UnixTimestamp

from contract import CategoryDistribution, FeatureInput, FeatureSpec, TrainingDistribution
from contract.feature_union import FeatureUnion, InputGroup
from contract.inputs import QUANTILES
from contract.registry_schema import read_feature_schema
from contract.values.category_counts import CategoryCounts

ENTITIES = 1_000
_CATEGORIES = ("bakery", "dairy", "fish", "fruit", "meat", "vegetables", "wine")
_TYPES: Sequence[Any] = (Float64, Int64, Float64, String, Float32, Int64, Float64, UnixTimestamp, Float64, Bool)
"""Of ten features: five of floats, two of counts, a category, a time and a flag."""

_YAML = """\
project: wide
provider: local
registry: '{folder}/registry.db'
offline_store:
  type: duckdb
online_store:
  type: redis
  connection_string: '{redis}'
entity_key_serialization_version: 3
"""


@dataclass(frozen=True)
class Shape:
    """A feature service of this many inputs over this many stored views, which one text key reads."""

    inputs: int
    views: int

    @property
    def name(self) -> str:
        """Its feature service."""
        return f"of_{self.inputs}_in_{self.views}"

    @property
    def join_key(self) -> str:
        """Its own, so that its rows are in hashes of their own."""
        return f"key_{self.name}"


def wide_store(folder: Path, redis: str, shapes: Sequence[Shape]) -> FeatureStore:
    """Apply a feature service of every shape and store rows of `ENTITIES` entities, "0" to "999".

    Args:
        redis: address of an empty server as Feast takes it: `127.0.0.1:6379`.
    """
    (folder / "feature_store.yaml").write_text(_YAML.format(folder=folder, redis=redis), encoding="utf-8")
    store = FeatureStore(repo_path=str(folder))
    chance = np.random.default_rng(7)
    for shape in shapes:
        entity = Entity(name=shape.join_key, join_keys=[shape.join_key], value_type=ValueType.STRING)
        views = [_view(folder, shape, entity, number) for number in range(shape.views)]
        store.apply([entity, *views, FeatureService(name=shape.name, features=views)])
        for view in views:
            store.write_to_online_store(view.name, _rows(shape, view, chance))
    return store


def union_of(store: FeatureStore, shape: Shape) -> FeatureUnion:
    """What a model that takes all features of a shape reads."""
    schema = read_feature_schema(store.registry, store.project, shape.name)
    inputs = tuple(map(_input, schema.features))
    everything = InputGroup(range(len(inputs)), range(len(schema.views)))
    return FeatureUnion(
        feature_services=(shape.name,),
        entity_keys=schema.entity_keys,
        views=schema.views,
        features=inputs,
        offered=schema.features,
        request_inputs=(),
        groups=(everything,),
    )


def _view(folder: Path, shape: Shape, entity: Entity, number: int) -> FeatureView:
    names = range(number, shape.inputs, shape.views)
    return FeatureView(
        name=f"{shape.name}_{number}",
        entities=[entity],
        ttl=timedelta(days=1),
        schema=[Field(name=f"f{i}_of_{shape.name}", dtype=_TYPES[i // shape.views % len(_TYPES)]) for i in names],
        source=FileSource(path=str(folder / f"{shape.name}_{number}.parquet"), timestamp_field="event_timestamp"),
    )


def _rows(shape: Shape, view: FeatureView, chance: np.random.Generator) -> pd.DataFrame:
    made_at = datetime.now(UTC).replace(microsecond=0)
    columns: dict[str, Any] = {shape.join_key: list(map(str, range(ENTITIES))), "event_timestamp": made_at}
    for field in view.features:
        columns[field.name] = _values(field.dtype, chance)
    return pd.DataFrame(columns)


def _values(dtype: Any, chance: np.random.Generator) -> Any:
    if dtype == String:
        return chance.choice(_CATEGORIES, ENTITIES)
    if dtype == UnixTimestamp:
        return pd.to_datetime(chance.integers(1_600_000_000, 1_700_000_000, ENTITIES), unit="s", utc=True)
    if dtype == Bool:
        return chance.random(ENTITIES) < 0.5
    if dtype == Int64:
        return chance.poisson(40, ENTITIES)
    return chance.gamma(2.0, 40.0, ENTITIES).astype(np.float32 if dtype == Float32 else np.float64)


def _input(spec: FeatureSpec) -> FeatureInput:
    described = {**spec.model_dump(), "default": 0.0, "default_from": "feature_repo"}
    counts = (1,) * len(_CATEGORIES)
    if spec.kind == "categorical":
        described |= {
            "default": _CATEGORIES[0],
            "vocabulary": _CATEGORIES,
            "distribution": CategoryDistribution(
                training=counts, null_rate=0.0, histogram=CategoryCounts(counts=counts, unseen=0, missing=0)
            ),
        }
    else:
        described["distribution"] = TrainingDistribution(quantiles=(math.pi,) * len(QUANTILES), null_rate=0.0)
    return FeatureInput.model_validate(described)
