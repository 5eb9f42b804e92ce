"""Opening Feast for the jobs, and registering the definitions."""

import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from contract.artefacts import PROJECT_ROOT, Artefacts
from contract.redaction import redacted
from jobs.errors import JobError

if TYPE_CHECKING:
    from feast import FeatureStore

FEATURE_REPO = PROJECT_ROOT / "feature_repo"
_REDIS_OPTIONS = {"socket_connect_timeout": "2", "socket_timeout": "20"}


def apply(artefacts: Artefacts) -> None:
    """Register the definitions of `feature_repo/` with Feast's own command.

    Raises:
        JobError: `feast apply` failed; its last lines are quoted.
    """
    if "://" not in artefacts.feast_registry:  # else it is the address of a database
        Path(artefacts.feast_registry).parent.mkdir(parents=True, exist_ok=True)
    feast = Path(sys.executable).with_name("feast")
    done = subprocess.run(
        [str(feast), "apply"],
        cwd=FEATURE_REPO,
        env={**os.environ, **artefacts.feast_environment()},
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-5:] or ["it said nothing"]
        raise JobError("feast apply failed:\n  " + "\n  ".join(map(redacted, said)))


def open_feature_store(artefacts: Artefacts) -> "FeatureStore":
    """Feast's store over the project's artefacts; imports feast, which takes seconds."""
    os.environ.update(artefacts.feast_environment(_REDIS_OPTIONS))
    from feast import FeatureStore

    # It warns that serve_features_while_materializing matters only with a SQL registry; the YAML serves both.
    logging.getLogger("feast.repo_config").setLevel(logging.ERROR)
    # ibis 12 calls a name that duckdb 1.5 deprecates; feast switches the warning on.
    warnings.filterwarnings("ignore", "fetch_arrow_table", DeprecationWarning)
    warnings.filterwarnings("ignore", "GitWildMatchPattern", DeprecationWarning)  # likewise bentoml 1.4.39 of pathspec
    return FeatureStore(repo_path=str(FEATURE_REPO))
