"""The requests' entities: real ones in a fixed random order, with their features and scores."""

import asyncio
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from artefacts.addresses import PROJECT_ROOT, Artefacts
from contract import FeatureState, Key, ModelContract, Resolver
from contract.values.request_values import asked_of
from jobs.feature_store import feast_variables
from jobs.offline_store.latest_rows import connect
from jobs.offline_store.stored_keys import stored_keys
from scoring.models.model_frame import model_frame
from scoring.models.model_store import open_model, pinned_tag
from service.features.opening import open_feast

SINGLES = 2_000
BATCHES = 24
"""Different requests per scenario; they are repeated in turn."""


@dataclass(frozen=True)
class Workload:
    """The requests' content, equal for every peer.

    feature_repo: folder of `feature_store.yaml`.
    keys: of n entities, shuffled; all have features.
    vectors: float32 (n, k), features at `as_of_unix_us`, for peers that take features in the request.
    scores: float64 (n,), or (n, c) for a multi-class model; the model's.
    """

    contract: ModelContract
    model_tag: str
    redis_url: str
    feature_repo: Path
    keys: list[Key]
    as_of_unix_us: int
    vectors: NDArray[np.float32]
    scores: NDArray[np.float64]

    @classmethod
    def read(cls, artefacts: Artefacts, seed: int, as_of_unix_us: int) -> Self:
        """Read keys from the offline store and their features through Feast's SDK.

        Raises:
            ValueError: there is no Redis; its features are stale or replaced by defaults, so peers would score
                differently; or requests must give more than one key.
            JobError: the offline store has no keys.
        """
        if artefacts.redis_url is None:
            raise ValueError("REDIS_URL is not set and no embedded Redis runs; `make redis` starts one")
        tag = pinned_tag(artefacts)
        model = open_model(tag)
        schema = model.contract.feature_schema
        if len(schema.entity_keys) > 1 or asked_of(schema.request_inputs):
            raise ValueError("the benchmark asks by one key alone; this model takes several, or request values")
        with connect() as connection:
            arrays = stored_keys(connection, artefacts.offline_store, schema.entity_keys[0].join_key)
            keys = sorted(key for array in arrays for key in array.to_pylist())
        np.random.default_rng(seed).shuffle(keys)
        feast = open_feast(artefacts.feature_repo, artefacts, model.contract, compiled=False)

        async def read() -> NDArray[np.float32]:
            raw = await feast.features.read(keys, as_of_unix_us)
            await feast.features.close()
            resolved = Resolver.of(model.contract).resolve(raw, as_of_unix_us / 1e6)
            if resolved.defaulted.any() or (resolved.states == FeatureState.STALE).any():
                raise ValueError("features are missing or stale, so peers would not score the same; `make materialize`")
            return resolved.matrix

        vectors = asyncio.run(read())
        return cls(
            contract=model.contract,
            model_tag=tag,
            redis_url=artefacts.redis_url,
            feature_repo=artefacts.feature_repo,
            keys=keys,
            as_of_unix_us=as_of_unix_us,
            vectors=vectors,
            scores=model.score(vectors).astype(np.float64),
        )

    def chunks(self, rows: int) -> list[range]:
        """Positions of the entities of each request of `rows` rows."""
        requests = SINGLES if rows == 1 else BATCHES
        return [range(at, at + rows) for at in range(0, len(self.keys) - rows + 1, rows)][:requests]

    @property
    def join_key(self) -> str:
        """Name of the key."""
        return self.contract.join_key

    def keys_at(self, chunk: Iterable[int]) -> list[Key]:
        """The keys at these positions."""
        return [self.keys[position] for position in chunk]

    def frame_at(self, chunk: Sequence[int]) -> list[list[Any]]:
        """The features at these positions as a pipeline takes them, in JSON's values; None is a null."""
        columns = model_frame(self.contract.inputs, self.vectors[list(chunk)]).astype(object)
        return [list(map(_in_json, row)) for row in columns.itertuples(index=False, name=None)]

    def environment(self, artefacts: Artefacts, bentoml_home: Path) -> dict[str, str]:
        """Environment variables of every server; use cases that share a BENTOML_HOME have Feast files of their own."""
        contract = self.contract
        # mlflow starts uvicorn by name
        path = f"{PROJECT_ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
        return {
            **{name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"},
            **feast_variables(artefacts, bentoml_home / f"{contract.model_name}.yaml"),
            "PATH": path,
            "USE_CASE": str(artefacts.use_case),
            "REDIS_URL": self.redis_url,
            "MLFLOW_TRACKING_URI": artefacts.mlflow_tracking_uri,
            "BENTOML_HOME": str(bentoml_home),
            "BENTOML_DO_NOT_TRACK": "True",
            "CHALLENGER_PATH": str(bentoml_home / "no_challenger.json"),  # not the user's own challenger
            "BENCHMARKS_FEATURE_REPO": str(self.feature_repo),
            "BENCHMARKS_FEATURE_SERVICE": contract.feature_service,
            "BENCHMARKS_MODEL_URI": f"models:/{contract.model_name}/{contract.model_version}",
            "BENCHMARKS_MODEL_TAG": self.model_tag,
            "BENCHMARKS_REDIS_URL": self.redis_url,
        }


def _in_json(cell: Any) -> Any:
    """float32's shortest digits; float64's would only make the body longer to parse."""
    if isinstance(cell, str):
        return cell
    return None if np.isnan(cell) else float(str(np.float32(cell)))
