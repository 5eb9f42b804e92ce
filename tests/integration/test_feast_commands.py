"""Feast's own commands find the project's stores with nothing but what `feast-env` prints."""

import os
import subprocess
import sys
from pathlib import Path

from artefacts.addresses import Artefacts
from jobs.feature_store import apply
from tests.loop import SOURCE


def test_feast_lists_the_views_of_the_registry_that_feast_env_names(tmp_path: Path) -> None:
    environment = {**os.environ, "FEAST_REGISTRY": str(tmp_path / "registry.db"), "REDIS_URL": "redis://:p w@h:1/2"}
    apply(Artefacts.of(environment, root=tmp_path))

    exports = subprocess.run(
        [sys.executable, "-m", "jobs", "feast-env"],
        cwd=SOURCE,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    listed = subprocess.run(
        ["sh", "-c", f"{exports}\nexec {Path(sys.executable).with_name('feast')} feature-views list"],
        cwd=Artefacts.of({}).feature_repo,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout

    assert "customer_lifetime" in listed
    assert "customer_orders_windowed" in listed
