"""Measures one replica's and one Redis' processor time and memory at given rates: docs/operations/capacity.md."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import redis

from artefacts.addresses import Artefacts
from benchmarks.online.peers import Call, all_peers
from benchmarks.online.peers_compared import Bench, bench
from benchmarks.online.servers import Server, ServerError
from benchmarks.results import store

RATES = (250.0, 500.0, 1000.0, 2000.0, 4000.0)
CONNECTIONS = 32
BATCH = 100
_SECONDS, _WARM_UP_SECONDS = 4.0, 0.5


def run(output: Path) -> None:
    """Measure and write the results.

    Raises:
        ServerError: a request was answered with an error.
    """
    with bench(Artefacts.of(os.environ)) as (ready, about):
        ours = all_peers(ready.workload)["ours"]
        with ready.serving(ours) as server, redis.Redis.from_url(ready.workload.redis_url) as online_store:
            rates = []
            for rate in RATES:
                figures = _measure(ready, server, online_store, ours.single, rows=1, rate=rate)
                rates.append({"rate": rate, **figures})
                cores, read = figures["server_cores"], figures["redis_us"]
                print(f"  {rate:>6,.0f} requests/s: {cores:.2f} cores, {read:.1f} µs of Redis a customer")
            if ours.batch is None:
                raise ServerError("ours has no batches")
            batch = _measure(ready, server, online_store, ours.batch, rows=BATCH, rate=0.0)
            print(f"  batches of {BATCH}: {batch['redis_us']:.1f} µs of Redis a customer")
            memory = memory_mb(server)
            print(f"  memory of all its processes: {memory:.0f} MB")
    store(output, "capacity", {**about, "seconds": _SECONDS, "rates": rates, "batch": batch, "memory_mb": memory})


def memory_mb(server: Server) -> float:
    """Memory of all its processes in millions of bytes; shared pages count once."""
    held = [process.memory_full_info() for process in server.processes()]
    return float(sum(getattr(info, "pss", info.uss) for info in held) / 1e6)


def _measure(
    ready: Bench, server: Server, online_store: redis.Redis, call: Call, rows: int, rate: float
) -> dict[str, Any]:
    """Measure one load at `rate` requests per second; 0 is a closed loop over four connections."""
    connections = CONNECTIONS if rate else 4
    plan = replace(ready.plan(server, call, rows, connections, _SECONDS, _WARM_UP_SECONDS), rate=rate)
    before, served = _cpu_seconds(online_store), server.cpu_seconds()
    result = ready.generator.apply(plan)
    spent, used = _cpu_seconds(online_store) - before, server.cpu_seconds() - served
    if result.errors:
        raise ServerError(f"{result.errors} of {result.answered} requests failed: {result.first_error}")
    return {
        "requests_per_second": result.per_second,
        "server_cores": used / (_SECONDS + _WARM_UP_SECONDS),
        "redis_us": spent / (result.answered * rows) * 1e6,
    }


def _cpu_seconds(online_store: redis.Redis) -> float:
    info: dict[str, Any] = online_store.info("cpu")  # type: ignore[assignment]  # of the client that does not wait
    return float(info["used_cpu_user"] + info["used_cpu_sys"])
