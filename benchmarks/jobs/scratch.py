"""A folder with its own artefacts and Redis for measuring the jobs; only the model is the user's."""

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from artefacts.addresses import Artefacts
from benchmarks.load.process_usage import StepError, Usage, usage_of
from jobs.feature_store import BASELINES, feast_variables
from jobs.local import embedded_redis
from training.churn.source.addresses import OrderAddresses

JOBS_SETTINGS = {
    # The two snapshots that serving and one label window need; training's default grid has 25.
    "JOBS_DAILY_SNAPSHOTS": "1",
    "JOBS_SNAPSHOT_BACKFILL_DAYS": "365",
    "JOBS_SPARK_MASTER": "local[2]",
}


@dataclass(frozen=True)
class Scratch:
    """What every step of one size works on.

    environment: makes a command use these artefacts only.
    client: client of its Redis; `Any`, because redis-py's types mix sync and async.
    """

    customers: int
    folder: Path
    artefacts: Artefacts
    environment: dict[str, str]
    client: Any

    @property
    def source(self) -> OrderAddresses:
        return OrderAddresses.of(self.environment)

    def run(
        self,
        what: str,
        *words: str,
        most_seconds: float = 600,
        core: int | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> Usage:
        """Run `python -m …` to its end and return its cost.

        Args:
            variables: further environment variables.

        Raises:
            StepError: it failed or exceeded its time; quotes its last lines.
        """
        cost = usage_of(
            [sys.executable, "-m", *words], {**self.environment, **(variables or {})}, most_seconds, core=core
        )
        if cost.exit_code != 0:
            ended = f"took more than {most_seconds:g} s" if cost.exit_code is None else f"ended with {cost.exit_code}"
            raise StepError(f"{' '.join(words[:2])} {ended}:\n{cost.last_lines()}")
        self.print_progress(what, cost)
        return cost

    def print_progress(self, what: str, cost: Usage) -> None:
        """Print a line of progress."""
        print(f"  {what:34} {cost.seconds:7.1f} s {cost.peak_rss_mb:8,.0f} MB", flush=True)

    def last_materialization(self) -> dict[str, Any]:
        """Record of the last materialization."""
        record: dict[str, Any] = json.loads(
            self.artefacts.materialize_runs.read_text(encoding="utf-8").splitlines()[-1]
        )
        return record

    def redis_memory(self) -> dict[str, float]:
        """Memory that the server reports; MB are millions of bytes."""
        info: dict[str, Any] = self.client.info("memory")
        return {"used_mb": info["used_memory"] / 1e6, "rss_mb": info["used_memory_rss"] / 1e6}


@contextmanager
def scratch(customers: int) -> Iterator[Scratch]:
    """Create a scratch folder for one size; removed with the block."""
    with tempfile.TemporaryDirectory(prefix=f"bench-jobs-{customers}-") as name:
        folder = Path(name)
        url = embedded_redis.start(root=folder)
        try:
            client: Any = redis.Redis.from_url(url)
            with client:
                client.config_set("save", "")  # saving would fork at any time
                try:
                    artefacts, environment = _own_artefacts(os.environ, folder, url)
                    yield Scratch(customers, folder, artefacts, environment, client)
                finally:
                    client.execute_command("FLUSHALL", "SYNC")  # else the server saves the data when it stops
        finally:
            embedded_redis.stop(root=folder)


def _own_artefacts(environ: Mapping[str, str], folder: Path, redis_url: str) -> tuple[Artefacts, dict[str, str]]:
    own = Artefacts.of(environ)
    addresses = {
        "REDIS_URL": redis_url,
        "FEAST_REGISTRY": str(folder / "registry.db"),
        "OFFLINE_STORE_DIR": str(folder / "offline_store"),
        "ORDERS_PATH": str(folder / "orders.parquet"),
        "STREAMED_ORDERS_DIR": str(folder / "streamed_orders"),
        "MATERIALIZE_RUNS_PATH": str(folder / "runs.jsonl"),
        "MODEL_TAG_PATH": str(own.model_tag.resolve()),
        "MLFLOW_TRACKING_URI": own.mlflow_tracking_uri,
    }
    kept = {name: value for name, value in environ.items() if not name.startswith("JOBS_")}
    artefacts = Artefacts.of(addresses, root=folder)
    feast = feast_variables(artefacts, folder / "feature_store.yaml", without=BASELINES)  # for Feast's own commands
    return artefacts, {**kept, **feast, **addresses, **JOBS_SETTINGS, "BENTOML_DO_NOT_TRACK": "True"}
