"""A folder of files appears whole, is replaced whole, and is left alone by a writer that fails."""

import os
from pathlib import Path

import pytest

from jobs.offline_store.partitions import replaced


@pytest.fixture(params=["exchanged", "moved away"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a system that can exchange two folders in one step, and on one that cannot."""
    if request.param == "moved away":
        monkeypatch.setattr("jobs.offline_store.partitions.sys.platform", "darwin")


def contents(folder: Path) -> dict[str, str]:
    return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.usefixtures("system")
def test_a_new_folder_takes_the_place_of_the_old_one_and_nothing_else_is_left(tmp_path: Path) -> None:
    for text in ("old", "new"):
        with replaced(tmp_path / "as_of=1") as folder:
            (folder / f"{text}.txt").write_text(text)

    assert {"as_of=1/new.txt": "new"} == contents(tmp_path)


@pytest.mark.usefixtures("system")
def test_nobody_sees_what_is_being_written(tmp_path: Path) -> None:
    with replaced(tmp_path / "as_of=1") as folder:
        (folder / "a.txt").write_text("half")

        assert not (tmp_path / "as_of=1").exists()


@pytest.mark.usefixtures("system")
def test_a_writer_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    with replaced(tmp_path / "as_of=1") as folder:
        (folder / "a.txt").write_text("old")

    with pytest.raises(ZeroDivisionError), replaced(tmp_path / "as_of=1") as folder:
        (folder / "a.txt").write_text(str(1 / 0))

    assert {"as_of=1/a.txt": "old"} == contents(tmp_path)


def test_what_a_killed_writer_left_is_removed_and_a_living_ones_is_not(tmp_path: Path) -> None:
    host, living = os.uname().nodename, os.getppid()
    for pid in (2**22 + 1, living):  # no process has a number beyond 2²²
        (tmp_path / f".as_of=1.{host}-{pid}.partial").mkdir()

    with replaced(tmp_path / "as_of=1"):
        pass

    assert {"as_of=1", f".as_of=1.{host}-{living}.partial"} == {found.name for found in tmp_path.iterdir()}
