from typing import Any

from benchmarks.results import load
from benchmarks.simulations.drift_year import section

MEASURED: dict[str, Any] = {
    "measured_at": "2026-11-27T16:00:00+00:00",
    "git_commit": "abc",
    "shops": 10,
    "fewest_compared": 1872,
    "most_compared": 2580,
    "alpha": 0.05,
    "min_psi": 0.05,
    "alarms": {"training": {"reports": 120, "alarms": 6}, "promoted": {"reports": 110, "alarms": 0}},
    "planted": {"prices rise": {"reports": 40, "found": 30}},
}


def test_false_alarms_by_baseline_and_what_was_found_are_shown() -> None:
    text = section(MEASURED)

    assert "| nothing, baseline `training` | 120 | 6 (5.0%) |" in text
    assert "| nothing, baseline `promoted` | 110 | 0 (0.0%) |" in text
    assert "| prices rise | 40 | 30 (75%) |" in text


def test_nothing_measured_is_said() -> None:
    assert section(None) == "Not measured yet."


def test_false_alarms_are_at_most_the_nominal_rate() -> None:
    measured = load()["drift_year"]

    for said in measured["alarms"].values():
        assert said["alarms"] / said["reports"] <= measured["alpha"]
    assert all(said["found"] == said["reports"] for said in measured["planted"].values())
