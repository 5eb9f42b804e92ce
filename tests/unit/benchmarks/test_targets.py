from typing import Any

from benchmarks.online.soak import growth_figures
from benchmarks.online.targets import TARGETS, verdicts
from benchmarks.summaries import of_rounds


def measured(per_second: float, p50: float, p99: float | None) -> dict[str, Any]:
    return {
        "requests_per_second": per_second,
        "predictions_per_second": per_second,
        "p50_ms": p50,
        "p90_ms": p50,
        "p99_ms": p99,
        "server_cpu_ms": 1.0,
        "errors": 0,
    }


def peers(**rounds_of: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: {"scenarios": {"single_32": of_rounds(rounds)}} for name, rounds in rounds_of.items()}


def verdict(found: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(target for target in found if target["name"] == name)


OVER_P0 = "32 connections, requests/s: ours ÷ P0"


def test_a_ratio_compares_what_was_measured_in_the_same_round() -> None:
    # Round two ran on a machine half as fast: both peers suffer, the ratio does not.
    ours = [measured(2400, 1, 2), measured(1200, 1, 2), measured(2400, 1, 2)]
    plain = [measured(200, 1, 2), measured(100, 1, 2), measured(200, 1, 2)]

    found = verdict(verdicts(peers(ours=ours, P0=plain)), OVER_P0)

    assert (found["median"], found["low"], found["high"], found["met"]) == (12.0, 12.0, 12.0, True)


def test_a_target_missed_says_so() -> None:
    found = verdict(verdicts(peers(ours=[measured(999, 1, 2)], P0=[measured(100, 1, 2)])), OVER_P0)

    assert found["median"] == 9.99
    assert not found["met"]


def test_what_was_not_measured_is_neither_met_nor_a_number() -> None:
    found = verdicts(peers(ours=[measured(999, 1, 2)]))

    assert len(found) == len(TARGETS)
    assert all(target["median"] is None and not target["met"] for target in found)


def test_a_ratio_is_not_taken_from_half_of_the_rounds() -> None:
    ours = [measured(2000, 1, 2), measured(2000, 1, 2)]

    found = verdict(verdicts(peers(ours=ours, P0=[measured(100, 1, 2)])), OVER_P0)

    assert found["median"] is None


def soak_windows(grows_mb: float, slower: float = 1.0) -> list[dict[str, Any]]:
    return [
        {
            "requests_so_far": (number + 1) * 10_000,
            "rss_mb": 300 + grows_mb * number,
            **measured(2000, 5.0, 10.0 * (slower if number >= 16 else 1.0)),
        }
        for number in range(20)
    ]


def test_a_soak_that_neither_grows_nor_slows_meets_its_targets() -> None:
    found = growth_figures(soak_windows(grows_mb=0.2))

    assert round(found["mb_per_10000"], 6) == 0.2
    assert all(target["met"] for target in found["targets"])


def test_growth_in_the_warm_up_does_not_count() -> None:
    windows = soak_windows(grows_mb=0)
    windows[0]["rss_mb"] = 100

    assert abs(growth_figures(windows)["mb_per_10000"]) < 1e-9


def test_a_leak_and_growing_latency_are_seen() -> None:
    memory, _, p99 = growth_figures(soak_windows(grows_mb=7.7, slower=2.0))["targets"]

    assert not memory["met"]
    assert not p99["met"]
