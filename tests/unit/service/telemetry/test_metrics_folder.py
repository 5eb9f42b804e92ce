"""Servers that share a BENTOML_HOME keep their workers' metrics apart."""

import fcntl
import os
from pathlib import Path

import psutil
import pytest

from service.telemetry.metrics_folder import VARIABLE, use_own_folder


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that BentoML gives, and empties."""
    folder = tmp_path / "prometheus_multiproc_dir"
    folder.mkdir()
    monkeypatch.setenv(VARIABLE, str(folder))
    return folder


def named(pid: int) -> str:
    return f"{pid}-{Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[19]}"


def test_the_workers_of_a_server_have_a_folder_that_bentoml_does_not_empty(given: Path) -> None:
    use_own_folder()

    own = Path(os.environ[VARIABLE])
    assert own.is_dir()
    assert named(os.getppid()) == own.name
    assert not own.is_relative_to(given)


def test_a_worker_that_starts_after_the_clock_was_set_joins_its_siblings(
    given: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_own_folder()
    before = os.environ[VARIABLE]
    create_time = psutil.Process.create_time

    monkeypatch.setattr(psutil.Process, "create_time", lambda process: create_time(process) + 3600)
    monkeypatch.setenv(VARIABLE, str(given))
    use_own_folder()

    assert before == os.environ[VARIABLE]


def test_what_ended_servers_left_is_removed_and_what_living_ones_use_stays(given: Path) -> None:
    servers = given.parent / "metrics_of_servers"
    ended, surviving, living, foreign = (
        servers / name for name in (f"{os.getpid()}-1", f"{os.getpid()}-2", named(os.getpid()), "notes")
    )
    for folder in (ended, surviving, living, foreign):
        folder.mkdir(parents=True)
        (folder / "7.alive").touch()
    with (surviving / "7.alive").open("rb") as worker:
        fcntl.flock(worker, fcntl.LOCK_EX)
        use_own_folder()

    own = Path(os.environ[VARIABLE])
    assert {own, surviving, living, foreign} == set(servers.iterdir())


def test_where_no_folder_can_be_made_bentomls_stays(given: Path) -> None:
    (given.parent / "metrics_of_servers").touch()

    use_own_folder()

    assert str(given) == os.environ[VARIABLE]


def test_a_process_that_shares_no_metrics_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)

    use_own_folder()

    assert VARIABLE not in os.environ
