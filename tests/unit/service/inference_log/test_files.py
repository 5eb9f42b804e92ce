"""The files of the log: nothing that was written is lost or doubled, whoever died where."""

import errno
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from artefacts.log_rows import log_files
from scoring.errors import ModelError
from scoring.inference_log import log_table, read_log
from scoring.models.imported_model import ImportedModel
from service.inference_log.files import Limits, LogFiles
from tests.models.answers import EMPTY_LOG, answers, small_model

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LIMITS = Limits(size=10**9, age=600, days=30)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ImportedModel:
    return small_model(tmp_path_factory.mktemp("model"))


def rows(model: ImportedModel, first: int, count: int = 5) -> pa.Table:
    return log_table(answers(model, count, first))


def numbers(folder: Path) -> list[int]:
    found: list[int] = pa.concat_tables([EMPTY_LOG, *map(read_log, log_files(folder))])["row"].to_pylist()
    return found


def died(folder: Path, *written: pa.Table) -> Path:
    """The stream that a process leaves which wrote these and died."""
    files = LogFiles(folder, LIMITS)
    for table in written:
        files.append(table, NOON)
    assert files._stream is not None
    files._stream.close()
    (stream,) = folder.glob("date=*/*.arrows")
    return stream


def suffixes(folder: Path) -> list[str]:
    """Of every file there is, hidden ones included."""
    return sorted(file.suffix for file in folder.glob("date=*/*"))


def test_the_stream_of_a_process_that_died_becomes_parquet(tmp_path: Path, model: ImportedModel) -> None:
    died(tmp_path, rows(model, 0), rows(model, 5))

    LogFiles(tmp_path, LIMITS).take_over()

    assert [".parquet"] == suffixes(tmp_path)
    assert [*range(10)] == numbers(tmp_path)


@pytest.mark.parametrize("cut", [1, 100, 1000])
def test_a_batch_that_was_being_written_is_lost_and_those_before_it_are_not(
    tmp_path: Path, model: ImportedModel, cut: int
) -> None:
    stream = died(tmp_path, rows(model, 0), rows(model, 5))
    stream.write_bytes(stream.read_bytes()[:-cut])

    assert [*range(5)] == numbers(tmp_path)
    LogFiles(tmp_path, LIMITS).take_over()
    assert [*range(5)] == numbers(tmp_path)
    assert [".parquet"] == suffixes(tmp_path)


def test_a_crash_between_parquet_and_the_end_of_its_stream_doubles_nothing(
    tmp_path: Path, model: ImportedModel
) -> None:
    stream = died(tmp_path, rows(model, 0))
    content = stream.read_bytes()
    LogFiles(tmp_path, LIMITS).take_over()
    stream.write_bytes(content)

    assert [*range(5)] == numbers(tmp_path)
    LogFiles(tmp_path, LIMITS).take_over()
    assert [".parquet"] == suffixes(tmp_path)
    assert [*range(5)] == numbers(tmp_path)


def test_a_reader_that_found_a_stream_which_then_became_parquet_reads_its_rows(
    tmp_path: Path, model: ImportedModel
) -> None:
    stream = died(tmp_path, rows(model, 0))
    LogFiles(tmp_path, LIMITS).take_over()

    assert not stream.exists()
    assert 5 == len(read_log(stream))


def test_a_stream_that_another_process_writes_is_left_alone(tmp_path: Path, model: ImportedModel) -> None:
    alive = LogFiles(tmp_path, LIMITS)
    alive.append(rows(model, 0), NOON)

    LogFiles(tmp_path, LIMITS).take_over()
    alive.append(rows(model, 5), NOON)

    assert [".arrows"] == suffixes(tmp_path)
    alive.close()
    assert [*range(10)] == numbers(tmp_path)


def test_two_processes_write_beside_each_other(tmp_path: Path, model: ImportedModel) -> None:
    one, other = LogFiles(tmp_path, LIMITS), LogFiles(tmp_path, LIMITS)
    one.append(rows(model, 0), NOON)
    other.append(rows(model, 5), NOON + timedelta(seconds=1))
    one.close()
    other.close()

    assert [".parquet"] * 2 == suffixes(tmp_path)
    assert [*range(10)] == numbers(tmp_path)


