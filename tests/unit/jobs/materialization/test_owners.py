"""Whose an offline store is, wherever it lies."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.errors import JobError
from jobs.offline_store.owner import Owner, owner_of


def test_a_store_has_one_owner_who_is_no_other_stores(tmp_path: Path) -> None:
    one, other = owner_of(tmp_path / "one", ""), owner_of(tmp_path / "other", "")

    assert one == owner_of(tmp_path / "one", "")
    assert one.id != other.id
    assert not one.is_same(other)


@pytest.mark.usefixtures("printed_logs")
def test_a_store_that_was_moved_keeps_its_owner(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = owner_of(tmp_path / "before", "")
    (tmp_path / "before").rename(tmp_path / "after")

    after = owner_of(tmp_path / "after", "")

    assert replace(before, path=str(tmp_path / "after")) == after == owner_of(tmp_path / "after", "")
    assert before.is_same(after)
    assert "" == capsys.readouterr().out


@pytest.mark.usefixtures("printed_logs")
def test_a_copy_is_an_owner_of_its_own_and_says_so_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    original = owner_of(tmp_path / "original", "")
    shutil.copytree(tmp_path / "original", tmp_path / "copy")

    copied = owner_of(tmp_path / "copy", "")

    assert f"copy is a copy of {tmp_path / 'original'}" in capsys.readouterr().out
    assert not original.is_same(copied)
    assert (original, copied) == (owner_of(tmp_path / "original", ""), owner_of(tmp_path / "copy", ""))
    assert "" == capsys.readouterr().out


def test_a_link_to_a_store_is_no_copy(tmp_path: Path) -> None:
    owner = owner_of(tmp_path / "store", "")
    (tmp_path / "link").symlink_to(tmp_path / "store")

    assert owner == owner_of(tmp_path / "link", "")


@pytest.mark.parametrize("same_disk", [True, False])
def test_another_host_is_the_same_owner_if_it_has_the_same_disk(tmp_path: Path, same_disk: bool) -> None:
    """As a container on its volume, against a copy on another machine."""
    owner = owner_of(tmp_path, "")
    file = tmp_path / "owner.json"
    noted = json.loads(file.read_text()) | {"host": "elsewhere"}
    file.write_text(json.dumps(noted | ({} if same_disk else {"inode": noted["inode"] + 1})))

    assert same_disk == owner.is_same(replace(owner_of(tmp_path, ""), path="/not/compared"))


def test_a_store_that_was_made_anew_in_its_place_is_the_same_owner(tmp_path: Path) -> None:
    before = owner_of(tmp_path / "store", "")
    shutil.rmtree(tmp_path / "store")

    after = owner_of(tmp_path / "store", "")

    assert before.id != after.id
    assert before.is_same(after)


def test_a_declared_owner_is_told_by_its_name_alone(tmp_path: Path) -> None:
    here, elsewhere = owner_of(tmp_path / "here", "shop"), owner_of(tmp_path / "elsewhere", "shop")

    assert here.is_same(elsewhere)
    assert not here.is_same(owner_of(tmp_path / "here", "other"))
    assert here.is_same(owner_of(tmp_path / "here", "")), "declared from today on"
    assert not here.is_same(owner_of(tmp_path / "third", ""))


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"id": "a", "host": "b", "path": "c"}'])
def test_what_cannot_be_read_as_an_owner_is_written_anew(tmp_path: Path, content: str) -> None:
    (tmp_path / "owner.json").write_text(content)

    owner = owner_of(tmp_path, "")

    assert 32 == len(owner.id)
    assert owner == owner_of(tmp_path, "")


def test_a_store_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(JobError, match=r"file/store/owner\.json: cannot read or write the offline store's owner: "):
        owner_of(tmp_path / "file" / "store", "")


def test_an_owner_is_told_with_its_place_and_time() -> None:
    assert "id (/path on host, since 2026-01-01)" == str(Owner("id", "host", "/path", at="2026-01-01"))
    assert "id (/path on host)" == str(Owner("id", "host", "/path"))
