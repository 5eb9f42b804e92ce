"""Measures what reading features costs by their number and that of views: ours, Feast's SDK, and the limit of Redis.

The limit sends the same HMGETs, prepared beforehand, and decodes nothing.
"""

import asyncio
import gc
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import uvloop

from benchmarks.machine import machine, provenance, redis_pid, versions
from benchmarks.online.servers import Cores, pinned_redis
from benchmarks.online.targets import width_verdicts
from benchmarks.results import store as store_results
from benchmarks.summaries import spread

if TYPE_CHECKING:
    from feast import FeatureStore

    from benchmarks.online.wide_store import Shape

INPUTS, VIEWS, ROWS = (10, 50, 200), (1, 5, 10), (1, 100)
OURS, SDK, LIMIT = "ours", "sdk", "limit"
_BLOCK_SECONDS = 0.1
"""How long one contender reads at a time."""

Read = Callable[[Sequence[str]], Awaitable[Any]]


@dataclass(frozen=True)
class Reads:
    """Three ways to read the same features of the same entities."""

    ours: Read
    sdk: Read
    limit: Read
    close: Callable[[], Awaitable[None]]


def run(rounds: int, output: Path) -> None:
    """Measure and write the results."""
    from benchmarks.online.wide_store import Shape, wide_store
    from jobs.local import embedded_redis

    about: dict[str, Any] = {**provenance(), "machine": machine()}
    cores = Cores.of_this_machine()
    started = time.monotonic()
    shapes = [Shape(inputs, views) for inputs in INPUTS for views in VIEWS]
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as name:
        folder = Path(name)
        url = embedded_redis.start(root=folder)
        try:
            address = url.removeprefix("redis://").partition("/")[0]
            store = wide_store(folder, address, shapes)
            with pinned_redis(redis_pid(url), cores.load):
                if cores.server is not None:
                    os.sched_setaffinity(0, {cores.server})
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    cases = runner.run(_all(store, shapes, url, address, rounds))
            about["versions"] = versions(url)
        finally:
            embedded_redis.stop(root=folder)
    store_results(
        output,
        "width",
        {
            **about,
            "settings": {"rounds": rounds, "block_seconds": _BLOCK_SECONDS},
            "took_seconds": round(time.monotonic() - started),
            "cases": cases,
            "targets": width_verdicts(cases),
        },
    )


async def _all(
    store: "FeatureStore", shapes: "Sequence[Shape]", url: str, address: str, rounds: int
) -> list[dict[str, Any]]:
    found = []
    for shape in shapes:
        reads = await _reads(store, shape, url, address)
        for rows in ROWS:
            of_rounds = await _measured(reads, rows, rounds)
            found.append(
                {"inputs": shape.inputs, "views": shape.views, "rows": rows, **figures(of_rounds, shape.inputs * rows)}
            )
            print(_one_line(found[-1]), flush=True)
        await reads.close()
    return found


async def _reads(store: "FeatureStore", shape: "Shape", url: str, address: str) -> Reads:
    from artefacts.redis_address import RedisAddress
    from benchmarks.online.wide_store import union_of
    from service.features.compiled.connection import RedisConnection
    from service.features.compiled.pipe import open_pipe, pack
    from service.features.compiled.plan import compile_plan
    from service.features.compiled.reader import RedisFeatures

    union = union_of(store, shape)
    plan = compile_plan(store, union, address)
    ours = RedisFeatures(plan, RedisConnection(RedisAddress.of(url), connect_seconds=1, stall_seconds=10))
    host, _, port = address.partition(":")
    pipe = await open_pipe(host, int(port))
    service = store.get_feature_service(shape.name)
    commands: dict[tuple[str, ...], bytes] = {}

    async def limit(ids: Sequence[str]) -> Any:
        return await pipe.send(commands[tuple(ids)], len(ids))

    async def sdk(ids: Sequence[str]) -> Any:
        rows = {shape.join_key: ids}
        return await store.get_online_features_async(features=service, entity_rows=rows)

    async def close() -> None:
        await ours.close()
        await store.close()
        pipe.abort(ConnectionError("measured"))

    for rows in ROWS:
        (read,) = plan.hashes
        for ids in _asked(rows):
            commands[tuple(ids)] = b"".join(pack(b"HMGET", read.key(i), *read.fields) for i in ids)
        await _check(union, await ours.read(_asked(rows)[0], 0), await sdk(_asked(rows)[0]))
    return Reads(lambda ids: ours.read(ids, 0), sdk, limit, close)


async def _check(union: Any, raw: Any, response: Any) -> None:
    """Raise `ValueError` unless both read the same."""
    from scoring.feast.values import raw_number

    proto = response.proto
    theirs = dict(zip(proto.metadata.feature_names.val, proto.results, strict=True))
    for column, given in enumerate(union.features):
        read = raw_number(given, None)
        expected = [read(value) for value in theirs[given.field_name].values]
        if not np.array_equal(raw.values[:, column], expected):
            raise ValueError(f"{given.name}: our reader and Feast's SDK do not read the same")


def _asked(rows: int) -> list[list[str]]:
    """Ids of as many reads as it takes to ask for every entity."""
    from benchmarks.online.wide_store import ENTITIES

    ids = list(map(str, range(ENTITIES)))
    return [ids[start : start + rows] for start in range(0, ENTITIES, rows)]


def figures(of_rounds: Sequence[Mapping[str, float]], features: int) -> dict[str, Any]:
    """Spreads over the rounds, ratios taken within each.

    Args:
        of_rounds: contender → microseconds per read.
        features: that one read reads, of all entities together.
    """
    return {
        **{f"{name}_us": spread([found[name] for found in of_rounds]) for name in (OURS, SDK, LIMIT)},
        "ours_ns_per_feature": spread([found[OURS] * 1e3 / features for found in of_rounds]),
        "sdk_over_ours": spread([found[SDK] / found[OURS] for found in of_rounds]),
        "ours_over_limit": spread([found[OURS] / found[LIMIT] for found in of_rounds]),
        "rounds": [dict(found) for found in of_rounds],
    }


async def _measured(reads: Reads, rows: int, rounds: int) -> list[dict[str, float]]:
    """Microseconds per read, the mean of a block; contenders take turns within a round."""
    contenders: Mapping[str, Read] = {OURS: reads.ours, SDK: reads.sdk, LIMIT: reads.limit}
    asked = _asked(rows)
    for read in contenders.values():
        await _block(read, asked)
    of_rounds: list[dict[str, float]] = []
    for number in range(rounds):
        names = list(contenders)[number % 3 :] + list(contenders)[: number % 3]
        of_rounds.append({name: await _block(contenders[name], asked) for name in names})
    return of_rounds


async def _block(read: Read, asked: Sequence[Sequence[str]]) -> float:
    gc.collect()
    started, reads = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - started) < _BLOCK_SECONDS:
        await read(asked[reads % len(asked)])
        reads += 1
    return elapsed / reads * 1e6


def _one_line(case: Mapping[str, Any]) -> str:
    times = ", ".join(f"{name} {case[f'{name}_us']['median']:,.0f} µs" for name in (OURS, SDK, LIMIT))
    shape = f"{case['inputs']:>3} inputs, {case['views']:>2} views, {case['rows']:>3} rows"
    return f"{shape}: {times}; SDK ÷ ours {case['sdk_over_ours']['median']:.1f}"
