"""Processes that are killed, and disks that are full, while they log."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa

from artefacts.log_rows import log_files
from scoring.inference_log import read_log
from service.inference_log.files import Limits, LogFiles
from tests.loop import SOURCE
from tests.models.answers import EMPTY_LOG, FLUSH_SECONDS

WRITE_SECONDS = 1.0
"""What a write may take on a machine that does something else as well; it takes milliseconds."""
KILLS = 3


def rows_of(folder: Path) -> dict[str, list[int]]:
    """Request → numbers of its rows, as they lie in the log."""
    table = pa.concat_tables([EMPTY_LOG, *map(read_log, log_files(folder))])
    found: dict[str, list[int]] = {}
    for request, row in zip(table["request_id"].to_pylist(), table["row"].to_pylist(), strict=True):
        found.setdefault(request, []).append(row)
    return found


def log_until_killed(folder: Path, request_id: str, seconds: float) -> tuple[int, int]:
    """Rows that must be there, because they were put before the last flush began; and rows that were put."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.models.answers", str(folder), request_id],
        cwd=SOURCE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    put: list[tuple[float, int]] = []
    while not put or put[-1][0] < put[0][0] + seconds:
        line = process.stdout.readline()
        put.append((time.monotonic(), int(line)))
    process.kill()
    killed_at = time.monotonic()
    put += [(killed_at, int(line)) for line in process.stdout]
    process.wait()
    process.stdout.close()
    return max((n for at, n in put if at < killed_at - FLUSH_SECONDS - WRITE_SECONDS), default=0), put[-1][1]


def test_killed_at_random_only_rows_of_the_last_flush_are_missing_and_the_rest_is_there_once(tmp_path: Path) -> None:
    moments = random.Random(7)
    lost = []
    for n in range(KILLS):
        must_be_there, put = log_until_killed(tmp_path, f"r{n}", moments.uniform(1.5, 3))
        there = rows_of(tmp_path)[f"r{n}"]
        assert [*range(len(there))] == sorted(there)
        assert must_be_there <= len(there) <= put + 20, "the last line may not have been printed"
        lost.append(put - len(there))
    print(f"rows lost at each of {KILLS} kills, at some 5,000 a second: {lost}")

    before = rows_of(tmp_path)
    LogFiles(tmp_path, Limits(10**9, 600, 30)).take_over()
    assert before == rows_of(tmp_path)
    assert {".parquet"} == {file.suffix for file in tmp_path.glob("date=*/*")}


FULL_DISK = """
import resource, sys, time
from pathlib import Path
from prometheus_client import CollectorRegistry
from service.inference_log.writer import InferenceLog
from service.telemetry.metrics import ServiceMetrics
from service.settings import ServiceSettings
from tests.models.answers import answers, small_model

registry = CollectorRegistry()
model = small_model(Path(sys.argv[1]) / "model")
settings = ServiceSettings(inference_log_flush_seconds=0.02)
log = InferenceLog(Path(sys.argv[1]) / "log", settings, ServiceMetrics("small_churn", registry))

def counted(outcome):
    labels = {"model": "small_churn", "outcome": outcome}
    return registry.get_sample_value("model_service_log_rows_total", labels) or 0

def put_until(outcome, more):
    global put
    until = counted(outcome) + more
    while counted(outcome) < until:
        log.put(answers(model, 20, put))
        put += 20
        time.sleep(0.005)

put = 0
put_until("written", 100)
unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, unlimited[1]))  # no file may grow beyond: a write stops half-way
put_until("dropped_failed", 100)
resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
put_until("written", 100)
log.close()
print(put, int(counted("written")), int(counted("dropped_failed")), int(counted("dropped_full")))
"""


def test_a_full_disk_costs_rows_that_are_counted_and_nothing_else(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], cwd=SOURCE, capture_output=True, text=True, timeout=120
    )

    assert 0 == done.returncode, done.stderr
    put, written, failed, full = map(int, done.stdout.split())
    there = rows_of(tmp_path / "log")["r"]
    assert put == written + failed + full
    assert written == len(there) == len(set(there))
    assert failed >= 100
    assert {*range(100), put - 1} <= set(there), "what was put before the disk was full, and after"
    # Here another file can be begun, as it cannot on a full disk; where that one fills up, too, it is said anew.
    assert 1 <= done.stderr.count("cannot be written, rows are dropped until it can") < 10, done.stderr
    assert {".parquet"} == {file.suffix for file in (tmp_path / "log").glob("date=*/*")}
