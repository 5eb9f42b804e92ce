"""A file or a folder appears whole, is replaced whole, and stays as it was when a writer fails."""

import errno
import os
import stat
from contextlib import nullcontext
from pathlib import Path

import pytest

from artefacts.process.atomic_files import replaced_file, replaced_folder, write_atomically


@pytest.fixture(params=["exchanged", "moved away"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a system that can exchange two folders in one step, and on one that cannot."""
    if request.param == "moved away":
        monkeypatch.setattr("artefacts.process.atomic_files.sys.platform", "darwin")


def contents(folder: Path) -> dict[str, str]:
    return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.usefixtures("system")
def test_a_new_folder_takes_the_place_of_the_old_one_and_nothing_else_is_left(tmp_path: Path) -> None:
    for text in ("old", "new"):
        with replaced_folder(tmp_path / "as_of=1") as folder:
            (folder / f"{text}.txt").write_text(text)

    assert {"as_of=1/new.txt": "new"} == contents(tmp_path)


@pytest.mark.usefixtures("system")
def test_nobody_sees_what_is_being_written(tmp_path: Path) -> None:
    with replaced_folder(tmp_path / "as_of=1") as folder:
        (folder / "a.txt").write_text("half")

        assert not (tmp_path / "as_of=1").exists()


@pytest.mark.usefixtures("system")
def test_a_writer_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    with replaced_folder(tmp_path / "as_of=1") as folder:
        (folder / "a.txt").write_text("old")

    with pytest.raises(ZeroDivisionError), replaced_folder(tmp_path / "as_of=1") as folder:
        (folder / "a.txt").write_text(str(1 / 0))

    assert {"as_of=1/a.txt": "old"} == contents(tmp_path)


def test_what_a_killed_writer_left_is_removed_and_a_living_ones_is_not(tmp_path: Path) -> None:
    host, living = os.uname().nodename, os.getppid()
    for pid in (2**22 + 1, living):  # no process has a number beyond 2²²
        (tmp_path / f".as_of=1.{host}-{pid}.partial").mkdir()

    with replaced_folder(tmp_path / "as_of=1"):
        pass

    assert {"as_of=1", f".as_of=1.{host}-{living}.partial"} == {found.name for found in tmp_path.iterdir()}


def test_a_file_is_replaced_and_its_folder_is_made(tmp_path: Path) -> None:
    file = tmp_path / "new" / "pin"
    for text in ("old\n", "nêw\n"):
        write_atomically(file, text)

    assert "nêw\n".encode() == file.read_bytes()
    assert ["pin"] == [found.name for found in file.parent.iterdir()]


def test_a_file_has_the_permissions_of_the_umask(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    write_atomically(tmp_path / "file", b"")

    assert (tmp_path / "plain").stat().st_mode == (tmp_path / "file").stat().st_mode


@pytest.mark.parametrize("durable", [False, True])
def test_nobody_sees_a_file_before_it_is_whole(tmp_path: Path, durable: bool) -> None:
    with replaced_file(tmp_path / "rows.parquet", durable) as partial:
        partial.write_text("half")

        assert [] == [found for found in tmp_path.glob("*") if not found.name.startswith(".")]
        assert [] == list(tmp_path.glob("*.parquet"))
    assert "half" == (tmp_path / "rows.parquet").read_text()


def test_a_durable_file_and_its_name_are_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(
        "artefacts.process.atomic_files.os.fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino)
    )
    with replaced_file(tmp_path / "registry.db", durable=True) as partial:
        partial.write_text("whole")

    assert [(tmp_path / "registry.db").stat().st_ino, tmp_path.stat().st_ino] == synced


@pytest.mark.parametrize(("code", "written"), [(errno.EINVAL, True), (errno.EIO, False)])
def test_a_file_system_that_syncs_no_folders_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, written: bool
) -> None:
    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr("artefacts.process.atomic_files.os.fsync", fsync)

    with (
        nullcontext() if written else pytest.raises(OSError, match=os.strerror(code)),
        replaced_file(tmp_path / "registry.db", durable=True) as partial,
    ):
        partial.write_text("rows")

    assert {"registry.db": "rows"} == contents(tmp_path)


def test_a_writer_of_a_file_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", "old")

    with pytest.raises(ZeroDivisionError), replaced_file(tmp_path / "file") as partial:
        partial.write_text("half" * (1 // 0))

    assert {"file": "old"} == contents(tmp_path)


def test_a_link_is_replaced_in_one_step(tmp_path: Path) -> None:
    for target in ("one", "two"):
        with replaced_file(tmp_path / "current") as link:
            link.symlink_to(target)

    assert Path("two") == (tmp_path / "current").readlink()


def test_a_killed_writers_partial_file_goes_and_a_living_ones_stays(tmp_path: Path) -> None:
    host, living = os.uname().nodename, os.getppid()
    left = {
        "killed here": f".file.{host}-{2**22 + 1}.partial",  # no process has a number beyond 2²²
        "living here": f".file.{host}-{living}.partial",
        "elsewhere, yesterday": ".file.elsewhere-1.partial",
        "elsewhere, now": ".file.elsewhere-2.partial",
        "of another file": f".file.txt.{host}-{2**22 + 1}.partial",
    }
    for name in left.values():
        (tmp_path / name).touch()
    os.utime(tmp_path / left["elsewhere, yesterday"], (1, 1))

    write_atomically(tmp_path / "file", "")

    stay = {left["living here"], left["elsewhere, now"], left["of another file"]}
    assert {"file", *stay} == {found.name for found in tmp_path.iterdir()}
