"""When the jobs of compose are due, and that what they call exists."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deploy.jobs.schedule import FIRST, JOBS, Job, run, there
from jobs.__main__ import JOBS as JOBS_COMMANDS
from service.settings import ServiceSettings
from training.__main__ import TRAINING
from training.settings import TrainingSettings


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("job", "now", "due"),
    [
        (Job("hourly", (), minute=45), "2026-01-31T23:44:59", "2026-01-31T23:45:00"),
        (Job("hourly", (), minute=45), "2026-01-31T23:45:00", "2026-02-01T00:45:00"),
        (Job("daily", (), minute=15, hour=0), "2026-01-31T00:15:00.5", "2026-02-01T00:15:00"),
        (Job("weekly", (), minute=30, hour=4, weekday=6), "2026-02-01T04:29:00", "2026-02-01T04:30:00"),
        (Job("weekly", (), minute=30, hour=4, weekday=6), "2026-02-01T04:30:00", "2026-02-08T04:30:00"),
    ],
)
def test_a_job_is_due_at_the_next_of_its_times(job: Job, now: str, due: str) -> None:
    assert at(due) == job.next_after(at(now))


def test_every_command_is_one_of_jobs_or_training() -> None:
    rooms = {"jobs": JOBS_COMMANDS, "training": TRAINING}
    for room, name, *arguments in [*FIRST, *(command for job in JOBS for command in job.commands)]:
        command = rooms[room].commands[name]
        assert name == command.make_context(name, list(arguments)).info_name


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ((), ["data", "apply", "features", "materialize", "train"]),  # the shipped feature repository and its orders
        (("feature_repo/feature_store.yaml",), ["apply", "materialize", "train"]),
        (("feature_repo/feature_store.yaml", "data.py"), ["data", "apply", "materialize", "train"]),
        (("feature_repo/feature_store.yaml", "features.py"), ["apply", "features", "materialize", "train"]),
    ],
)
def test_steps_that_the_use_case_does_not_have_are_left_out(
    tmp_path: Path, files: tuple[str, ...], left: list[str]
) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()

    assert left == [name for _, name, *_ in there(FIRST, tmp_path)]


def test_only_the_shipped_orders_follow_the_days(tmp_path: Path) -> None:
    (job,) = [job for job in JOBS if job.name == "features"]
    (tmp_path / "feature_repo").mkdir()

    assert ("training", "data", "--follow-today") in there(job.commands, Path("training/churn"))
    assert [("jobs", "apply")] == there(job.commands, tmp_path)


def test_data_of_a_use_case_s_own_are_asked_whether_they_follow_the_days(tmp_path: Path) -> None:
    (job,) = [job for job in JOBS if job.name == "features"]
    (tmp_path / "feature_repo").mkdir()
    (tmp_path / "data.py").touch()

    assert [("training", "data", "--follow-today"), ("jobs", "apply")] == there(job.commands, tmp_path)


def test_a_use_case_that_uses_another_s_features_fetches_and_builds_as_that_one_does(tmp_path: Path) -> None:
    other, own = tmp_path / "other", tmp_path / "own"
    (other / "feature_repo").mkdir(parents=True)
    (other / "features.py").touch()
    own.mkdir()
    (own / "features_of").write_text(f"{other}\n")

    assert ["apply", "features", "materialize", "train"] == [name for _, name, *_ in there(FIRST, own)]


def test_what_follows_a_command_that_failed_does_not_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert 1 == run("both", (("no_such_module",), ("this",)))

    said = capsys.readouterr().out
    assert "both: no_such_module: exit code 1" in said
    assert "both: this" not in said


def test_the_log_is_kept_until_its_answers_have_labels_which_are_made_and_judged() -> None:
    label_days = TrainingSettings().label_days
    weeks_to_judge = timedelta(days=ServiceSettings.model_fields["inference_log_days"].default - label_days)

    assert weeks_to_judge > timedelta(days=7)
    (job,) = [job for job in JOBS if job.name == "live-quality"]
    labels, judged = job.commands[-2:]
    assert labels[:2] == ("jobs", "labels")
    assert labels[labels.index("--out") + 1] == judged[judged.index("--labels") + 1]
