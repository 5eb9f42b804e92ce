"""What is recorded of materializations, and what Prometheus is told of the last ones."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jobs.errors import JobError
from jobs.materialization.run_records import Outcome, RunRecord, ViewRecord
from tests.servers.serving import samples

METRICS_FILE = "materialize.prom"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SNAPSHOT = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def run(outcome: Outcome, code: int, started: datetime, written: int = 0, project: str = "shop") -> RunRecord:
    views = [ViewRecord("customer_lifetime", written=written)]
    record = RunRecord(started, started, outcome=outcome, exit_code=code, seconds=30, views=views)
    record.project, record.newest_snapshot = project, SNAPSHOT.isoformat()
    return record


def told(folder: Path, name: str, project: str = "shop") -> list[float]:
    return samples((folder / METRICS_FILE).read_text(), f"model_jobs_materialize_{name}", project=project)


def test_a_run_that_did_everything_is_the_last_and_the_last_success(tmp_path: Path) -> None:
    run("done", 0, NOON, written=7).append_to(tmp_path / "runs.jsonl")

    ended = NOON.timestamp() + 30
    assert [ended] == told(tmp_path, "last_run_timestamp_seconds") == told(tmp_path, "last_success_timestamp_seconds")
    assert [30] == told(tmp_path, "last_run_seconds")
    assert [0] == told(tmp_path, "last_exit_code")
    assert [7] == samples(
        (tmp_path / METRICS_FILE).read_text(),
        "model_jobs_materialize_written_rows",
        project="shop",
        view="customer_lifetime",
    )
    assert [SNAPSHOT.timestamp()] == told(tmp_path, "newest_snapshot_timestamp_seconds")


def test_a_failure_does_not_hide_when_the_last_success_was(tmp_path: Path) -> None:
    run("done", 0, NOON).append_to(tmp_path / "runs.jsonl")
    run("partly", 4, NOON + HOUR).append_to(tmp_path / "runs.jsonl")
    run("failed", 1, NOON + 2 * HOUR).append_to(tmp_path / "runs.jsonl")

    assert [1] == told(tmp_path, "last_exit_code")
    assert [NOON.timestamp() + 7230] == told(tmp_path, "last_run_timestamp_seconds")
    assert [NOON.timestamp() + 30] == told(tmp_path, "last_success_timestamp_seconds")


def test_a_run_that_did_not_open_the_store_counts_for_the_project_of_the_run_before(tmp_path: Path) -> None:
    run("done", 0, NOON).append_to(tmp_path / "runs.jsonl")
    RunRecord(NOON + HOUR, NOON, exit_code=1).append_to(tmp_path / "runs.jsonl")

    assert [1] == told(tmp_path, "last_exit_code")
    assert [NOON.timestamp() + 30] == told(tmp_path, "last_success_timestamp_seconds")


def test_projects_that_share_the_file_are_told_apart(tmp_path: Path) -> None:
    records = tmp_path / "runs.jsonl"
    run("done", 0, NOON, project="shop").append_to(records)
    run("failed", 1, NOON + HOUR, project="household").append_to(records)

    assert [0] == told(tmp_path, "last_exit_code")
    assert [NOON.timestamp() + 30] == told(tmp_path, "last_success_timestamp_seconds")
    assert [1] == told(tmp_path, "last_exit_code", project="household")
    assert [] == told(tmp_path, "last_success_timestamp_seconds", project="household")


def test_runs_that_did_not_open_the_store_before_any_that_did_are_no_project_of_their_own(tmp_path: Path) -> None:
    RunRecord(NOON, NOON, exit_code=1).append_to(tmp_path / "runs.jsonl")
    run("done", 0, NOON + HOUR).append_to(tmp_path / "runs.jsonl")

    assert [0] == told(tmp_path, "last_exit_code")
    assert [] == told(tmp_path, "last_exit_code", project="")


def test_where_nothing_ever_succeeded_no_success_is_told(tmp_path: Path) -> None:
    run("failed", 1, NOON).append_to(tmp_path / "runs.jsonl")

    assert [1] == told(tmp_path, "last_exit_code")
    assert [] == told(tmp_path, "last_success_timestamp_seconds")


def test_a_run_that_found_another_at_work_changes_nothing(tmp_path: Path) -> None:
    run("done", 0, NOON).append_to(tmp_path / "runs.jsonl")
    before = (tmp_path / METRICS_FILE).read_text()

    run("locked", 3, NOON + HOUR).append_to(tmp_path / "runs.jsonl")

    assert before == (tmp_path / METRICS_FILE).read_text()


def test_a_line_that_a_crash_cut_off_is_passed_over(tmp_path: Path) -> None:
    run("done", 0, NOON).append_to(tmp_path / "runs.jsonl")
    with (tmp_path / "runs.jsonl").open("a") as records:
        records.write('{"started": "2026-03-\n')
    run("failed", 1, NOON + HOUR).append_to(tmp_path / "runs.jsonl")

    assert [1] == told(tmp_path, "last_exit_code")
    assert [NOON.timestamp() + 30] == told(tmp_path, "last_success_timestamp_seconds")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(JobError, match=r"file/runs.jsonl: the run cannot be recorded"):
        run("done", 0, NOON).append_to(tmp_path / "file" / "runs.jsonl")
