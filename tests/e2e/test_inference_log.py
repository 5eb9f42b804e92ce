"""From an answer over HTTP to why it was given, with nothing but its request id."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from artefacts.log_rows import FIXED_COLUMNS, log_files
from scoring.inference_log import read_log
from tests.e2e.test_workers import workers
from tests.loop import Loop, make
from tests.servers.serving import Service, serving, wait_until


@dataclass(frozen=True)
class Logging:
    """A service that logs, and the commands that read its log."""

    service: Service
    loop: Loop
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        home = str(self.service.log.parent / "bentoml")
        return {**self.loop.environment, "BENTOML_HOME": home, "INFERENCE_LOG_DIR": str(self.folder)}

    def ask(self, path: str, request_id: str, **body: object) -> dict[str, Any]:
        answered: dict[str, Any] = self.service.call("POST", path, body, {"X-Request-ID": request_id}).body
        return answered

    def rows(self) -> list[dict[str, Any]]:
        tables = [FIXED_COLUMNS.empty_table(), *map(read_log, log_files(self.folder))]
        rows: list[dict[str, Any]] = pa.concat_tables(tables, promote_options="default").to_pylist()
        return rows

    def holds(self, request_ids: list[str]) -> bool:
        """Whether all of these have been flushed."""
        return set(request_ids) <= {row["request_id"] for row in self.rows()}


def _key(row: dict[str, Any]) -> tuple[str, int]:
    return row["request_id"], row["row"]


@pytest.fixture(scope="module")
def logging(loop: Loop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logging]:
    folder = tmp_path_factory.mktemp("logging")
    where = {"SERVICE_INFERENCE_LOG": "true", "INFERENCE_LOG_DIR": str(folder / "log")}
    with serving(loop, folder, **where) as service:
        yield Logging(service, loop, folder / "log")


def test_every_answered_row_is_in_the_log_with_what_it_was_answered(logging: Logging) -> None:
    one = logging.ask("/predict", "single", customer_id="00042")
    logging.ask("/predict", "unknown", customer_id="nobody")
    overridden = logging.ask(
        "/predict", "override", customer_id="00042", features={"customer_lifetime__order_count": 90}
    )
    batch = logging.ask("/predict_batch", "batch", customer_ids=["00001", "nobody", "00002", "00001"])["predictions"]
    asked = ["single", "unknown", "override", "batch"]
    wait_until(lambda: logging.holds(asked))

    found = {_key(row): row for row in logging.rows() if row["request_id"] in asked}
    assert {("single", 0), ("unknown", 0), ("override", 0), *(("batch", n) for n in range(4))} == set(found)
    answered = [("single", 0, one), ("override", 0, overridden), *(("batch", n, row) for n, row in enumerate(batch))]
    for request_id, row, body in answered:
        logged = found[request_id, row]
        for member in ("customer_id", "churn_probability", "churn", "status"):
            assert body[member] == logged[member]
    assert "unknown_customer" == found["unknown", 0]["status"]
    assert "overridden" in found["override", 0]["states"]


def test_make_why_rebuilds_the_decision(logging: Logging) -> None:
    answer = logging.ask("/predict", "why-me", customer_id="00042")
    wait_until(lambda: logging.holds(["why-me"]))

    told = make(logging.loop.root, logging.environment, "why", "REQUEST=why-me")

    assert 0 == told.returncode, told.stderr
    assert f"probability {answer['churn_probability']!r}" in told.stdout
    assert "no explanation" not in told.stdout
    missing = make(logging.loop.root, logging.environment, "why", "REQUEST=not-there")
    assert missing.returncode
    assert "error: " in missing.stderr


def test_a_worker_that_is_killed_loses_no_row_that_was_flushed_and_the_next_completes_its_file(
    logging: Logging,
) -> None:
    asked = [f"killed-{n}" for n in range(30)]
    for request_id in asked:
        logging.ask("/predict", request_id, customer_id="00042")
    wait_until(lambda: logging.holds(asked))
    (killed,) = workers(logging.service)
    before = logging.rows()

    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: workers(logging.service) - {killed} != set(), 60)
    wait_until(lambda: logging.service.health() == (200, 200), 60)
    wait_until(lambda: {".parquet"} == {file.suffix for file in log_files(logging.folder)})

    assert sorted(map(_key, before)) == sorted(map(_key, logging.rows()))
    logging.ask("/predict", "after", customer_id="00042")
    wait_until(lambda: logging.holds(["after"]))


def test_the_log_is_published_for_feast(logging: Logging) -> None:
    logging.ask("/predict", "to-publish", customer_id="00042")
    wait_until(lambda: logging.holds(["to-publish"]))

    said = make(logging.loop.root, logging.environment, "publish-log")

    assert 0 == said.returncode, said.stderr
    assert "rows published" in said.stdout
