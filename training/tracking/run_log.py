"""Logs a training run to MLflow: metrics, figures, the test set, the model, and the version's tags."""

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version as installed_version
from pathlib import Path

import mlflow
import mlflow.onnx
import mlflow.sklearn
import numpy as np
import onnx
import onnxruntime
import pandas as pd
from mlflow.entities.model_registry import ModelVersion
from mlflow.models import infer_signature
from mlflow.models.model import ModelInfo
from mlflow.tracking import MlflowClient
from sklearn.pipeline import Pipeline

from artefacts.addresses import PROJECT_ROOT
from contract import ModelContract, Task
from contract.tasks import TaskKind
from scoring.evaluation import Estimate
from scoring.models.model_frame import CodedColumns, model_frame
from scoring.models.task_models import task_model
from scoring.models.trusted_types import TRUSTED_TYPES
from training.compilation.preflight import check_registrable
from training.tracking import registry
from training.tracking.actor import actor
from training.tracking.model_form import MLMODEL_FILE
from training.tracking.plots import ScoredPopulation, figures
from training.tracking.stopped_runs import STOPPED, end_runs_of_gone_processes, own_process, stopped_by_signals


@contextmanager
def new_run(client: MlflowClient, experiment: str, what: str = "train") -> Iterator[None]:
    """Start a new run that is active within the block, whatever the environment says. It is named by `what` and when.

    CPU, memory, disk and network of the process are logged beside it. A run that somebody stops is killed, one that
    fails is failed. Earlier runs of the experiment whose process is gone are ended.
    """
    found = client.get_experiment_by_name(experiment) or client.get_experiment(client.create_experiment(experiment))
    name = f"{what} {datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
    end_runs_of_gone_processes(client, found.experiment_id)
    with stopped_by_signals():
        made = client.create_run(found.experiment_id, tags=_source_tags(), run_name=name)
        with mlflow.start_run(run_id=made.info.run_id, log_system_metrics=True):
            try:
                yield
            except STOPPED:
                mlflow.end_run("KILLED")  # MLflow would say FAILED
                raise


@dataclass(frozen=True)
class CandidateRun:
    """The run of one candidate, a child of the active run."""

    client: MlflowClient
    run_id: str

    def log(self, pipeline: object, metric: str, value: float) -> None:
        """Log what the candidate is made of, and how it was judged."""
        parameters = {} if not hasattr(pipeline, "get_params") else pipeline.get_params()
        for name, setting in sorted(parameters.items()):
            if setting is None or isinstance(setting, (bool, int, float, str)):
                self.client.log_param(self.run_id, name, setting)
        self.client.log_metric(self.run_id, metric, value)


@contextmanager
def candidate_run(client: MlflowClient, name: str) -> Iterator[CandidateRun]:
    """A child of the active run for the candidate that is fitted within the block; it ends as the block does."""
    parent = mlflow.active_run()
    if parent is None:
        raise ValueError("a candidate belongs to a run of training")
    tags = {**_source_tags(), "mlflow.parentRunId": parent.info.run_id}
    made = client.create_run(parent.info.experiment_id, tags=tags, run_name=name)
    try:
        yield CandidateRun(client, made.info.run_id)
    except BaseException as error:
        client.set_terminated(made.info.run_id, "KILLED" if isinstance(error, STOPPED) else "FAILED")
        raise
    client.set_terminated(made.info.run_id)


def _source_tags() -> dict[str, str]:
    return {"mlflow.user": actor(), "mlflow.source.name": "training", **own_process()}


def log_metrics(estimates: Mapping[str, Estimate]) -> None:
    """Log every estimate with both ends of its interval."""
    for key, estimate in estimates.items():
        mlflow.log_metrics({key: estimate.value, f"{key}_low": estimate.low, f"{key}_high": estimate.high})


def log_figures(task: TaskKind, population: ScoredPopulation) -> None:
    """Log the figures of the task for one population."""
    for path, figure in figures(task, population).items():
        mlflow.log_figure(figure, path)


