from typing import Any

import pytest

from benchmarks.online.soak import growth_figures
from benchmarks.online.targets import verdicts
from benchmarks.report import PAGE, page
from benchmarks.results import JOBS_FILE, RESULTS, load, load_all, store
from benchmarks.summaries import of_rounds
from tests.unit.benchmarks.test_targets import measured, soak_windows

ABOUT: dict[str, Any] = {
    "measured_at": "2026-01-31T12:00:00+00:00",
    "git_commit": "0123456789ab",
    "machine": {
        "processor": "Abacus",
        "cores": 2,
        "memory_gb": 8.0,
        "system": "Linux 6",
        "load_average_before": 0.1,
    },
    "versions": {"python": "3.11.7"},
}


def online(rounds: int = 3) -> dict[str, Any]:
    def rounds_of(per_second: float) -> dict[str, Any]:
        given = [
            {**measured(per_second + number, 1.5, 3.25), "generator_busy": 0.1, "sent_late_p99_ms": 0.2}
            for number in range(rounds)
        ]
        return of_rounds(given)

    peers = {
        "ours": {
            "title": "this service",
            "what": "ours",
            "no_batch": "",
            "scenarios": {"single_32": rounds_of(5000), "batch_100_1": rounds_of(600)},
        },
        "P0": {"title": "plain", "what": "theirs", "no_batch": "", "scenarios": {"single_32": rounds_of(200)}},
        "F": {
            "title": "no-op",
            "what": "nothing",
            "no_batch": "nothing to do",
            "scenarios": {"single_32": rounds_of(2000)},
        },
    }
    return {
        **ABOUT,
        "model": "churn:v1",
        "customers": 23570,
        "cores": {"server": 0, "load": 1, "redis_pinned": True},
        "settings": {"seconds": 2.0, "warm_up_seconds": 0.5, "rounds": rounds, "seed": 17},
        "peers": peers,
        "targets": verdicts(peers),
    }


def test_nothing_measured_is_said_and_how_to_measure_it() -> None:
    text = page({})

    assert text.count("Not measured yet.") == 7
    assert "make bench" in text
    assert "make soak" in text
    assert "make bench-jobs" in text


def test_a_target_is_shown_with_its_limit_its_spread_and_its_verdict() -> None:
    text = page({"online": online()})

    assert "| 32 connections, requests/s: ours ÷ P0 | ≥ 10 × | 24.88 × [24.76–25.00] | met |" in text
    assert "| 32 connections, requests/s: ours ÷ F | ≥ 0.8 × | 2.50 × [2.50–2.50] | met |" in text
    assert "| half of capacity, fixed rate: p99 of ours | ≤ 10 ms | – | not measured |" in text


def test_a_target_that_was_missed_stands_out() -> None:
    document = online()
    for target in document["targets"]:
        target["met"] = False

    assert "**not met**" in page({"online": document})


def test_a_peer_without_a_batch_call_says_why() -> None:
    text = page({"online": online()})

    assert "| F | n/a: nothing to do |" in text
    assert "| P0 | n/a: not measured |" in text


def test_the_page_says_on_what_it_was_measured() -> None:
    text = page({"online": online()})

    assert "commit `0123456789ab`; Abacus, 2 cores, 8.0 GB" in text.replace("\n", " ")
    assert "23,570 real customers" in text
    assert "the load generator and Redis core 1" in text.replace("\n", " ")


def test_errors_are_shown_with_the_first_of_them() -> None:
    document = online()
    failing = document["peers"]["P0"]["scenarios"]["single_32"]
    failing["errors"] = 2
    failing["rounds"][1] = {**failing["rounds"][1], "errors": 2, "first_error": "503 busy"}

    assert "P0, single ids, 32 connections: 2 errors, the first: `503 busy`." in page({"online": document})


def test_a_generator_that_was_the_limit_is_named() -> None:
    document = online()
    document["peers"]["ours"]["scenarios"]["single_32"]["rounds"][0]["generator_busy"] = 0.95

    assert "The load generator was the limit of: ours, single ids, 32 connections." in page({"online": document})


def test_the_soak_shows_its_windows_and_its_verdicts() -> None:
    windows = soak_windows(grows_mb=7.7)

    text = page({"soak": {**ABOUT, "connections": 32, "windows": windows, **growth_figures(windows)}})

    assert "200,000 single requests over 32 connections" in text
    assert "| memory per 10,000 requests after the warm-up | ≤ 1 MB | 7.70 MB | **not met** |" in text
    assert "| 10,000 | 300.0 | 2,000 | 5.00 | 10.00 | 0 |" in text


def test_the_breakdown_puts_what_is_left_over_last() -> None:
    wire = {"requests_per_second": 2000.0, "server_cpu_ms": 0.2}
    single = {"case": "one", "stages_us": {"parse": 5.0, "redis": 100.0, "rest": 9.5}}
    many = {"case": "many", "stages_us": {"parse": 2.0, "on demand": 3.0, "rest": 40.0}}
    totals = {"instrumented_us": 115.0, "total_us": 110.0, "cpu_us": 60.0}
    found = {
        **ABOUT,
        "in_process": [{**single, **totals}, {**many, **totals}],
        "wire": {"one": wire, "many": wire},
    }

    lines = page({"breakdown": found}).splitlines()

    at = lines.index("| stage | one | many |")
    assert lines[at + 2 : at + 6] == [
        "| parse | 5.0 | 2.0 |",
        "| redis | 100.0 | – |",
        "| on demand | – | 3.0 |",
        "| rest | 9.5 | 40.0 |",
    ]
    assert "| the same over HTTP | 500.0 | 500.0 |" in lines


def test_each_section_of_the_results_is_replaced_alone(tmp_path: Any) -> None:
    file = tmp_path / "online.json"

    store(file, "online", {"value": 1 / 3})
    store(file, "soak", {"value": [123456.789]})
    store(file, "online", {"value": 2})

    assert load(file) == {"online": {"value": 2}, "soak": {"value": [123460.0]}}
    assert load(tmp_path / "absent.json") == {}


def test_the_results_of_the_jobs_are_in_a_file_of_their_own(tmp_path: Any) -> None:
    file = tmp_path / "online.json"

    store(file, "online", {"value": 1})
    store(file.with_name(JOBS_FILE), "jobs", {"value": 2})

    assert load(file) == {"online": {"value": 1}}
    assert load_all(file) == {"online": {"value": 1}, "jobs": {"value": 2}}


@pytest.mark.skipif(not RESULTS.exists(), reason="nothing measured yet")
def test_the_page_in_the_repository_is_what_the_results_say() -> None:
    assert page(load_all(RESULTS)) == PAGE.read_text()
