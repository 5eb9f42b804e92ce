"""Opens Feast's store for the jobs, and applies the feature definitions."""

import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from artefacts.addresses import PROJECT_ROOT, Artefacts
from artefacts.offline_place import another_store, refusal
from artefacts.process.atomic_files import replaced_file, write_atomically
from artefacts.process.file_locks import locked
from artefacts.process.redaction import redacted
from jobs.errors import JobError

if TYPE_CHECKING:
    from feast import FeatureStore, FeatureView

_LOG = logging.getLogger(__name__)

_FEAST_FILE = "feature_store.yaml"
_FEAST_FILE_VARIABLE = "FEAST_FS_YAML_FILE_PATH"
BASELINES = ("data_quality_monitoring",)
"""Feast computes baselines after `feast apply`, and writes them into the repository: for a person, not for jobs."""
FEAST = (sys.executable, "-c", "from feast.cli.cli import cli; cli()")
"""Feast's command. Not its script, whose first line names a Python that may have been moved or copied since."""
REDIS_OPTIONS = {"socket_connect_timeout": "2", "socket_timeout": "20"}


def apply(artefacts: Artefacts) -> None:
    """Apply the definitions of the feature repository with `feast apply`.

    Feast empties a registry file before it writes it, and two of its processes lose each other's changes. So Feast
    changes a copy under a lock, and the copy replaces the file in one step. A database needs neither.

    Raises:
        JobError: another use case has this Feast project; or `feast apply` failed, and its last lines are quoted.
    """
    refuse_shared_project(artefacts.feature_repo, feature_repositories())
    try:
        with _registry_lock(artefacts) as registry:
            if registry is None:
                _apply(artefacts)
            else:
                _apply_to_a_copy(artefacts, registry)
    except OSError as error:
        raise JobError(f"FEAST_REGISTRY: {error.filename}: {error.strerror}") from None


def feature_repositories(root: Path = PROJECT_ROOT) -> list[Path]:
    """Feast repositories of all use cases in a checkout."""
    return [root / "feature_repo", *sorted(root.glob("use_cases/*/feature_repo"))]


def refuse_shared_project(repository: Path, others: Iterable[Path]) -> None:
    """Refuse a Feast project whose name another repository has, or ends with, or that ends with another's.

    Use cases share Feast's registry and Redis. `feast apply` deletes what a project has and the repository has not.
    Keys in Redis end with the project's name, and so do the patterns of its users' permissions.

    Raises:
        JobError: names both repositories.
    """
    project = _project_of(repository)
    for other in others:
        if other.resolve() == repository.resolve() or (theirs := _project_of(other)) is None or project is None:
            continue
        if project.endswith(theirs) or theirs.endswith(project):
            ends = f"the project {theirs!r}, and one name ends with the other"
            raise JobError(
                f"{repository / _FEAST_FILE}: project {project!r}: {other / _FEAST_FILE} has "
                f"{'the same project' if project == theirs else ends}; use cases share the registry and Redis, so give "
                "one of them another name"
            )


def _project_of(repository: Path) -> str | None:
    """None without a readable name: Feast says what is wrong with a file."""
    try:
        found = yaml.safe_load((repository / _FEAST_FILE).read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None
    project = found.get("project") if isinstance(found, dict) else None
    return project if isinstance(project, str) else None


def tell_materialized(
    artefacts: Artefacts, store: "FeatureStore", view: "FeatureView", since: datetime, until: datetime
) -> None:
    """Record the materialized interval in the registry, as `feast materialize` does; keeps what was applied since."""
    from scoring.feast.store import note_materialized

    with _registry_lock(artefacts):
        note_materialized(store, view, since, until)


@contextmanager
def _registry_lock(artefacts: Artefacts) -> Iterator[Path | None]:
    """Lock a registry file and yield its path. Yields None, without a lock, for a database or a bucket."""
    if "://" in artefacts.feast_registry:
        yield None
        return
    registry = Path(artefacts.feature_repo, artefacts.feast_registry)  # like Feast: relative to the feature repository
    registry.parent.mkdir(parents=True, exist_ok=True)
    registry = registry.resolve()  # replace a link's target, not the link
    with locked(registry.with_name(f"{registry.name}.lock")):
        yield registry


def _apply_to_a_copy(artefacts: Artefacts, registry: Path) -> None:
    with replaced_file(registry, durable=True) as copy:
        if registry.exists():
            shutil.copy(registry, copy)
        _apply(artefacts.model_copy(update={"feast_registry": str(copy)}))


def _apply(artefacts: Artefacts) -> None:
    with tempfile.TemporaryDirectory(prefix="feast-") as folder:
        done = subprocess.run(
            [*FEAST, "apply"],
            cwd=artefacts.feature_repo,
            env={**os.environ, **feast_variables(artefacts, Path(folder, _FEAST_FILE), without=BASELINES)},
            capture_output=True,
            encoding="utf-8",
            errors="replace",
        )
    if done.returncode:
        last_lines = (done.stderr or done.stdout).strip().splitlines()[-5:] or ["no output"]
        raise JobError("feast apply failed:\n  " + "\n  ".join(map(redacted, last_lines)))


def feast_variables(artefacts: Artefacts, copy: Path, without: Collection[str] = ()) -> dict[str, str]:
    """Variables with which Feast's own commands use the project's addresses.

    Args:
        copy: where to write the YAML with variables in the place of its local defaults, if it has such.
        without: members of the YAML that the copy has not.

    Raises:
        OSError: the YAML cannot be read, or the copy written.
        ContractError: as `Artefacts.feast_environment`.
    """
    from scoring.feast.addresses_in_yaml import yaml_with_variables

    said = Path(artefacts.feature_repo, os.environ.get(_FEAST_FILE_VARIABLE) or _FEAST_FILE)
    variables = artefacts.feast_environment()
    with suppress(FileNotFoundError):  # Feast says so
        if (text := yaml_with_variables(said.read_text("utf-8"), without)) is not None:
            write_atomically(copy, text)
            variables[_FEAST_FILE_VARIABLE] = str(copy)
    return variables


def open_feature_store(artefacts: Artefacts) -> "FeatureStore":
    """Open Feast's store over the project's artefacts; importing feast takes seconds.

    A registry names the offline store by its absolute path. If that differs from `artefacts.offline_store` (another
    OFFLINE_STORE_DIR, a moved or copied checkout), this checkout's own registry is applied again.

    Raises:
        JobError: the registry is another checkout's and names another offline store.
    """
    store = _open(artefacts)
    elsewhere = another_store(store.registry, store.project, artefacts.offline_store)
    if elsewhere is not None and _is_own(artefacts):
        _LOG.info(f"Feast's registry names {elsewhere}; applying it again for {artefacts.offline_store}")
        apply(artefacts)
        store = _open(artefacts)
        elsewhere = another_store(store.registry, store.project, artefacts.offline_store)
    if elsewhere is not None:
        raise JobError(refusal(redacted(artefacts.feast_registry), elsewhere, artefacts.offline_store))
    return store


def _is_own(artefacts: Artefacts) -> bool:
    """True if the registry is a file in this checkout's `var/`, which no other checkout uses."""
    registry = artefacts.feast_registry
    file = Path(artefacts.feature_repo, registry)
    return "://" not in registry and file.resolve().is_relative_to(PROJECT_ROOT / "var")


def _open(artefacts: Artefacts) -> "FeatureStore":
    from scoring.feast.store import open_store

    return open_store(artefacts.feature_repo, artefacts, REDIS_OPTIONS)
