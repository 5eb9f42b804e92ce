from typing import Any

from benchmarks.simulations.drift_power import section

MEASURED: dict[str, Any] = {
    "measured_at": "2026-11-21T16:00:00+00:00",
    "git_commit": "abc",
    "sizes": [500, 2000],
    "columns": 28,
    "alpha": 0.05,
    "min_psi": 0.05,
    "resamples": 500,
    "planted_resamples": 200,
    "false_alarms": [0.03, 0.0],
    "power": [{"planted": "missing in 5% of the rows", "found": [0.46, 1.0]}],
}


def test_false_alarms_and_power_are_shown_by_number_of_customers() -> None:
    text = section(MEASURED)

    assert "|  | 500 customers | 2,000 customers |" in text
    assert "| nothing, any column (false alarms) | 3.0% | 0.0% |" in text
    assert "| missing in 5% of the rows | 46% | 100% |" in text


def test_nothing_measured_is_said() -> None:
    assert section(None) == "Not measured yet."
