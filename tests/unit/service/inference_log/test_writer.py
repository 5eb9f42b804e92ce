"""Every row that is handed over is written or counted, and nobody waits for it."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from prometheus_client import CollectorRegistry

from artefacts.log_rows import log_files
from scoring.inference_log import log_table, read_log
from scoring.models.imported_model import ImportedModel
from scoring.pseudonyms import Pseudonyms
from service.errors import StartupError
from service.inference_log.writer import InferenceLog
from service.settings import ServiceSettings
from service.telemetry.metrics import ServiceMetrics
from tests.models.answers import EMPTY_LOG, answers, small_model

SOON, NEVER = 0.01, 60.0
KEY = "0123456789abcdef" * 2


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ImportedModel:
    return small_model(tmp_path_factory.mktemp("model"))


class Opened:
    """A log over one folder, its metrics, and a clock that tests turn."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.now = datetime(2026, 3, 1, 12, tzinfo=UTC)
        self.registry = CollectorRegistry()
        chosen = ServiceSettings.model_validate(
            {f"inference_log_{name}": value for name, value in ({"flush_seconds": SOON} | settings).items()}
        )
        self.log = InferenceLog(folder, chosen, ServiceMetrics("small_churn", self.registry), lambda: self.now)

    def counted(self, outcome: str) -> float:
        labels = {"model": "small_churn", "outcome": outcome}
        return self.registry.get_sample_value("model_service_log_rows_total", labels) or 0

    def rows(self) -> pa.Table:
        return pa.concat_tables([EMPTY_LOG, *map(read_log, log_files(self.folder))])

    def numbers(self) -> list[int]:
        numbers: list[int] = self.rows()["row"].to_pylist()
        return numbers


Open = Callable[..., Opened]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    every: list[Opened] = []

    def open_log(folder: Path = tmp_path / "log", **settings: object) -> Opened:
        every.append(Opened(folder, **settings))
        return every[-1]

    yield open_log
    for one in every:
        one.log.close()


def until(holds: Callable[[], bool]) -> None:
    """Wait for the writer; it has ten seconds."""
    waiting = threading.Event()
    for _ in range(1000):
        if holds():
            return
        waiting.wait(0.01)
    pytest.fail("the writer did not do it")


def test_what_is_put_is_read_back_as_it_was(opened: Open, model: ImportedModel) -> None:
    one = opened()
    batches = [answers(model, 7), answers(model, 1, 7), answers(model, 12, 8)]
    for batch in batches:
        one.log.put(batch)
    one.log.close()

    assert pa.concat_tables(map(log_table, batches)).combine_chunks() == one.rows().combine_chunks()
    assert (20, 0, 0) == tuple(map(one.counted, ("written", "dropped_full", "dropped_failed")))
    assert [".parquet"] == [file.suffix for file in log_files(one.folder)]


def test_rows_can_be_read_before_their_file_is_complete(opened: Open, model: ImportedModel) -> None:
    one = opened()
    one.log.put(answers(model, 3))
    until(lambda: one.counted("written") == 3)

    assert [".arrows"] == [file.suffix for file in log_files(one.folder)]
    assert [0, 1, 2] == one.numbers()


def test_rows_of_two_models_and_of_a_cache_are_kept_apart(opened: Open, model: ImportedModel) -> None:
    one, other = opened(flush_seconds=NEVER), replace(model, role="challenger")
    cached = replace(answers(model, 2, 10), cached_seconds=np.array([3.0, 4.0]))
    for batch in (answers(model, 2), answers(other, 2), cached):
        one.log.put(batch)
    one.log.close()

    rows = one.rows().sort_by([("role", "ascending"), ("row", "ascending")])
    assert ["challenger"] * 2 + ["champion"] * 4 == rows["role"].to_pylist()
    assert [0, 1, 0, 1, 10, 11] == rows["row"].to_pylist()
    assert [None, None, None, None, 3.0, 4.0] == rows["cached_seconds"].to_pylist()


def test_a_full_queue_drops_rows_and_counts_them(opened: Open, model: ImportedModel) -> None:
    one = opened(flush_seconds=NEVER, queue_rows=1000)
    for first in range(0, 1200, 300):
        one.log.put(answers(model, 300, first))
    one.log.put(answers(model, 100, 5000))
    one.log.close()

    assert 300 == one.counted("dropped_full")
    assert [*range(900), *range(5000, 5100)] == one.numbers()


def test_many_rows_are_written_at_once(opened: Open, model: ImportedModel) -> None:
    one = opened(flush_seconds=NEVER)

    one.log.put(answers(model, 5000))

    until(lambda: one.counted("written") == 5000)


