"""A build is continued by the same code only; what counts as that code is found, not listed."""

import shutil
from pathlib import Path

import pytest

from artefacts.addresses import PROJECT_ROOT
from jobs.features.definition import definition_sha256

ROOMS = ("jobs/features", "jobs/offline_store", "training/churn/source")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for room in (*ROOMS, "feature_repo"):
        shutil.copytree(PROJECT_ROOT / room, tmp_path / room)
    return tmp_path


def test_the_same_code_elsewhere_is_the_same(root: Path) -> None:
    assert definition_sha256() == definition_sha256(root)


@pytest.mark.parametrize(
    "file",
    [
        *("feature_repo/transformations.py", "jobs/features/engine.py", "jobs/features/duckdb_engine.py"),
        *("jobs/features/build.py", "training/churn/source/orders_file.py"),
    ],
)
def test_changed_code_is_other_code(root: Path, file: str) -> None:
    with (root / file).open("a") as changed:
        changed.write("# changed\n")

    assert definition_sha256() != definition_sha256(root)


@pytest.mark.parametrize("room", ROOMS)
@pytest.mark.parametrize("name", ["another.py", "inner/another.py"])
def test_a_new_file_in_a_room_counts_without_being_named(root: Path, room: str, name: str) -> None:
    (root / room / name).parent.mkdir(exist_ok=True)
    (root / room / name).touch()

    assert definition_sha256() != definition_sha256(root)


def test_a_file_that_was_renamed_is_other_code(root: Path) -> None:
    (root / "jobs/features/engine.py").rename(root / "jobs/features/motor.py")

    assert definition_sha256() != definition_sha256(root)


@pytest.mark.parametrize("file", ["feature_repo/entities.py", "jobs/features/notes.txt"])
def test_other_files_do_not_count(root: Path, file: str) -> None:
    (root / file).write_text("something else")

    assert definition_sha256() == definition_sha256(root)
