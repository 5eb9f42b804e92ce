"""Metrics of several processes: added up, and right again when one of them dies."""

import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from artefacts.process.small_files import read_small_file
from service.telemetry import metrics_files
from service.telemetry.workers import forget_dead_workers
from tests.loop import SOURCE
from tests.servers.serving import samples

WORKER = """
import sys
from service.telemetry.metrics import ServiceMetrics
metrics = ServiceMetrics("churn")
metrics.breaker({open})
metrics.contract_mismatch({mismatch})
metrics.live({{"name": "churn", "version": "{version}", "role": "champion"}})
for seconds in (0.003, 0.2):
    metrics.answered("predict", "ok", "anonymous", seconds)
print("counted", flush=True)
sys.stdin.read()
"""
Worker = subprocess.Popen[str]
StartWorker = Callable[..., Worker]


@pytest.fixture
def start_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StartWorker]:
    """Starts processes that count two requests each and live until the test ends."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    with ExitStack() as stack:

        def start(*, is_open: bool = False, mismatch: bool = False, version: str = "1") -> Worker:
            code = WORKER.format(open=is_open, mismatch=mismatch, version=version)
            worker = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", code], cwd=SOURCE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                )
            )
            assert worker.stdout is not None
            assert "counted\n" == worker.stdout.readline()
            return worker

        yield start


def exposition() -> str:
    """What a worker would answer that has counted nothing."""
    code = (
        "import sys; from service.telemetry.metrics import ServiceMetrics; "
        "sys.stdout.buffer.write(ServiceMetrics('churn').exposition())"
    )
    return subprocess.run([sys.executable, "-c", code], cwd=SOURCE, capture_output=True, text=True, check=True).stdout


def exposed(name: str, **labels: str) -> list[float]:
    """Its samples."""
    return samples(exposition(), name, **labels)


def kill(worker: Worker) -> None:
    worker.send_signal(signal.SIGKILL)
    worker.wait()


def test_counters_and_histograms_add_up_over_workers(start_worker: StartWorker) -> None:
    start_worker(), start_worker()

    assert [4] == exposed("model_service_requests_total", call="predict", outcome="ok")
    assert [2] == exposed("model_service_request_seconds_bucket", call="predict", le="0.005")
    assert [4] == exposed("model_service_request_seconds_count", call="predict")


def test_breakers_are_counted_and_a_mismatch_is_one_if_any_worker_sees_it(start_worker: StartWorker) -> None:
    for is_open, mismatch in ((True, False), (True, True), (False, False)):
        start_worker(is_open=is_open, mismatch=mismatch)

    assert [2] == exposed("model_service_breaker_open")
    assert [1] == exposed("model_service_contract_mismatch")


def test_two_versions_at_once_are_both_shown(start_worker: StartWorker) -> None:
    start_worker(version="1"), start_worker(version="2")

    assert [[1], [1]] == [exposed("model_service_model_live", version=version) for version in "12"]


def test_what_a_killed_worker_counted_stays_and_its_gauges_go(start_worker: StartWorker) -> None:
    start_worker()
    kill(start_worker(is_open=True, mismatch=True, version="2"))

    assert [4] == exposed("model_service_requests_total"), "a counter that falls looks like a restart to Prometheus"
    assert ([0], [0]) == (exposed("model_service_breaker_open"), exposed("model_service_contract_mismatch"))
    assert ([1], []) == (
        exposed("model_service_model_live", version="1"),
        exposed("model_service_model_live", version="2"),
    )


def test_workers_that_are_asked_at_once_may_all_find_a_dead_one(start_worker: StartWorker) -> None:
    for _ in range(5):
        kill(start_worker(is_open=True))

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: exposed("model_service_requests_total"), range(4)))

    assert [[10]] * 4 == found


def test_a_process_whose_id_is_another_processes_now_is_dead_all_the_same(
    start_worker: StartWorker, tmp_path: Path
) -> None:
    """Process ids come round again; a worker's file is named by one."""
    worker = start_worker(is_open=True)
    kill(worker)
    for file in tmp_path.glob(f"*{worker.pid}*"):
        file.rename(file.with_name(file.name.replace(str(worker.pid), str(os.getpid()))))

    assert [0] == exposed("model_service_breaker_open")


def test_feasts_own_metrics_are_left_out(start_worker: StartWorker, tmp_path: Path) -> None:
    start_worker()
    code = "from prometheus_client import Counter; Counter('feast_pushes', 'of its server').inc()"
    subprocess.run([sys.executable, "-c", code], check=True)

    text = exposition()

    assert {line.split("_")[0] for line in text.splitlines() if not line.startswith("#")} == {"model"}
    assert "# HELP model_service_requests_total Requests by call" in text


def no_metrics(path: Path) -> None:
    path.write_bytes(b"\x00 no metrics \xff" * 500)


def endless(path: Path) -> None:
    """A part of it says that it is of negative length: whoever believes it reads the same part for ever."""
    path.write_bytes(struct.pack("iiii", 4096, 0, -24, 0) + bytes(4080))


def no_json(path: Path) -> None:
    key = b"no json!".ljust(12)
    path.write_bytes(struct.pack("ii", 8 + 4 + 12 + 16, 0) + struct.pack("i12sdd", 12, key, 1.0, 0.0))


def half_written(path: Path) -> None:
    path.write_bytes(b"\x10")


def huge(path: Path) -> None:
    path.touch()
    os.truncate(path, 10 * 1024**3)


@pytest.mark.parametrize("name", ["counter_99.db", "gauge_livemax_99.db", "gauge_99.db", "histogram_x.db", "99.alive"])
@pytest.mark.parametrize("damage", [no_metrics, endless, no_json, half_written, huge, os.mkfifo, os.mkdir])
def test_a_damaged_file_is_left_out_and_counted_and_everybody_elses_metrics_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, damage: Callable[[Path], None]
) -> None:
    (tmp_path / "gauge_livemax_7.db").touch()  # a worker is making it
    damage(tmp_path / name)
    monkeypatch.setattr(metrics_files, "_said", set())

    with bounded(20):
        metrics, left_out = metrics_files.merged(tmp_path)
        forget_dead_workers(tmp_path)

    assert (name.endswith(".db"), []) == (bool(left_out), metrics)


def test_a_file_that_goes_while_it_is_looked_at_is_not_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "gauge_livesum_99.db").write_bytes(bytes(16))
    monkeypatch.setattr(metrics_files, "_said", set())

    def too_late(file: Path, at_most: int) -> bytes:
        file.unlink()  # by another worker that is asked for metrics at the same time
        return read_small_file(file, at_most)

    monkeypatch.setattr(metrics_files, "read_small_file", too_late)

    assert ([], 0) == metrics_files.merged(tmp_path)
    assert [] == caplog.messages


@contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """Ends what reads for ever."""
    signal.alarm(int(seconds))
    try:
        yield
    finally:
        signal.alarm(0)


def test_the_exposition_goes_on_beside_a_damaged_file(tmp_path: Path, start_worker: StartWorker) -> None:
    start_worker()
    no_metrics(tmp_path / "counter_12345.db")

    told = exposition()

    assert 'model_service_requests_total{call="predict",client="anonymous",model="churn",outcome="ok"} 2.0\n' in told
    assert "model_service_metrics_files_unreadable 1.0\n" in told
