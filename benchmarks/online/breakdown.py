"""Measures the stages of one request: our ASGI application in-process, stage by stage, and then over HTTP."""

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import uvloop

from benchmarks.online.stage_clock import Stage, StageClock

if TYPE_CHECKING:
    from benchmarks.online.peers_compared import Bench
    from benchmarks.online.workload import Workload
    from service.api.routing import HttpApi

STAGES = (
    Stage("read the body", ("service.api.routing:read_body",), awaits=True),
    Stage("authenticate", ("service.api.authentication:ApiKeys.authenticate",)),
    Stage("parse and validate", ("service.api.endpoints:parse",)),
    Stage("coalesce: one turn of the event loop", ("service.prediction.predictor:Predictor.predict_one",), awaits=True),
    Stage("features: deadline, circuit breaker", ("service.features.guard:GuardedFeatures.read",), awaits=True),
    Stage("features: pack commands", ("service.features.compiled.reader:RedisFeatures.read",), awaits=True),
    Stage(
        "features: Redis, there and back",
        ("service.features.compiled.connection:RedisConnection.execute",),
        awaits=True,
    ),
    Stage("features: decode", ("service.features.compiled.reader:RedisFeatures._decode",)),
    Stage("features: on-demand function", ("scoring.feast.on_demand:OnDemandView.compute",)),
    Stage("resolve", ("contract.resolve:Resolver.resolve",)),
    Stage("model (ONNX Runtime)", ("service.prediction.predictor:Predictor.score",)),
    Stage("probabilities to predictions", ("service.prediction.live_model:predictions",)),
    Stage(
        "metrics",
        tuple(f"service.telemetry.metrics:ServiceMetrics.{name}" for name in ("answered", "stage", "coalesced", "age")),
    ),
    Stage("serialise and send", ("service.api.routing:answer",), awaits=True),
)
REST = "routing, request id, in-flight limit, event loop"


@dataclass(frozen=True)
class Case:
    """Requests to measure.

    rows: customers per request.
    at_a_time: concurrent requests.
    requests: per block.
    """

    name: str
    rows: int
    at_a_time: int
    requests: int
    blocks: int = 20


CASES = (
    Case("single", 1, 1, 200),
    Case("single, 32 at a time", 1, 32, 640),
    Case("batch of 100", 100, 1, 30),
)


def run(output: Path) -> None:
    """Measure and write the results."""
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        # As in a worker of `bentoml serve`; prometheus_client reads it once, at import.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        from artefacts.addresses import Artefacts
        from benchmarks import results
        from benchmarks.online import peers
        from benchmarks.online import peers_compared as online

        artefacts = Artefacts.of(os.environ)
        with online.bench(artefacts) as (ready, about):
            if ready.cores.server is not None:
                os.sched_setaffinity(0, {ready.cores.server})
            found = _in_process(ready.workload, artefacts)
            if ready.cores.load is not None:
                os.sched_setaffinity(0, {ready.cores.load})
            wire = _over_the_wire(ready, peers.all_peers(ready.workload)["ours"])
        results.store(output, results.section_of("breakdown", artefacts), {**about, "in_process": found, "wire": wire})


def _in_process(workload: "Workload", artefacts: Any) -> list[dict[str, Any]]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_all_cases(workload, artefacts))


async def _all_cases(workload: "Workload", artefacts: Any) -> list[dict[str, Any]]:
    from benchmarks.online.peers import all_peers
    from service.api.routing import HttpApi, ServingSlot
    from service.assembly import assemble, open_parts
    from service.settings import ServiceSettings
    from service.telemetry.metrics import ServiceMetrics

    settings = ServiceSettings(allow_anonymous=True)  # nothing listens
    opened = open_parts(settings, artefacts)
    serving = assemble(opened, settings, ServiceMetrics(opened.model.identity["name"]))
    api = HttpApi(_nobody_else, ServingSlot(serving))
    ours = all_peers(workload)["ours"]
    found = []
    for case in CASES:
        call = ours.single if case.rows == 1 else ours.batch or ours.single
        bodies = [json.dumps(call.body(workload, chunk)).encode() for chunk in workload.chunks(case.rows)]
        found.append(await _measure(case, _asker(api, call.path, bodies)))
    await serving.predictor.close()
    return found


async def _nobody_else(*_: Any) -> None:
    raise AssertionError("the request was meant for our application")


def _asker(api: "HttpApi", path: str, bodies: Sequence[bytes]) -> Callable[[int], Awaitable[None]]:
    """Returns a function that sends one request to the application, as an ASGI server does."""

    async def ask(number: int) -> None:
        body = bodies[number % len(bodies)]
        headers = [
            (b"host", b"127.0.0.1:3000"),
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
        ]
        scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
        status = 0

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)

        await api(scope, receive, send)
        if status != 200:
            raise AssertionError(f"{path} answered {status}")

    return ask


async def _measure(case: Case, ask: Callable[[int], Awaitable[None]]) -> dict[str, Any]:
    """Medians over blocks of the mean per request: means add up over stages, medians ignore busy moments."""
    # Concurrent requests interleave, so only stages that never wait can be timed.
    stages = [stage for stage in STAGES if case.at_a_time == 1 or not stage.awaits]
    await _block(case, ask)
    plain = [await _block(case, ask) for _ in range(case.blocks)]
    parts: list[dict[str, float]] = []
    totals: list[float] = []
    for _ in range(case.blocks):
        clock = StageClock()
        with clock.around(stages):
            total, _ = await _block(case, ask)
        totals.append(total)
        parts.append({name: seconds / case.requests for name, seconds in clock.seconds.items()})
    microseconds = {
        stage.name: _median([part.get(stage.name, 0.0) for part in parts])
        for stage in stages
        if any(stage.name in part for part in parts)
    }
    rest = [total - sum(part.values()) for total, part in zip(totals, parts, strict=True)]
    return {
        "case": case.name,
        "rows": case.rows,
        "at_a_time": case.at_a_time,
        "stages_us": {**microseconds, REST: _median(rest)},
        "instrumented_us": _median(totals),
        "total_us": _median([total for total, _ in plain]),
        "cpu_us": _median([cpu for _, cpu in plain]),
    }


async def _block(case: Case, ask: Callable[[int], Awaitable[None]]) -> tuple[float, float]:
    """Elapsed and processor seconds per request."""

    async def lane(first: int) -> None:
        for number in range(first, case.requests, case.at_a_time):
            await ask(number)

    started, processor = time.perf_counter(), time.process_time()
    await asyncio.gather(*(lane(first) for first in range(case.at_a_time)))
    return (time.perf_counter() - started) / case.requests, (time.process_time() - processor) / case.requests


def _median(seconds: Sequence[float]) -> float:
    """Median in microseconds."""
    return float(np.median(seconds)) * 1e6


def _over_the_wire(ready: "Bench", ours: Any) -> dict[str, Any]:
    from benchmarks.online.peers_compared import figures_of

    with ready.serving(ours) as server:
        plans = {
            "single": ready.plan(server, ours.single, 1, 1, seconds=3, warm_up=1),
            "single, 32 at a time": ready.plan(server, ours.single, 1, 32, seconds=3, warm_up=1),
            "batch of 100": ready.plan(server, ours.batch, 100, 1, seconds=3, warm_up=1),
        }
        return {name: figures_of(ready, server, plan, 1) for name, plan in plans.items()}
