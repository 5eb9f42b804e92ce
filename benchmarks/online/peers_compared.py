"""Compares all peers in one run: the same features, model, Redis and ids; one server at a time, rounds interleaved."""

import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from artefacts.addresses import Artefacts
from benchmarks.load.bounded_load import LoadGenerator, load_generator
from benchmarks.load.load_plan import LoadPlan
from benchmarks.machine import machine, provenance, redis_pid, versions
from benchmarks.online.peers import Call, Peer, all_peers
from benchmarks.online.servers import (
    Cores,
    Server,
    ServerError,
    ask,
    free_port,
    own_bentoml_home,
    pinned_redis,
    running,
)
from benchmarks.online.targets import verdicts
from benchmarks.online.workload import Workload
from benchmarks.results import section_of, store
from benchmarks.summaries import of_rounds, summary
from scoring.task_outputs import task_outputs

SEED = 17
_TOLERANCE = 1e-3
"""Largest difference between a peer's scores and the expected ones, for values of a regression beside as much of the
value; recency grows while the benchmark runs."""


@dataclass(frozen=True)
class Scenario:
    """One kind of load.

    half_rate: at a fixed rate, half of this peer's rate in `single_32`.
    """

    name: str
    rows: int
    connections: int
    half_rate: bool = False


SCENARIOS = (
    Scenario("single_1", 1, 1),
    Scenario("single_32", 1, 32),
    Scenario("single_half_rate", 1, 32, half_rate=True),
    *(Scenario(f"batch_{rows}_{c}", rows, c) for rows in (10, 100, 1000) for c in (1, 4)),
)


@dataclass(frozen=True)
class Bench:
    """Everything that a measurement needs."""

    workload: Workload
    generator: LoadGenerator
    cores: Cores
    environment: dict[str, str]
    folder: Path

    @contextmanager
    def serving(self, peer: Peer) -> Iterator[Server]:
        """Start a peer; it ends with the block."""
        port = free_port()
        probe = peer.single.request(self.workload, [0], port)
        environment = {**self.environment, **peer.environment}
        log = self.folder / f"{peer.name}.log"
        with running(peer.command(port), port, probe, environment, self.cores.server, log) as server:
            yield server

    def plan(self, server: Server, call: Call, rows: int, connections: int, seconds: float, warm_up: float) -> LoadPlan:
        """A closed loop of requests of `rows` rows each."""
        requests = tuple(call.request(self.workload, chunk, server.port) for chunk in self.workload.chunks(rows))
        return LoadPlan(
            port=server.port,
            requests=requests,
            row=call.row,
            matches=call.per_row * rows,
            connections=connections,
            seconds=seconds,
            warm_up_seconds=warm_up,
        )


