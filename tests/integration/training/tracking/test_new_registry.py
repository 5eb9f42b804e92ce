"""MLflow's SQLite database is made by whoever comes first."""

import subprocess
import sys
from pathlib import Path

from mlflow.tracking import MlflowClient

OPENS = "import sys; from training.tracking.registry import open_registry; open_registry(*sys.argv[1:])"


def test_use_cases_that_open_a_new_registry_at_once_both_find_it(tmp_path: Path) -> None:
    """MLflow makes its tables one by one: whoever began meanwhile found some of them, and failed."""
    uri, names = f"sqlite:///{tmp_path / 'mlflow.db'}", ("churn", "household_spend", "next_department")
    opening = [
        subprocess.Popen([sys.executable, "-c", OPENS, uri, name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for name in names
    ]
    said = [process.communicate(timeout=120)[0].decode() for process in opening]

    assert [0, 0, 0] == [process.returncode for process in opening], "".join(said)
    assert {"Default", *names} == {found.name for found in MlflowClient(uri).search_experiments()}
