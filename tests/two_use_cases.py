"""Two use cases in one copy of the project, by the commands: one Redis, Feast registry, MLflow and BentoML store."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import redis
from feast.protos.feast.core.Registry_pb2 import Registry
from mlflow.tracking import MlflowClient

from tests.loop import SOURCE, bare_environment, copy_source, free_port
from tests.servers.serving import START_SECONDS, Service, wait_until

NONE: Mapping[str, str] = {}
NO_GATE = {
    "TRAINING_BOOTSTRAP_RESAMPLES": "20",
    "TRAINING_TRAINING_CUTOFFS": "1",
    "TRAINING_MAX_CALIBRATION_ERROR": "5",
}
"""A few hundred entities train in a second, and cannot tell how good a model is."""

PATIENT = {"SERVICE_DEADLINE_MS": "2500"}
"""The first request of a process takes longest, and other tests run beside it."""


@dataclass(frozen=True)
class Case:
    """One of the two.

    folder: as in `USE_CASE`.
    model: its name in MLflow and BentoML.
    project: Feast's.
    join_key: of its requests.
    entity: one that it knows.
    """

    folder: str
    model: str
    project: str
    join_key: str
    entity: str | int

    @property
    def own(self) -> str:
        """Its folder in the copy."""
        return "var" if self.folder == "training/churn" else f"var/{self.folder}"

    def __str__(self) -> str:
        return self.model


CHURN = Case("training/churn", "customer_churn", "churn", "customer_id", "000000012")
HOUSEHOLDS = Case("use_cases/household_spend", "household_spend", "household", "household_id", 7)
CASES = (CHURN, HOUSEHOLDS)


def beside(case: Case) -> Case:
    """The other one."""
    return HOUSEHOLDS if case == CHURN else CHURN


@dataclass(frozen=True)
class Pair:
    """A copy of the project in which both live, each where it lies by default."""

    root: Path
    environment: dict[str, str]

    @classmethod
    def copied(cls, folder: Path, redis_url: str) -> "Pair":
        root = folder / "project"
        copy_source(root)
        shutil.copytree(SOURCE / "use_cases", root / "use_cases", ignore=shutil.ignore_patterns("__pycache__"))
        return cls(root, {**bare_environment(folder), "REDIS_URL": redis_url, **NO_GATE})

    def starts(self, case: Case, *arguments: str, settings: Mapping[str, str] = NONE) -> "subprocess.Popen[str]":
        """A command, that is not waited for."""
        return subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=self.root,
            env={**self.environment, "USE_CASE": case.folder, **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, case: Case, *arguments: str, codes: Sequence[int] = (0,), settings: Mapping[str, str] = NONE) -> str:
        """A command; what it printed."""
        process = self.starts(case, *arguments, settings=settings)
        said, _ = process.communicate(timeout=300)
        assert process.returncode in codes, f"{case}: {arguments}: {process.returncode}: {said}"
        return said

    def run_both(self, *arguments: str, codes: Sequence[int] = (0,)) -> None:
        """A command of both, at once."""
        running = [(case, self.starts(case, *arguments)) for case in CASES]
        for case, process in running:
            said, _ = process.communicate(timeout=300)
            assert process.returncode in codes, f"{case}: {arguments}: {process.returncode}: {said}"

    @contextmanager
    def serving(self, case: Case, **environment: str) -> Iterator[Service]:
        """Its service, ready, as `make serve` starts it."""
        port = free_port()
        log = self.root / f"{case}-{port}.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                [f"{self.environment['VENV']}/bin/bentoml", "serve", "--port", str(port)],
                cwd=self.root,
                env={**self.environment, "USE_CASE": case.folder, **PATIENT, **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        service = Service(port, process, log)
        try:
            wait_until(lambda: service.health() == (200, 200), START_SECONDS)
            yield service
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=30)

    def all_of(self, case: Case) -> dict[str, Any]:
        """Everything that the shared stores and its own folder hold of a use case, in a form that can be compared."""
        return {
            "online rows, marks and locks": self._online(case),
            "Feast": self._defined(case),
            "MLflow": self._registered(case),
            "BentoML": self._stored(case),
            "files": self._files(case),
        }

    def online_rows(self, case: Case) -> dict[bytes, dict[bytes, bytes]]:
        """Key → hash of every entity that is online."""
        with redis.Redis.from_url(self.environment["REDIS_URL"]) as client:
            return {key: client.hgetall(key) for key in client.scan_iter(b"*" + case.project.encode())}

    def _online(self, case: Case) -> dict[bytes, object]:
        with redis.Redis.from_url(self.environment["REDIS_URL"]) as client:
            return {**self.online_rows(case), **{key: client.dump(key) for key in self._own_keys(client, case)}}

    def _own_keys(self, client: "redis.Redis", case: Case) -> list[bytes]:
        return sorted(client.scan_iter(case.project.encode() + b":*"))

    def _defined(self, case: Case) -> list[bytes]:
        """What Feast's registry has of its project."""
        registry = Registry.FromString((self.root / "var" / "feast" / "registry.db").read_bytes())
        kinds: list[Sequence[Any]] = [
            *(registry.entities, registry.feature_views, registry.on_demand_feature_views, registry.feature_services),
            *(registry.data_sources, registry.project_metadata),
        ]
        own = [each for kind in kinds for each in kind if _project_of(each) == case.project]
        return sorted(each.SerializeToString(deterministic=True) for each in own)

    def _registered(self, case: Case) -> dict[str, object]:
        client = self.mlflow
        found: dict[str, object] = {}
        for model in client.search_registered_models(max_results=100):
            if model.name in (case.model, f"{case.model}.ledger"):
                versions = client.search_model_versions(f"name = '{model.name}'")
                found[model.name] = (
                    dict(model.aliases),
                    dict(model.tags),
                    model.description,
                    sorted(
                        (v.version, v.run_id, v.source, v.last_updated_timestamp, *sorted(v.tags.items()))
                        for v in versions
                    ),
                )
        experiment = client.get_experiment_by_name(case.model)
        runs = client.search_runs([experiment.experiment_id]) if experiment else []
        found["runs"] = sorted((run.info.run_id, run.info.end_time, sorted(run.data.metrics.items())) for run in runs)
        return found

    @property
    def mlflow(self) -> MlflowClient:
        uri = f"sqlite:///{self.root}/var/mlflow/mlflow.db"
        return MlflowClient(uri, uri)

    def aliases(self, case: Case) -> dict[str, str]:
        return {name: str(version) for name, version in self.mlflow.get_registered_model(case.model).aliases.items()}

    def _stored(self, case: Case) -> dict[str, str]:
        return _digests(Path(self.environment["BENTOML_HOME"]) / "models" / case.model)

    def _files(self, case: Case) -> dict[str, str]:
        """Its pin, challenger, features, data and records. The inference log grows while it is served."""
        skipped = ("feast", "mlflow", "use_cases", "redis", "inference_log")
        return {
            name: digest for name, digest in _digests(self.root / case.own).items() if name.split("/")[0] not in skipped
        }


def without(case: Case, root: Path, entity: str | int) -> None:
    """Remove an entity from the events."""
    files = {CHURN: ["data/orders.parquet"], HOUSEHOLDS: ["data/purchases.parquet", "data/households.parquet"]}[case]
    for file in (root / case.own / name for name in files):
        table = pq.read_table(file)
        pq.write_table(table.filter(pc.not_equal(table[case.join_key], entity)), file)


def _project_of(defined: Any) -> str:
    return str(getattr(defined, "spec", defined).project)


def _digests(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