def test_a_clock_that_was_put_back_overwrites_nothing(tmp_path: Path, model: ImportedModel) -> None:
    for first in (0, 5):
        files = LogFiles(tmp_path, LIMITS)
        files.append(rows(model, first), NOON)
        files.close()

    assert [*range(10)] == numbers(tmp_path)


def test_rows_with_other_outputs_begin_another_file(tmp_path: Path, model: ImportedModel) -> None:
    files = LogFiles(tmp_path, LIMITS)
    others = rows(model, 5).drop_columns(["churn"])
    for table in (rows(model, 0), others, rows(model, 10)):
        files.append(table, NOON)
    files.close()

    read = [read_log(file) for file in log_files(tmp_path)]
    assert [*range(15)] == [number for table in read for number in table["row"].to_pylist()]
    assert [True, False, True] == ["churn" in table.column_names for table in read]


def test_a_stream_that_nobody_can_read_is_left_for_somebody_to_look_at(tmp_path: Path, model: ImportedModel) -> None:
    stream = died(tmp_path, rows(model, 0))
    stream.write_bytes(b"not a stream of anything")

    LogFiles(tmp_path, LIMITS).take_over()

    assert [".arrows"] == suffixes(tmp_path)
    with pytest.raises(ModelError, match="cannot be read as inference log"):
        read_log(stream)


def test_a_stream_without_rows_leaves_nothing(tmp_path: Path, model: ImportedModel) -> None:
    stream = died(tmp_path, rows(model, 0))
    stream.write_bytes(b"")

    LogFiles(tmp_path, LIMITS).take_over()

    assert [] == suffixes(tmp_path)


def test_parquet_that_cannot_be_written_leaves_the_stream(
    tmp_path: Path, model: ImportedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    died(tmp_path, rows(model, 0))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("service.inference_log.files.sync_file", full)
        with pytest.raises(OSError, match="No space"):
            LogFiles(tmp_path, LIMITS).take_over()
    assert [".arrows"] == suffixes(tmp_path)
    assert [*range(5)] == numbers(tmp_path)
    LogFiles(tmp_path, LIMITS).take_over()
    assert [*range(5)] == numbers(tmp_path)


def test_on_a_file_system_that_syncs_no_folders_streams_become_parquet(
    tmp_path: Path, model: ImportedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    died(tmp_path, rows(model, 0))
    fsync = os.fsync

    def syncs_files_alone(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr("os.fsync", syncs_files_alone)
    LogFiles(tmp_path, LIMITS).take_over()

    assert [".parquet"] == suffixes(tmp_path)
    assert [*range(5)] == numbers(tmp_path)


def test_half_a_batch_that_cannot_be_taken_back_is_written_over(
    tmp_path: Path, model: ImportedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = LogFiles(tmp_path, LIMITS)
    files.append(rows(model, 0), NOON)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("service.inference_log.files.os.fsync", full)
        patch.setattr("service.inference_log.files.os.ftruncate", full)
        with pytest.raises(OSError, match="No space"):
            files.append(rows(model, 5, 40), NOON)
    files.append(rows(model, 45), NOON)
    files.append(rows(model, 50), NOON)

    assert [*range(5), *range(45, 55)] == numbers(tmp_path)
    files.close()
    assert [*range(5), *range(45, 55)] == numbers(tmp_path)


def test_files_of_days_that_cannot_hold_an_answer_are_not_listed(tmp_path: Path, model: ImportedModel) -> None:
    for days in range(4):
        files = LogFiles(tmp_path, LIMITS)
        files.append(rows(model, days, 1), NOON + timedelta(days=days))
        files.close()
    day = {"since": datetime(2026, 3, 2, tzinfo=UTC), "until": datetime(2026, 3, 2, 23, tzinfo=UTC)}

    assert ["date=2026-03-02", "date=2026-03-03"] == [file.parent.name for file in log_files(tmp_path, **day)]
    assert 4 == len(log_files(tmp_path))
