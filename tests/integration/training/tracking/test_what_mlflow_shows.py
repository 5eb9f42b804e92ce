"""A user of MLflow finds runs with names, candidates, data sets, figures and a model card."""

import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import Run, ViewType
from mlflow.entities.model_registry import ModelVersion

from contract import ModelContract
from tests.integration.training.conftest import NAME, Registry, copied
from tests.integration.training.test_train import build, with_made_up_rows
from training.bento_import import prepare
from training.promotion.moves import promote_trained
from training.tracking import run_log
from training.tracking.registry import BENTOML_TAG, download
from training.train import train_version


@pytest.fixture(scope="module")
def trained(
    registered: Path, contract: ModelContract, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Registry, ModelVersion]]:
    with (
        copied(registered, tmp_path_factory.mktemp("shown")) as models,
        pytest.MonkeyPatch.context() as patched,
    ):
        with_made_up_rows(models, contract, patched)
        build(models, "before")
        version = train_version(models.opened.client, models.opened.artefacts, models.opened.settings)
        patched.undo()
        yield models, version


def run_of(models: Registry, version: ModelVersion) -> Run:
    return models.opened.client.get_run(str(version.run_id))


def artifacts(models: Registry, version: ModelVersion, folder: str) -> set[str]:
    return {file.path for file in models.opened.client.list_artifacts(str(version.run_id), folder)}


def test_candidates_are_children_of_a_run_that_has_a_name(trained: tuple[Registry, ModelVersion]) -> None:
    models, version = trained
    run = run_of(models, version)

    children = models.opened.client.search_runs(
        [run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{run.info.run_id}'", ViewType.ACTIVE_ONLY
    )

    assert str(run.info.run_name).startswith("train 20")
    assert {"logistic", "histogram_boosting"} <= {child.info.run_name for child in children}
    for child in children:
        assert "FINISHED" == child.info.status
        (judged,) = [name for name in child.data.metrics if name.startswith("validation_")]
        assert run.data.metrics[f"{judged}_{child.info.run_name}"] == child.data.metrics[judged]
    (logistic,) = [child for child in children if child.info.run_name == "logistic"]
    assert any(name.endswith("__C") for name in logistic.data.params)


def test_data_sets_have_a_digest_and_name_the_feature_service(trained: tuple[Registry, ModelVersion]) -> None:
    models, version = trained

    logged = run_of(models, version).inputs
    assert logged is not None
    inputs = {given.tags[0].value: given.dataset for given in logged.dataset_inputs}

    assert {"training", "validation", "test"} == set(inputs)
    assert 3 == len({given.digest for given in inputs.values()})
    assert all('"feast.feature_service": "churn_v1"' in given.source for given in inputs.values())
    assert all('"num_rows": 600' in str(given.profile) for given in inputs.values())


def test_figures_are_those_of_the_task(trained: tuple[Registry, ModelVersion]) -> None:
    models, version = trained

    drawn = artifacts(models, version, "plots")

    kinds = ("calibration", "roc", "precision_recall", "lift", "confusion")
    assert {f"plots/all_{kind}.png" for kind in kinds} <= drawn
    assert "plots/shap.png" in drawn


def test_the_model_card_says_what_the_version_is_and_how_good_it_is(
    trained: tuple[Registry, ModelVersion], tmp_path: Path
) -> None:
    _, version = trained
    contract = download(version, tmp_path).contract

    card = mlflow.artifacts.load_text(f"runs:/{version.run_id}/model_card.md")

    for heading in ("Intended use", "Data", "Figures", "Limits", "Identity"):
        assert f"## {heading}" in card
    assert contract.sha256 in card
    assert f"feature service `{contract.feature_service}`" in card
    value = contract.metrics["active_roc_auc"]
    assert f"| {value:.4g} [" in card
    assert "600 training, 600 validation, 600 test" in card
    for name, at in contract.training_window.items():
        assert f"- {name}: {at} (" in card  # and its meaning
    assert "(the earliest time of rows that it was fitted on)" in card
    assert contract.sha256 in str(version.description)
    assert f"**roc_auc**, population `active`: {value:.4g} [" in str(version.description)


def test_a_prepared_version_names_its_tag_in_the_model_store_and_a_ledger_says_that_it_is_no_model(
    trained: tuple[Registry, ModelVersion],
) -> None:
    models, version = trained
    client = models.opened.client

    promote_trained(models.opened, version)

    found = client.get_model_version(NAME, version.version)
    assert prepare(client, found).tag == found.tags[BENTOML_TAG]
    assert str(client.get_registered_model(f"{NAME}.ledger").description).startswith(f"No model: the ledger of {NAME}")


def test_a_candidate_that_cannot_be_fitted_leaves_a_failed_run(
    models: Registry, contract: ModelContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training import fit
    from training.errors import TrainingError

    def refuse(*_: object) -> None:
        raise TrainingError("no")

    with_made_up_rows(models, contract, monkeypatch)
    build(models, "before")
    monkeypatch.setattr(fit, "fit_candidate", refuse)

    with pytest.raises(TrainingError, match="no"):
        train_version(models.opened.client, models.opened.artefacts, models.opened.settings)

    experiment = models.opened.client.get_experiment_by_name(NAME)
    assert experiment is not None
    newest = models.opened.client.search_runs([experiment.experiment_id], order_by=["attributes.start_time DESC"])
    assert ["FAILED", "FAILED"] == [run.info.status for run in newest[:2]]


def test_a_run_logs_system_metrics(models: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
    client = models.opened.client
    deadline = time.monotonic() + 30

    with run_log.new_run(client, NAME):
        active = mlflow.active_run()
        assert active is not None
        run_id = active.info.run_id
        while "system/cpu_utilization_percentage" not in client.get_run(run_id).data.metrics:
            assert time.monotonic() < deadline, "no system metrics"
            time.sleep(0.1)

    assert "FINISHED" == client.get_run(run_id).info.status
