"""No variable of the environment has training write into what is registered, or somewhere else."""

from pathlib import Path

import mlflow
import pandas as pd
import pytest

from tests.integration.training.conftest import GOOD, NAME, SETTINGS, Registry, customers, sha256_of, trained
from training.churn.candidates import logistic
from training.promotion.registry_moves import OpenedRegistry
from training.tracking import registry, run_log


@pytest.fixture
def hostile(models: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Registry:
    """A registry whose first version everything in the environment points at."""
    version = models.opened.client.get_model_version(NAME, GOOD)
    elsewhere = models.opened.client.create_experiment("elsewhere")
    for name, value in {
        "MLFLOW_RUN_ID": str(version.run_id),
        "MLFLOW_EXPERIMENT_ID": elsewhere,
        "MLFLOW_EXPERIMENT_NAME": "elsewhere",
        "MLFLOW_ACTIVE_MODEL_ID": str(version.source).removeprefix("models:/"),
        "_MLFLOW_ACTIVE_MODEL_ID": str(version.source).removeprefix("models:/"),
        "MLFLOW_REGISTRY_URI": f"sqlite:///{tmp_path}/other.db",
        "MLFLOW_ENABLE_ASYNC_LOGGING": "true",
        "MLFLOW_RUN_CONTEXT": '{"mlflow.parentRunId": "somebody"}',
    }.items():
        monkeypatch.setenv(name, value)
    return models


def register_another(models: Registry) -> run_log.Registered:
    opened = OpenedRegistry.of(models.opened.artefacts, SETTINGS)
    version = opened.client.get_model_version(NAME, GOOD)
    contract = registry.download(version, models.root / "fetched").contract
    matrix, churned = customers(contract.feature_names, seed=7)
    pipeline = logistic(7).fit(matrix, churned)
    test_set = matrix.assign(event_timestamp=pd.Timestamp("2026-06-01", tz="UTC"), active=True, churned=churned)
    with run_log.new_run(opened.client, NAME):
        mlflow.log_metric("of_the_new_run", 1)
        return run_log.register(opened.client, pipeline, test_set.assign(probability=0.5), contract, "0" * 64)


def test_training_makes_a_run_of_its_own_whatever_the_environment_names(
    hostile: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    client = hostile.opened.client
    first = client.get_model_version(NAME, GOOD)
    before = client.get_run(str(first.run_id)).to_dictionary()
    files = {file: sha256_of(file) for file in hostile.artifact(GOOD, "contract.json").parents[1].rglob("*.*")}

    made = register_another(hostile)

    run = client.get_run(str(made.version.run_id))
    assert first.run_id != made.version.run_id == made.contract.run_id
    assert NAME == client.get_experiment(run.info.experiment_id).name
    assert "mlflow.parentRunId" not in run.data.tags
    assert before == client.get_run(str(first.run_id)).to_dictionary()
    assert files == {file: sha256_of(file) for file in files}
    assert [] == (client.get_logged_model(str(first.source).removeprefix("models:/")).metrics or [])
    assert not (hostile.root / "other.db").exists()
    (said,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert "MLFLOW_RUN_ID" in said
    assert str(first.run_id) not in said


def test_the_first_version_can_still_be_imported_afterwards(hostile: Registry) -> None:
    register_another(hostile)

    trained(hostile)

    assert hostile.pinned.startswith(f"{NAME}:v{GOOD}-")
