"""Measures what categories, nulls and integer keys cost: households' model beside churn's, and the plain stack.

All run in turn on the same machine; each has its own data, in the same Redis.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from artefacts.addresses import DEFAULT_USE_CASE, Artefacts
from benchmarks.markdown import NOT_MEASURED, machine, prose, table, verdicts, with_spread
from benchmarks.online.peers import Peer, all_peers
from benchmarks.online.peers_compared import SEED, Bench, bench, check_answers, figures_of
from benchmarks.online.targets import types_verdicts
from benchmarks.online.workload import Workload
from benchmarks.results import store
from benchmarks.summaries import of_rounds

HOUSEHOLDS = "use_cases/household_spend"
_SCENARIOS = {
    "single_1": (1, 1, "p50_ms", 2, "1 connection, p50 ms"),
    "single_32": (1, 32, "requests_per_second", 0, "32 connections, requests/s"),
    "batch_100_1": (100, 1, "requests_per_second", 0, "batches of 100, requests/s"),
}
"""Name → rows, connections, and the figure in the table: name, digits, title."""
_WARM_UP_SECONDS = 0.5


def run(seconds: float, rounds: int, output: Path) -> None:
    """Measure and write the results."""
    started = time.monotonic()
    with bench(_artefacts(str(DEFAULT_USE_CASE))) as (churn, about):
        households = _of_households(churn)
        contenders = {
            "churn": (churn, all_peers(churn.workload)["ours"]),
            "households": (households, all_peers(households.workload)["ours"]),
            "plain": (households, all_peers(households.workload)["P0"]),
        }
        measured: dict[str, dict[str, list[dict[str, Any]]]] = {name: {} for name in contenders}
        for number in range(rounds):
            for name, (ready, peer) in contenders.items():
                for scenario, figures in _measure(ready, peer, seconds).items():
                    measured[name].setdefault(scenario, []).append(figures)
                    rate, p50 = figures["requests_per_second"], figures["p50_ms"]
                    print(f"round {number + 1}/{rounds}: {name:10} {scenario:12} {rate:>9,.0f}/s, p50 {p50:.2f} ms")
        document = {
            name: {
                "what": f"{peer.title}, {_described(ready.workload)}",
                "model": ready.workload.model_tag,
                "scenarios": {scenario: of_rounds(found) for scenario, found in measured[name].items()},
            }
            for name, (ready, peer) in contenders.items()
        }
    content = {
        **about,
        "settings": {"seconds": seconds, "warm_up_seconds": _WARM_UP_SECONDS, "rounds": rounds},
        "took_seconds": round(time.monotonic() - started),
        "contenders": document,
        "targets": types_verdicts(document),
    }
    store(output, "types", content)


def types_section(found: Mapping[str, Any] | None) -> str:
    """The section of docs/performance.md."""
    title = "## Categories and nulls\n"
    if found is None:
        return f"{title}\n{NOT_MEASURED}\n"
    settings = found["settings"]
    rows = [
        (
            name,
            each["what"],
            *(with_spread(each["scenarios"][s][figure], digits) for s, (*_, figure, digits, _) in _SCENARIOS.items()),
        )
        for name, each in found["contenders"].items()
    ]
    heads = ("", "", *(head for *_, head in _SCENARIOS.values()))
    return "\n".join(
        [
            title,
            prose(
                f"`python -m benchmarks types`, once `make run` has imported both use cases: a model with categories, "
                f"kept nulls, an age and whole numbers as keys beside churn's numeric one; {settings['rounds']} rounds "
                f"of {settings['seconds']:g} s, one server at a time."
            ),
            verdicts(found["targets"]),
            table(heads, rows, left=2),
            machine(found),
        ]
    )


def _described(workload: Workload) -> str:
    return f"{workload.contract.model_name}, {len(workload.contract.inputs)} inputs"


def _artefacts(use_case: str) -> Artefacts:
    return Artefacts.of({**os.environ, "USE_CASE": use_case})


def _of_households(churn: Bench) -> Bench:
    artefacts = _artefacts(HOUSEHOLDS)
    workload = Workload.read(artefacts, SEED, time.time_ns() // 1000)
    return replace(
        churn, workload=workload, environment=workload.environment(artefacts, Path(churn.environment["BENTOML_HOME"]))
    )


def _measure(ready: Bench, peer: Peer, seconds: float) -> dict[str, dict[str, Any]]:
    found = {}
    with ready.serving(peer) as server:
        check_answers(ready.workload, peer, server)
        for name, (rows, connections, *_) in _SCENARIOS.items():
            call = peer.single if rows == 1 else peer.batch or peer.single
            plan = ready.plan(server, call, rows, connections, seconds, _WARM_UP_SECONDS)
            found[name] = figures_of(ready, server, plan, rows)
    return found
