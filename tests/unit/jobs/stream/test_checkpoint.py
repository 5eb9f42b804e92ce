"""A checkpoint is gone on with only where nothing can be left out; batches with other contents have other numbers."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.errors import JobError
from jobs.stream.checkpoint import batch_number, spark_checkpoint, stream_lock

FOLLOWED = {"source": "json", "incoming": "/in"}


def test_a_batch_has_the_same_number_whenever_it_is_done_and_in_whatever_order_its_orders_come() -> None:
    assert batch_number(3, ["a", "b"]) == batch_number(3, ["b", "a"])
    assert 3 == batch_number(3, ["a", "b"]) // 10**9


@pytest.mark.parametrize(
    "other", [["a"], ["a", "b", "c"], ["a", "a", "b"], ["ab"], [], ["", "a", "b"], ["a", "\ud800"]]
)
def test_other_contents_under_the_same_number_of_sparks_are_another_batch(other: list[str]) -> None:
    assert batch_number(0, ["a", "b"]) != batch_number(0, other)


def test_batches_of_later_numbers_come_later() -> None:
    numbers = [batch_number(n, [str(n)]) for n in range(50)]

    assert sorted(numbers) == numbers


def test_a_second_stream_into_one_of_the_folders_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    with (
        stream_lock(tmp_path / "orders", tmp_path / "out"),
        pytest.raises(JobError, match=f"{tmp_path}/orders: another stream writes there"),
        stream_lock(tmp_path / "other", tmp_path / "orders"),
    ):
        pass
    with stream_lock(tmp_path / "orders", tmp_path / "orders"):
        pass


def spark_wrote(checkpoint: Path, batches: int = 3, committed: int = 3) -> Path:
    """As Spark leaves it after so many batches of a file each."""
    sparks = spark_checkpoint(checkpoint, FOLLOWED)
    for folder in ("offsets", "commits", "sources/0"):
        (sparks / folder).mkdir(parents=True)
    (sparks / "metadata").write_text("{}")
    for n in range(batches):
        (sparks / "offsets" / str(n)).write_text("v1\n{}\n" + json.dumps({"logOffset": n}))
        (sparks / "sources" / "0" / str(n)).write_text("v1\n{}")
        (sparks / "sources" / "0" / f".{n}.crc").write_text("")
    for n in range(committed):
        (sparks / "commits" / str(n)).write_text("v1\n{}")
    return sparks


@pytest.mark.parametrize("committed", [2, 3])
def test_a_whole_checkpoint_is_gone_on_with(tmp_path: Path, committed: int) -> None:
    sparks = spark_wrote(tmp_path / "checkpoint", committed=committed)

    assert sparks == spark_checkpoint(tmp_path / "checkpoint", FOLLOWED)
    assert sparks.exists()


def test_a_compacted_log_of_files_is_whole(tmp_path: Path) -> None:
    sparks = spark_wrote(tmp_path)
    (sparks / "sources" / "0" / "1").rename(sparks / "sources" / "0" / "1.compact")
    (sparks / "sources" / "0" / "0").unlink()

    assert spark_checkpoint(tmp_path, FOLLOWED).exists()


DAMAGE: dict[str, Callable[[Path], object]] = {
    "its last file list is gone": lambda sparks: (sparks / "sources" / "0" / "2").unlink(),
    "an earlier file list is gone": lambda sparks: (sparks / "sources" / "0" / "0").unlink(),
    "all file lists are gone": lambda sparks: shutil.rmtree(sparks / "sources"),
    "its plans are gone": lambda sparks: shutil.rmtree(sparks / "offsets"),
    "what was done is gone": lambda sparks: shutil.rmtree(sparks / "commits"),
    "the last plan is gone": lambda sparks: (sparks / "offsets" / "2").unlink(),
    "the last plan is empty": lambda sparks: (sparks / "offsets" / "2").write_text(""),
    "its identity is gone": lambda sparks: (sparks / "metadata").unlink(),
    "nobody knows of which source it is": lambda sparks: (sparks.parent / "source.json").unlink(),
}


@pytest.mark.usefixtures("printed_logs")
@pytest.mark.parametrize("damage", DAMAGE)
def test_where_a_part_is_missing_everything_is_read_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    DAMAGE[damage](spark_wrote(tmp_path))

    assert not spark_checkpoint(tmp_path, FOLLOWED).exists()
    assert "everything is read again" in capsys.readouterr().out


@pytest.mark.usefixtures("printed_logs")
def test_the_folders_that_earlier_versions_made_at_each_start_are_removed_and_that_is_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "0b0c58b2-9d0a-4b5c-8a41-1d5c1f0f3f5e" / "offsets").mkdir(parents=True)
    (tmp_path / "first_batch").write_text("0")

    said = []
    for _ in range(2):
        assert not spark_checkpoint(tmp_path, FOLLOWED).exists()
        said.append(capsys.readouterr().out)

    assert ("made by an earlier version" in said[0], "") == (True, said[1])
    assert ["source.json"] == [file.name for file in tmp_path.iterdir()]


@pytest.mark.parametrize("other", [{"source": "parquet", "incoming": "/in"}, {"source": "json", "incoming": "/other"}])
def test_a_checkpoint_of_another_source_is_refused_and_stays(tmp_path: Path, other: dict[str, str]) -> None:
    sparks = spark_wrote(tmp_path)

    with pytest.raises(JobError, match="give another OUT=, or remove that folder"):
        spark_checkpoint(tmp_path, other)
    assert sparks == spark_checkpoint(tmp_path, FOLLOWED)
    assert sparks.exists()
