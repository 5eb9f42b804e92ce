"""What a job can be asked for: anything else is one line that names it, and code 2."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from artefacts.addresses import PROJECT_ROOT
from artefacts.process.command_line import past_time
from jobs.__main__ import JOBS, main
from training.__main__ import main as training


@pytest.mark.parametrize("command", ["audit-skew", "compare-live", "drift", "publish-log"])
@pytest.mark.parametrize("until", ["2026-01-30", "2026-01-31T01:00:00+01:00"])
def test_a_time_that_ends_before_it_begins_is_refused_and_not_looked_for(
    command: str, until: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 2 == main([command, "--since", "2026-01-31", "--until", until])
    assert capsys.readouterr().err.startswith(
        "error: --since 2026-01-31T00:00:00+00:00 is not before --until 2026-01-3"
    )


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["drift", "--since", "yesterday"], "Invalid value for '--since': 'yesterday' is not an ISO date or time"),
        (["why", "--request", "r", "--row", "first"], "Invalid value for '--row': 'first' is not a valid integer"),
        (["why"], "Missing option '--request'"),
        (["features", "--engine", "polars"], "Invalid value for '--engine': 'polars' is not one of 'duckdb', 'spark'"),
        (["drifts"], "No such command 'drifts'"),
    ],
)
def test_a_wrong_argument_is_named_in_one_line_without_the_usage(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        main(arguments)

    said = capsys.readouterr().err
    assert said.startswith(f"error: {named}")
    assert 1 == said.count("\n")


@pytest.mark.parametrize(("said", "ago"), [("2d", timedelta(days=2)), ("36h", timedelta(hours=36))])
def test_a_time_may_be_said_as_how_long_ago(said: str, ago: timedelta) -> None:
    before, asked, after = datetime.now(UTC), past_time(said), datetime.now(UTC)

    assert before <= asked + ago <= after


@pytest.mark.parametrize("said", ["2", "d", "-2d", "2w", "123456d", "2 d"])
def test_an_age_that_is_none_is_refused(said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["audit-skew", f"--since={said}"])

    assert f"{said!r} is not an ISO date or time" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["audit-skew", "--sample", "0"], "--sample 0: expected at least 1 row"),
        (["why", "--request", ""], "--request is empty: make why REQUEST=<request_id of an answer>"),
        (["why", "--request", "r", "--row", "-1"], "--row -1: rows of a batch are numbered from 0"),
    ],
)
def test_a_value_out_of_range_ends_as_another_wrong_argument_does(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 2 == main(arguments)
    assert f"error: {said}\n" == capsys.readouterr().err


def test_a_misspelt_setting_is_warned_of_by_the_plane_whose_prefix_it_has(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("JOBS_DAILY_SNAPSHOT", "TRAINING_SEEED", "TRAINING_SEED"):
        monkeypatch.setenv(name, "3")

    assert 0 == main(["feast-env"])
    assert "warning: no settings of the jobs, see docs/settings.md: JOBS_DAILY_SNAPSHOT\n" == capsys.readouterr().err
    assert 1 == training(["check-contracts", "nowhere.json"])
    assert capsys.readouterr().err.startswith(
        "warning: no settings of training, see docs/settings.md: TRAINING_SEEED\n"
    )


@pytest.mark.parametrize("room", ["jobs", "training"])
@pytest.mark.parametrize("arguments", [["--help"], ["no-such-command"]])
def test_help_and_a_refused_argument_load_no_library_of_the_work(room: str, arguments: list[str]) -> None:
    asked = (
        f"import sys\nfrom {room}.__main__ import main\ntry:\n main({arguments})\nexcept SystemExit as end:\n"
        " slow = {'pandas', 'feast', 'duckdb', 'mlflow', 'bentoml', 'sklearn', 'pyarrow'} & set(sys.modules)\n"
        " sys.exit(f'{sorted(slow)}' if slow else end.code)"
    )
    done = subprocess.run([sys.executable, "-c", asked], cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)

    assert (0 if arguments == ["--help"] else 2) == done.returncode, done.stderr


def test_a_value_may_begin_with_a_dash_or_hold_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert "-x" == JOBS.commands["why"].make_context("why", ["--request=-x"]).params["request"]
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["--two\nlines\x1b[31m"])

    said = capsys.readouterr().err
    assert ("error: ", 1, False) == (said[:7], said.count("\n"), "\x1b" in said)


@pytest.mark.parametrize("help_option", ["-h", "--help"])
def test_help_tells_a_command_and_its_options(help_option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["why", help_option])

    said = capsys.readouterr().out
    assert said.startswith("Usage: python -m jobs why [OPTIONS]\n")
    assert "--request" in said


def test_of_an_option_that_is_given_twice_the_last_counts() -> None:
    """The chart gives `--since 2d`, and its values may give another."""
    command = JOBS.commands["audit-skew"]

    with command.make_context("audit-skew", ["--since", "2d", "--since", "2026-01-31"]) as context:
        assert datetime(2026, 1, 31, tzinfo=UTC) == context.params["since"]
