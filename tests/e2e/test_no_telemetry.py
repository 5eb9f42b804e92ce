"""No process of ours tells its libraries' makers anything, whoever starts it and whatever the environment says."""

import os
from pathlib import Path

import pytest

from tests.loop import Loop
from tests.servers.egress import Egress, why_never_alone
from tests.servers.serving import serving

_never = why_never_alone()
needs_no_network = pytest.mark.skipif(_never is not None and os.environ.get("CI") != "true", reason=_never or "")


@pytest.fixture
def egress(tmp_path: Path) -> Egress:
    (tmp_path / "egress").mkdir()
    return Egress(tmp_path / "egress")


@needs_no_network
def test_training_and_import_contact_nobody_and_need_no_network(loop: Loop, egress: Egress, tmp_path: Path) -> None:
    var = loop.root / "var"
    environment = {
        **loop.environment,
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow/mlflow.db",
        "MODEL_TAG_PATH": str(tmp_path / "model_tag"),
        "BENTOML_HOME": str(tmp_path / "bentoml"),
        "HOME": str(tmp_path),
        "ORDERS_PATH": str(var / "data" / "orders.parquet"),
        "TRAINING_BOOTSTRAP_RESAMPLES": "20",
    }
    for command in ("retrain", "import-model --model challenger"):
        done = egress.alone(loop.root, environment, "python", "-m", "training", *command.split())

        assert 0 == done.returncode, done.stderr
        assert [] == egress.recorded


@needs_no_network
def test_building_a_bento_by_hand_contacts_nobody(loop: Loop, egress: Egress) -> None:
    done = egress.alone(loop.root, loop.environment, "bentoml", "build")

    assert 0 == done.returncode, done.stderr
    assert [] == egress.recorded


def test_bentoml_serve_by_hand_contacts_nobody(loop: Loop, egress: Egress, tmp_path: Path) -> None:
    served = egress.environment(loop.environment)
    quiet = Loop(loop.root, served, loop.url, loop.output)

    with serving(quiet, tmp_path / "served", BENTOML_DO_NOT_TRACK="False") as service:
        assert 200 == service.call("POST", "/predict", {"customer_id": "00042"}).status
        service.stop()

    assert [] == egress.recorded


@needs_no_network
def test_what_the_libraries_do_by_themselves_is_recorded(loop: Loop, egress: Egress) -> None:
    done = egress.alone(loop.root, loop.environment, "bentoml", "models", "list")

    assert 0 == done.returncode, done.stderr
    assert any("t.bentoml.com" in line for line in egress.recorded)