def test_putting_takes_rows_while_the_disk_hangs(
    opened: Open, model: ImportedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, goes_on = threading.Event(), threading.Event()

    def fsync(_: int) -> None:
        hangs.set()
        goes_on.wait(20)

    monkeypatch.setattr("service.inference_log.files.os.fsync", fsync)
    one = opened()
    one.log.put(answers(model, 1))
    assert hangs.wait(10)
    for row in range(1, 50):
        one.log.put(answers(model, 1, row))
    assert 0 == one.counted("written")
    goes_on.set()
    one.log.close()

    assert [*range(50)] == one.numbers()


def test_a_full_or_old_stream_and_one_of_yesterday_become_parquet(opened: Open, model: ImportedModel) -> None:
    one = opened(file_mb=1, file_seconds=100)

    def put(count: int, first: int) -> None:
        written = one.counted("written")
        one.log.put(answers(model, count, first))
        until(lambda: one.counted("written") == written + count)

    def complete() -> int:
        return len(list(one.folder.glob("date=*/*.parquet")))

    put(9000, 0)  # more than a megabyte
    until(lambda: complete() == 1)
    put(1, 9000)
    one.now += timedelta(seconds=101)
    until(lambda: complete() == 2)
    one.now = datetime(2026, 3, 1, 23, 59, 59, tzinfo=UTC)
    put(1, 9001)
    one.now += timedelta(seconds=2)
    until(lambda: complete() == 3)
    put(1, 9002)

    assert [*range(9003)] == one.numbers()
    assert ["date=2026-03-01"] * 3 + ["date=2026-03-02"] == [file.parent.name for file in log_files(one.folder)]


def test_days_beyond_the_retention_are_removed(opened: Open, model: ImportedModel, tmp_path: Path) -> None:
    old = tmp_path / "log" / "date=2026-01-31"
    kept = tmp_path / "log" / "date=2026-02-01"
    for day in (old, kept):
        day.mkdir(parents=True)
        (day / "of-a-worker.parquet").write_bytes(b"")
    one = opened(days=28, file_seconds=10)
    one.log.put(answers(model, 1))
    until(lambda: one.counted("written") == 1)
    one.now += timedelta(seconds=11)

    until(lambda: not old.exists())
    assert kept.exists()


def test_a_folder_that_cannot_be_made_costs_rows_and_is_tried_again(
    opened: Open, model: ImportedModel, tmp_path: Path
) -> None:
    in_the_way = tmp_path / "log"
    in_the_way.write_text("a file")
    one = opened(in_the_way / "below")
    until(lambda: one.registry.get_sample_value("model_service_log_failing", {"model": "small_churn"}) == 1)
    one.log.put(answers(model, 3))
    until(lambda: one.counted("dropped_failed") == 3)
    in_the_way.unlink()
    one.log.put(answers(model, 4, 3))
    until(lambda: one.counted("written") == 4)

    assert [3, 4, 5, 6] == one.numbers()
    assert 0 == one.registry.get_sample_value("model_service_log_failing", {"model": "small_churn"})


def test_a_folder_that_is_removed_meanwhile_is_made_again(opened: Open, model: ImportedModel) -> None:
    one = opened()
    one.log.put(answers(model, 1))
    until(lambda: one.counted("written") == 1)
    (open_file,) = log_files(one.folder)
    open_file.unlink()
    open_file.parent.rmdir()
    one.log.put(answers(model, 1, 1))
    until(lambda: one.counted("written") == 2)

    assert [1] == one.numbers()


def test_a_batch_that_cannot_be_written_down_costs_nobody_elses_rows(opened: Open, model: ImportedModel) -> None:
    one = opened(flush_seconds=NEVER)
    broken = replace(answers(model, 1, 1), keys=["\ud800"])  # half a character: no UTF-8 has it
    for batch in (answers(model, 1), broken, answers(model, 1, 2)):
        one.log.put(batch)
    one.log.close()

    assert [0, 2] == one.numbers()
    assert (2, 1) == (one.counted("written"), one.counted("dropped_failed"))


def test_closing_a_log_that_got_nothing_leaves_no_file(opened: Open) -> None:
    one = opened()
    one.log.close()

    assert [] == log_files(one.folder)


def test_closing_waits_no_longer_than_it_is_told(
    opened: Open, model: ImportedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = threading.Event()
    monkeypatch.setattr("service.inference_log.files.os.fsync", lambda _: goes_on.wait(20))
    one = opened()
    one.log.put(answers(model, 1))

    one.log.close(seconds=0.1)

    assert 0 == one.counted("written")
    goes_on.set()


def test_customers_have_pseudonyms_where_a_key_is_given(opened: Open, model: ImportedModel, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text(f"{KEY}\n")
    one = opened(id_key_file=str(key))
    one.log.put(answers(model, 2))
    one.log.close()

    assert Pseudonyms(KEY.encode()).of(["c0", "c1"]) == one.rows()["customer_id"].to_pylist()


@pytest.mark.parametrize(("key", "said"), [("", "0 characters"), ("short\n", "5 characters"), (None, "No such file")])
def test_a_key_that_cannot_be_used_refuses_to_start(opened: Open, tmp_path: Path, key: str | None, said: str) -> None:
    file = tmp_path / "key"
    if key is not None:
        file.write_text(key)

    with pytest.raises(StartupError, match=rf"SERVICE_INFERENCE_LOG_ID_KEY_FILE: .*key: .*{said}"):
        opened(id_key_file=str(file))
