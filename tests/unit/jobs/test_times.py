"""Which times a job can be asked for."""

import pytest

from jobs.__main__ import main


@pytest.mark.parametrize("command", ["audit-skew", "compare-live", "drift", "publish-log"])
@pytest.mark.parametrize("until", ["2026-01-30", "2026-01-31T01:00:00+01:00"])
def test_a_time_that_ends_before_it_begins_is_refused_and_not_looked_for(
    command: str, until: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 1 == main([command, "--since", "2026-01-31", "--until", until])
    assert capsys.readouterr().err.startswith(
        "error: --since 2026-01-31T00:00:00+00:00 is not before --until 2026-01-3"
    )
