"""What a job can be asked for: anything else is one line that names it, and code 2."""

import pytest

from jobs.__main__ import main
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
        (["drift", "--since", "yesterday"], "argument --since: 'yesterday' is not an ISO date or time"),
        (["why", "--request", "r", "--row", "first"], "argument --row: invalid int value: 'first'"),
        (["why"], "the following arguments are required: --request"),
        (["features", "--engine", "polars"], "argument --engine: invalid choice: 'polars'"),
        (["drifts"], "argument command: invalid choice: 'drifts'"),
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
    assert "warning: no settings of the jobs, see README.md: JOBS_DAILY_SNAPSHOT\n" == capsys.readouterr().err
    assert 1 == training(["check-contracts", "nowhere.json"])
    assert capsys.readouterr().err.startswith("warning: no settings of training, see README.md: TRAINING_SEEED\n")