@contextmanager
def bench(artefacts: Artefacts) -> Iterator[tuple[Bench, dict[str, Any]]]:
    """Prepare a bench; also yields its description for the results."""
    about: dict[str, Any] = {**provenance(), "machine": machine()}
    cores = Cores.of_this_machine()
    workload = Workload.read(artefacts, SEED, time.time_ns() // 1000)
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as name:
        folder = Path(name)
        with (
            own_bentoml_home(folder) as home,
            pinned_redis(redis_pid(workload.redis_url), cores.load) as redis_is_pinned,
            load_generator(cores.load) as generator,
        ):
            if cores.load is not None:
                os.sched_setaffinity(0, {cores.load})  # this process only waits while others work
            about |= {
                "versions": versions(workload.redis_url),
                "model": workload.model_tag,
                "customers": len(workload.keys),
                "cores": {"server": cores.server, "load": cores.load, "redis_pinned": redis_is_pinned},
            }
            yield Bench(workload, generator, cores, workload.environment(artefacts, home), folder), about


def run(seconds: float, warm_up: float, rounds: int, only: set[str] | None, output: Path) -> None:
    """Measure every peer in every scenario and write the results."""
    started = time.monotonic()
    settings = {"seconds": seconds, "warm_up_seconds": warm_up, "rounds": rounds, "seed": SEED}
    artefacts = Artefacts.of(os.environ)
    with bench(artefacts) as (ready, about):
        peers = all_peers(ready.workload)
        chosen = [peer for name, peer in peers.items() if only is None or name in only]
        measured: dict[str, dict[str, list[dict[str, Any]]]] = {peer.name: {} for peer in chosen}
        for number in range(rounds):
            turn = number % len(chosen)
            for peer in chosen[turn:] + chosen[:turn]:  # no peer is always the first or the last
                print(f"round {number + 1}/{rounds}: {peer.name}, {peer.title}", flush=True)
                for name, figures in _measure(ready, peer, seconds, warm_up).items():
                    measured[peer.name].setdefault(name, []).append(figures)
    document = {
        peer.name: {
            "title": peer.title,
            "what": peer.what,
            "no_batch": peer.no_batch,
            "scenarios": {name: of_rounds(found) for name, found in measured[peer.name].items()},
        }
        for peer in chosen
    }
    store(
        output,
        section_of("online", artefacts),
        {
            **about,
            "settings": settings,
            "took_seconds": round(time.monotonic() - started),
            "peers": document,
            "targets": verdicts(document),
        },
    )


def _measure(ready: Bench, peer: Peer, seconds: float, warm_up: float) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    with ready.serving(peer) as server:
        check_answers(ready.workload, peer, server)
        for scenario in SCENARIOS:
            call = peer.single if scenario.rows == 1 else peer.batch
            if call is None:
                continue
            plan = ready.plan(server, call, scenario.rows, scenario.connections, seconds, warm_up)
            if scenario.half_rate:
                capacity = found["single_32"]["requests_per_second"]
                if not capacity:
                    continue
                plan = _at_rate(plan, capacity / 2)
            found[scenario.name] = figures_of(ready, server, plan, scenario.rows)
            print(f"  {scenario.name:17} {_one_line(found[scenario.name])}", flush=True)
    return found


def _at_rate(plan: LoadPlan, rate: float) -> LoadPlan:
    return LoadPlan(**{**plan.__dict__, "rate": rate})


def figures_of(ready: Bench, server: Server, plan: LoadPlan, rows: int) -> dict[str, Any]:
    """Carry out a plan and return the clients' and the server's figures."""
    before = server.cpu_seconds()
    result = ready.generator.apply(plan)
    spent = server.cpu_seconds() - before
    return {
        **summary(result.latencies, result.per_second, rows),
        "requests": len(result.latencies),
        "errors": result.errors,
        **({"first_error": result.first_error} if result.errors else {}),
        **({"rate": plan.rate, "sent_late_p99_ms": (result.sent_late_p99 or 0) * 1e3} if plan.rate else {}),
        "server_cpu_ms": spent / result.answered * 1e3 if result.answered else None,
        "generator_busy": result.cpu_seconds / result.elapsed,
    }


def check_answers(workload: Workload, peer: Peer, server: Server) -> None:
    """Check that a peer's answers are right before it is compared.

    Raises:
        ServerError: its scores differ from the model's on these features.
    """
    rules = task_outputs(workload.contract)
    relative = _TOLERANCE if workload.contract.task.kind == "regression" else 0
    for call, chunk in ((peer.single, range(1)), (peer.single, range(7, 8)), (peer.batch, range(100))):
        if call is None or call.scores is None:
            continue
        status, body = ask(server.port, call.request(workload, chunk, server.port))
        if status != 200:
            raise ServerError(f"{peer.name}: {call.path} answered {status}: {body[:300]!r}")
        scores = np.array(call.scores(json.loads(body)), dtype=np.float64)
        # Peers know no bounds of a regression.
        found, expected = (rules.of(each)[0] for each in (scores, workload.scores[chunk.start : chunk.stop]))
        if found.shape != expected.shape or not np.allclose(found, expected, rtol=relative, atol=_TOLERANCE):
            raise ServerError(f"{peer.name}: {call.path} gives other scores than the model on these features")


def _one_line(figures: dict[str, Any]) -> str:
    shown = [
        f"{name.removesuffix('_ms')} {figures[name]:,.2f} ms"
        for name in ("p50_ms", "p99_ms")
        if figures[name] is not None
    ]
    per_second = figures["predictions_per_second"]
    errors = f", {figures['errors']} errors: {figures['first_error']}" if figures["errors"] else ""
    return f"{per_second or 0:>10,.0f} predictions/s, {', '.join(shown)}{errors}"
