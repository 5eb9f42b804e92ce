"""Sends many requests through one worker, to measure growth of memory and latency."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from artefacts.addresses import Artefacts
from benchmarks.online.peers import all_peers
from benchmarks.online.peers_compared import bench, figures_of
from benchmarks.online.servers import ServerError
from benchmarks.online.targets import soak_verdicts
from benchmarks.results import store
from benchmarks.summaries import slope

WINDOW = 10_000
CONNECTIONS = 32
WARM_UP_SHARE = 0.2
"""Share of the windows; allocators and caches fill first."""


def run(requests: int, output: Path) -> None:
    """Measure and write the results.

    Raises:
        ServerError: a window got no answers.
        ValueError: too few requests.
    """
    if requests < 5 * WINDOW:
        raise ValueError(f"{requests:,} requests tell nothing; {5 * WINDOW:,} or more do")
    windows: list[dict[str, Any]] = []
    with bench(Artefacts.of(os.environ)) as (ready, about):
        ours = all_peers(ready.workload)["ours"]
        with ready.serving(ours) as server:
            endless = ready.plan(server, ours.single, 1, CONNECTIONS, seconds=0, warm_up=0)
            plan = replace(endless, count=WINDOW, most_seconds=120.0)
            for number in range(requests // WINDOW):
                figures = figures_of(ready, server, plan, 1)
                if figures["p99_ms"] is None:
                    raise ServerError(
                        f"ours gave too few good answers; the first bad one: {figures.get('first_error')}"
                    )
                memory = server.worker().memory_info().rss / 1e6
                windows.append({"requests_so_far": (number + 1) * WINDOW, "rss_mb": memory, **figures})
                latency = f"p50 {figures['p50_ms']:.2f} ms, p99 {figures['p99_ms']:.2f} ms"
                print(f"  {(number + 1) * WINDOW:>9,} requests: {memory:.1f} MB, {latency}", flush=True)
    store(output, "soak", {**about, "connections": CONNECTIONS, "windows": windows, **growth_figures(windows)})


def growth_figures(windows: list[dict[str, Any]]) -> dict[str, Any]:
    """Growth of memory and latency after the warm-up; needs at least 5 windows."""
    measured = windows[int(len(windows) * WARM_UP_SHARE) :]
    growth = slope([w["requests_so_far"] / 10_000 for w in measured], [w["rss_mb"] for w in measured])
    p50, p99 = (_growth([w[name] for w in measured]) for name in ("p50_ms", "p99_ms"))
    return {
        "warm_up_windows": len(windows) - len(measured),
        "mb_per_10000": growth,
        "p50_ratio": p50,
        "p99_ratio": p99,
        "errors": sum(w["errors"] for w in windows),
        "targets": soak_verdicts(growth, p50, p99),
    }


def _growth(values: list[float]) -> float:
    """Median of the last quarter ÷ median of the first."""
    quarter = len(values) // 4
    return float(np.median(values[-quarter:]) / np.median(values[:quarter]))
