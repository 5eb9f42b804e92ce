"""Models are moved through an MLflow server as through a file; it holds requests to rules that a file does not."""

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.integration.training.conftest import ALIKE, GOOD, NAME, SETTINGS, Registry
from tests.loop import free_port
from tests.servers.redis_servers import until
from training.promotion.moves import promote, roll_back
from training.promotion.registry_moves import OpenedRegistry
from training.tracking import registry

START_SECONDS = 120.0


@pytest.fixture
def served(models: Registry, tmp_path: Path) -> Iterator[OpenedRegistry]:
    """The same registry, reached over HTTP."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    log = tmp_path / "mlflow.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [
                *(str(Path(sys.executable).with_name("mlflow")), "server", "--host", "127.0.0.1", "--port", str(port)),
                *("--workers", "1", "--backend-store-uri", models.opened.artefacts.mlflow_tracking_uri),
                *("--artifacts-destination", str(tmp_path / "artifacts")),
            ],
            cwd=tmp_path,
            env={**os.environ, "MLFLOW_SERVER_ALLOWED_HOSTS": f"127.0.0.1:{port}"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        with suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=5) as answer:  # noqa: S310  # loopback
            return bool(answer.status == 200)
        return False

    try:
        until(answers, START_SECONDS)
        yield OpenedRegistry.of(models.opened.artefacts.model_copy(update={"mlflow_tracking_uri": url}), SETTINGS)
    finally:
        with suppress(psutil.Error):
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
        process.kill()
        process.wait(timeout=10)


def test_a_champion_is_made_replaced_and_brought_back_through_a_server(served: OpenedRegistry) -> None:
    moves = [promote(served, GOOD), promote(served, ALIKE), roll_back(served, None, "a mistake")]

    assert [GOOD, ALIKE, GOOD] == [moved.entry.to_version for moved in moves]
    assert GOOD == registry.aliases_of(served.client, NAME)["champion"]
    chain = served.ledger.read()
    assert [1, 2, 3] == [recorded.number for recorded in chain.recorded if recorded.behind is None]
