"""A training that somebody stops is killed in MLflow, too, at once or at the next training."""

import os
import signal
import subprocess
from collections.abc import Callable

import pytest
from mlflow.tracking import MlflowClient

from tests.integration.training.conftest import NAME, Registry
from training.tracking import run_log
from training.tracking.stopped_runs import own_process


def interrupt() -> None:
    raise KeyboardInterrupt  # as Ctrl-C does


def terminate() -> None:
    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL  # which would end the tests
    signal.raise_signal(signal.SIGTERM)


def fail() -> None:
    raise ValueError("no")


def newest(client: MlflowClient) -> list[str]:
    """Statuses of the last training and its candidate."""
    found = client.get_experiment_by_name(NAME)
    assert found is not None
    runs = client.search_runs([found.experiment_id], order_by=["attributes.start_time DESC"], max_results=2)
    return [str(run.info.status) for run in runs]


@pytest.mark.parametrize(
    ("end", "raised", "status"),
    [(interrupt, KeyboardInterrupt, "KILLED"), (terminate, SystemExit, "KILLED"), (fail, ValueError, "FAILED")],
)
def test_a_run_ends_as_its_training_does(
    models: Registry, end: Callable[[], None], raised: type[BaseException], status: str
) -> None:
    client, before = models.opened.client, signal.getsignal(signal.SIGTERM)

    with pytest.raises(raised) as stopped, run_log.new_run(client, NAME), run_log.candidate_run(client, "logistic"):
        end()

    assert [status, status] == newest(client)
    assert before is signal.getsignal(signal.SIGTERM)
    assert raised is not SystemExit or (128 + signal.SIGTERM,) == stopped.value.args


def test_runs_whose_process_is_gone_are_killed_by_the_next_training_and_no_others(models: Registry) -> None:
    client = models.opened.client
    ((name, process),) = own_process().items()
    place, number, start = process.split(" ")
    assert str(os.getpid()) == number
    ended = subprocess.Popen(["true"])
    ended.wait()
    tags = {
        "gone": {name: f"{place} {ended.pid} {start}"},
        "its id is another's now": {name: f"{place} {number} {int(start) - 1}"},
        "runs": own_process(),
        "is elsewhere": {name: f"somebody@{place} {ended.pid} {start}"},
        "is not ours": {"mlflow.user": "somebody"},
    }
    experiment = client.get_experiment_by_name(NAME)
    assert experiment is not None
    made = {whose: client.create_run(experiment.experiment_id, tags=each).info.run_id for whose, each in tags.items()}

    with run_log.new_run(client, NAME):
        statuses = {whose: client.get_run(run_id).info.status for whose, run_id in made.items()}

    assert {
        "gone": "KILLED",
        "its id is another's now": "KILLED",
        "runs": "RUNNING",
        "is elsewhere": "RUNNING",
        "is not ours": "RUNNING",
    } == statuses
