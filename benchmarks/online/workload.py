"""The requests' customers: real ones in a fixed random order, with their features and probabilities."""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from artefacts.addresses import PROJECT_ROOT, Artefacts
from contract import ModelContract, Resolver
from scoring.models.model_store import open_model, pinned_tag
from service.features.opening import open_feast
from training.churn.source.addresses import OrderAddresses

SINGLES = 2_000
BATCHES = 24
"""Different requests per scenario; they are repeated in turn."""


@dataclass(frozen=True)
class Workload:
    """The requests' content, equal for every peer.

    customer_ids: n ids, shuffled; all have features.
    vectors: float32 (n, k), features at `as_of_unix_us`, for peers that take features in the request.
    probabilities: float32 (n,), the model's.
    """

    contract: ModelContract
    model_tag: str
    redis_url: str
    customer_ids: list[str]
    as_of_unix_us: int
    vectors: NDArray[np.float32]
    probabilities: NDArray[np.float32]

    @classmethod
    def read(cls, artefacts: Artefacts, seed: int, as_of_unix_us: int) -> Self:
        """Read customers from the orders and their features through Feast's SDK.

        Raises:
            ValueError: there is no Redis, or its features are missing or stale, so peers would score differently.
        """
        if artefacts.redis_url is None:
            raise ValueError("REDIS_URL is not set and no embedded Redis runs; `make redis` starts one")
        tag = pinned_tag(artefacts)
        model = open_model(tag)
        orders = pq.read_table(OrderAddresses.of(os.environ).orders, columns=["customer_id"])
        customer_ids = sorted(orders["customer_id"].unique().to_pylist())
        np.random.default_rng(seed).shuffle(customer_ids)
        feast = open_feast(PROJECT_ROOT / "feature_repo", artefacts, model.contract, compiled=False)

        async def read() -> NDArray[np.float32]:
            raw = await feast.features.read(customer_ids, as_of_unix_us)
            await feast.features.close()
            resolved = Resolver.of(model.contract).resolve(raw, as_of_unix_us / 1e6)
            if resolved.states.any():
                raise ValueError("features are missing or stale, so peers would not score the same; `make materialize`")
            return resolved.matrix

        vectors = asyncio.run(read())
        return cls(
            contract=model.contract,
            model_tag=tag,
            redis_url=artefacts.redis_url,
            customer_ids=customer_ids,
            as_of_unix_us=as_of_unix_us,
            vectors=vectors,
            probabilities=model.score(vectors),
        )

    def chunks(self, rows: int) -> list[range]:
        """Positions of the customers of each request of `rows` rows."""
        requests = SINGLES if rows == 1 else BATCHES
        return [range(at, at + rows) for at in range(0, len(self.customer_ids) - rows + 1, rows)][:requests]

    def ids(self, chunk: Sequence[int]) -> list[str]:
        """The ids at these positions."""
        return [self.customer_ids[position] for position in chunk]

    def environment(self, artefacts: Artefacts, bentoml_home: Path) -> dict[str, str]:
        """Environment variables of every server."""
        contract = self.contract
        # mlflow starts uvicorn by name
        path = f"{PROJECT_ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
        return {
            **{name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"},
            **artefacts.feast_environment(),
            "PATH": path,
            "REDIS_URL": self.redis_url,
            "MLFLOW_TRACKING_URI": artefacts.mlflow_tracking_uri,
            "BENTOML_HOME": str(bentoml_home),
            "BENTOML_DO_NOT_TRACK": "True",
            "CHALLENGER_PATH": str(bentoml_home / "no_challenger.json"),  # not the user's own challenger
            "BENCHMARKS_FEATURE_SERVICE": contract.feature_service,
            "BENCHMARKS_MODEL_URI": f"models:/{contract.model_name}/{contract.model_version}",
            "BENCHMARKS_MODEL_TAG": self.model_tag,
            "BENCHMARKS_REDIS_URL": self.redis_url,
        }
