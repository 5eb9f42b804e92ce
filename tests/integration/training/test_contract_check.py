"""Definitions of features that break a live model are refused before they are applied."""

import json
import sys
from pathlib import Path

import pytest

from tests.integration.training.conftest import ALIKE, NAME, Registry, trained
from tests.loop import bare_environment, copy_source, make
from training.__main__ import main
from training.tracking.registry import CHALLENGER


@pytest.fixture
def live(models: Registry, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A champion and a challenger, where the commands find them."""
    trained(models)
    models.opened.client.set_registered_model_alias(NAME, CHALLENGER, ALIKE)
    monkeypatch.setenv("TRAINING_MODEL_NAME", NAME)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", models.opened.artefacts.mlflow_tracking_uri)
    monkeypatch.setenv("FEAST_REGISTRY", models.opened.artefacts.feast_registry)
    return models


def test_definitions_that_keep_every_promise_pass(live: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-contracts"]) == 0
    assert f"kept: {NAME} version 1 (champion), {NAME} version 2 (challenger)\n" in capsys.readouterr().out


def test_make_names_every_difference_of_every_live_model(live: Registry, tmp_path: Path) -> None:
    root = tmp_path / "changed"
    copy_source(root)
    views, on_demand = (root / "feature_repo" / f"{name}.py" for name in ("feature_views", "on_demand_feature_views"))
    views.write_text(views.read_text().replace("days=2", "days=3").replace("item_count_{days}d", "items_{days}d"))
    on_demand.write_text(on_demand.read_text().replace("if gap else 1.0", "if gap else 0.0"))
    environment = bare_environment(tmp_path) | {
        "TRAINING_MODEL_NAME": NAME,
        "MLFLOW_TRACKING_URI": live.opened.artefacts.mlflow_tracking_uri,
        "VENV": sys.prefix,
    }

    checked = make(root, environment, "check-contracts")

    assert checked.returncode != 0
    assert "error: live models were promised other features:\n" in checked.stderr
    for owner in (f"{NAME} version 1 (champion)", f"{NAME} version 2 (challenger)"):
        for difference in (
            "feature 'customer_orders_windowed__item_count_7d' is not in the registry",
            "feature view 'customer_orders_windowed': ttl_seconds is 259200.0, the contract says 172800.0",
            "on-demand view 'customer_recency': source sha256 is ",
        ):
            assert f"  {owner}: {difference}" in checked.stderr
    assert not (root / "var").exists()  # what was asked about was applied nowhere


def test_what_a_service_answers_of_its_model_is_a_contract_too(
    live: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contract = json.loads(live.artifact("1", "contract.json").read_text())
    answered, other, none = (tmp_path / f"{name}.json" for name in ("answered", "other", "none"))
    answered.write_text(json.dumps({"tag": "test_churn:v1", "contract": contract}))
    contract["feature_schema"]["feature_service"] = "churn_v0"
    other.write_text(json.dumps(contract))
    none.write_text("{}")

    assert main(["check-contracts", str(answered)]) == 0
    assert main(["check-contracts", str(answered), str(other)]) == 1
    assert (
        f"  test_churn version 1 ({other}): feature service 'churn_v0' is not in the registry\n"
        in capsys.readouterr().err
    )
    for file in (none, tmp_path / "absent.json"):
        assert main(["check-contracts", str(file)]) == 1
        assert f"error: {file}: " in capsys.readouterr().err


def test_without_a_champion_nothing_is_live_and_that_is_said(
    models: Registry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRAINING_MODEL_NAME", NAME)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", models.opened.artefacts.mlflow_tracking_uri)

    assert main(["check-contracts"]) == 1
    assert "has no alias 'champion'" in capsys.readouterr().err
