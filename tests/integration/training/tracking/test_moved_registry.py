"""A checkout that was moved or copied: MLflow's database, which names absolute folders, goes with it."""

import shutil
from pathlib import Path
from urllib.parse import unquote

import mlflow
import pytest
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache

from artefacts.addresses import Artefacts
from tests.integration.training.conftest import GOOD, NAME, SETTINGS
from training.errors import TrainingError
from training.promotion.registry_moves import OpenedRegistry
from training.tracking import run_log
from training.tracking.registry import download, open_registry, version_of


def opened(root: Path) -> OpenedRegistry:
    _artifact_repos_cache.clear()  # of one process, by run id, which every copy has in common
    return OpenedRegistry.of(Artefacts.of({}, root), SETTINGS)


def files_below(root: Path) -> dict[str, int]:
    return {str(file): file.stat().st_mtime_ns for file in (root / "var").rglob("*") if file.is_file()}


def new_artifact(registry: OpenedRegistry) -> Path:
    """Where a run of now puts a file."""
    with run_log.new_run(registry.client, NAME):
        mlflow.log_text("of now", "note.txt")
        uri = mlflow.get_artifact_uri("note.txt")
    return Path(unquote(uri.removeprefix("file://")))


def test_training_in_a_copy_writes_nothing_to_the_original(registered: Path, tmp_path: Path) -> None:
    original, copy = tmp_path / "an original of 100 % [x]", tmp_path / "a copy"
    shutil.copytree(registered, original)
    opened(original)
    shutil.copytree(original, copy)
    before = files_below(original)

    note = new_artifact(opened(copy))

    assert "of now" == note.read_text()
    assert note.is_relative_to(copy)
    assert before == files_below(original)


def test_versions_are_read_where_the_checkout_was_moved_and_the_old_folder_is_not_made_again(
    registered: Path, tmp_path: Path
) -> None:
    original, moved = tmp_path / "original", tmp_path / "moved"
    shutil.copytree(registered, original)
    opened(original)
    original.rename(moved)
    registry = opened(moved)

    found = download(version_of(registry.client, NAME, GOOD), tmp_path)
    registry.client.log_text(str(found.version.run_id), "compiled since", "compiled/of_an_old_run.txt")
    new_artifact(registry)

    assert NAME == found.contract.model_name
    assert not original.exists()
    assert 1 == len([*moved.rglob("of_an_old_run.txt")])


def test_a_checkout_that_is_moved_back_is_followed_back(registered: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    shutil.copytree(registered, first)
    opened(first)
    first.rename(second)
    opened(second)
    second.rename(first)
    registry = opened(first)

    download(version_of(registry.client, NAME, GOOD), tmp_path)

    assert new_artifact(registry).is_relative_to(first)
    assert not second.exists()


def test_artifacts_that_were_put_elsewhere_on_purpose_stay_there(tmp_path: Path) -> None:
    uri, elsewhere = f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "elsewhere"
    client = open_registry(uri, "other")
    elsewhere.mkdir()
    client.create_experiment(NAME, artifact_location=elsewhere.as_uri())

    again = open_registry(uri, NAME).get_experiment_by_name(NAME)

    assert again is not None
    assert elsewhere.as_uri() == again.artifact_location


def test_what_is_no_database_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("no database at all " * 100)

    with pytest.raises(TrainingError, match=r"cannot be opened: .*file is not a database"):
        open_registry(f"sqlite:///{tmp_path / 'mlflow.db'}", NAME)