def log_test_set(test_set: pd.DataFrame) -> str:
    """Log the resolved test rows, on which the import compares the compiled model with this one.

    Args:
        test_set: from `training.tracking.test_rows.test_rows`.

    Returns:
        sha256 of the file.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / Path(registry.TEST_SET_PATH).name
        test_set.to_parquet(file)
        mlflow.log_artifact(str(file), str(Path(registry.TEST_SET_PATH).parent))
        return hashlib.sha256(file.read_bytes()).hexdigest()


def log_model(
    pipeline: Pipeline, example: pd.DataFrame, name: str, task: Task, foreign: Collection[str] = ()
) -> ModelInfo:
    """Log the model with signature and example and register it under `name`.

    Args:
        foreign: further types that the user trusts.
    """
    own = task_model(task)
    info: ModelInfo = mlflow.sklearn.log_model(
        pipeline,
        name="model",
        serialization_format="skops",
        skops_trusted_types=sorted(TRUSTED_TYPES | set(foreign)),
        pyfunc_predict_fn=own.method,
        signature=infer_signature(example, own.answered_by(pipeline, example)),
        input_example=example,
        registered_model_name=name,
        # Given, because MLflow would load the model in another process to infer them.
        pip_requirements=[f"{lib}=={installed_version(lib)}" for lib in ("scikit-learn", "skops", "numpy", "pandas")],
    )
    return info


def log_onnx(document: bytes, example: pd.DataFrame, name: str) -> ModelInfo:
    """Log a model that came as ONNX with signature and example, and register it under `name`.

    The signature is that of the file: one tensor, and its outputs by name. MLflow's server answers no other.
    """
    rows = example.to_numpy(dtype=np.float32)
    session = onnxruntime.InferenceSession(document, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    answered = dict(zip(names, session.run(names, {session.get_inputs()[0].name: rows}), strict=True))
    info: ModelInfo = mlflow.onnx.log_model(
        onnx.load_model_from_string(document),
        name="model",
        signature=infer_signature(rows, answered),
        input_example=rows,
        registered_model_name=name,
        onnx_execution_providers=["CPUExecutionProvider"],
        save_as_external_data=False,
        pip_requirements=[f"{lib}=={installed_version(lib)}" for lib in ("onnx", "onnxruntime", "numpy", "pandas")],
    )
    return info


@dataclass(frozen=True)
class Registered:
    """A version as a training run registered it."""

    version: ModelVersion
    contract: ModelContract
    has_signature: bool


def register(
    client: MlflowClient,
    pipeline: Pipeline,
    test_set: pd.DataFrame,
    drafted: ModelContract,
    features_sha256: str,
) -> Registered:
    """Register the active run's model with its test rows, its contract and its digests.

    Args:
        test_set: as `log_test_set` takes it.
        drafted: the contract without `model_version` and `run_id`, which are known only now.
        features_sha256: of what the offline store was built from, see `training.data.feature_service.built_from`.

    Raises:
        TrainingError: the model holds a type that is not trusted, or is not of the contract's task or classes.
    """
    rows, inputs = test_set[drafted.feature_names].head(5), drafted.inputs
    what = f"model {drafted.model_name!r}"
    foreign = check_registrable(pipeline, rows, drafted.task, what, CodedColumns.of(inputs))
    example = model_frame(inputs, rows.to_numpy(dtype=np.float32))
    drafted = drafted.model_copy(update={"trusted_types": foreign})
    model = log_model(pipeline, example, drafted.model_name, drafted.task, foreign)
    return _registered(client, model, test_set, drafted, features_sha256)


def register_onnx(
    client: MlflowClient, document: bytes, test_set: pd.DataFrame, drafted: ModelContract, features_sha256: str
) -> Registered:
    """As `register`, of a model that came as ONNX; the scores in the test rows are those that were recorded of it.

    Args:
        document: checked by `training.compilation.onnx_file`.
    """
    example = test_set[drafted.feature_names].head(5)
    model = log_onnx(document, example, drafted.model_name)
    return _registered(client, model, test_set, drafted, features_sha256)


def _registered(
    client: MlflowClient, model: ModelInfo, test_set: pd.DataFrame, drafted: ModelContract, features_sha256: str
) -> Registered:
    test_set_sha256 = log_test_set(test_set)
    name = drafted.model_name
    version = client.get_model_version(name, str(model.registered_model_version))
    run_id = str(version.run_id)
    contract = drafted.model_copy(update={"model_version": str(version.version), "run_id": run_id})
    client.log_text(run_id, contract.to_json(), registry.CONTRACT_PATH)
    with tempfile.TemporaryDirectory() as folder:
        files = Path(mlflow.artifacts.download_artifacts(version.source, dst_path=folder))
        model_sha256 = registry.digest_of(files)
        mlmodel_sha256 = hashlib.sha256((files / MLMODEL_FILE).read_bytes()).hexdigest()
    # Digests by which the import can tell whether the version was altered since.
    tags = {
        "contract_sha256": contract.sha256,
        "model_sha256": model_sha256,
        registry.MLMODEL_SHA256: mlmodel_sha256,
        "test_set_sha256": test_set_sha256,
        registry.FEATURE_SERVICE: contract.feature_service,
        "feature_service_sha256": contract.feature_schema.sha256,
        "data_fingerprint": contract.data_fingerprint,
        registry.FEATURES_SHA256: features_sha256,
        "git_commit": _git_commit(),
        **({registry.LABEL_DAYS: str(contract.label.days)} if contract.label else {}),
    }
    client.set_tag(run_id, registry.FEATURE_SERVICE, contract.feature_service)
    for key, value in tags.items():
        client.set_model_version_tag(name, version.version, key, value)
    return Registered(client.get_model_version(name, version.version), contract, model.signature is not None)


def _git_commit() -> str:
    if shutil.which("git") is None:  # as in the jobs' image
        return "unknown"
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(
        command, cwd=PROJECT_ROOT, capture_output=True, encoding="utf-8", errors="replace", check=False
    )
    return done.stdout.strip() or "unknown"
