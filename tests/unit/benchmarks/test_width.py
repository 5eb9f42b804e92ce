"""Figures and targets of reading many features."""

from benchmarks.online.targets import width_verdicts
from benchmarks.online.width import figures
from benchmarks.online.width_report import width_section
from tests.unit.benchmarks.test_report import ABOUT

ROUNDS = [{"ours": 100.0, "sdk": 1500.0, "limit": 50.0}, {"ours": 200.0, "sdk": 2400.0, "limit": 50.0}]


def cases() -> list[dict[str, object]]:
    return [
        {"inputs": 200, "views": views, "rows": rows, **figures(ROUNDS, 200 * rows)}
        for views in (1, 5, 10)
        for rows in (1, 100)
    ]


def test_ratios_are_taken_within_each_round() -> None:
    found = figures(ROUNDS, features=200)

    assert {"median": 13.5, "low": 12.0, "high": 15.0} == found["sdk_over_ours"]
    assert {"median": 3.0, "low": 2.0, "high": 4.0} == found["ours_over_limit"]
    assert {"median": 750.0, "low": 500.0, "high": 1000.0} == found["ours_ns_per_feature"]


def test_two_hundred_features_are_held_against_the_sdk() -> None:
    found = width_verdicts(cases())

    assert [True] * 6 == [target["met"] for target in found]
    assert "200 inputs over 1 view, 1 entity: SDK ÷ ours" == found[0]["name"]


def test_the_page_shows_every_case() -> None:
    settings = {"rounds": 2, "block_seconds": 0.1}
    section = width_section({**ABOUT, "settings": settings, "cases": cases(), "targets": width_verdicts(cases())})

    assert "| 200 / 10 / 100 | 150 | 1,950 | 50 | 8 | 13.5 [12.0–15.0] | 3.0 [2.0–4.0] |" in section


def test_the_page_says_where_nothing_was_measured() -> None:
    assert "Not measured yet." in width_section(None)
