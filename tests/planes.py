"""One model, four planes, the same customers at the same time: `python -m tests.planes` prints where they differ.

HTTP (a real server whose clock stands still), batch on one machine, batch on Spark, and the stream, which is given each
customer's last order only now. A process of its own, since Spark and the model store are opened once per process. One
plane is also run a day off on purpose: a check that cannot fail proves nothing.
"""

import argparse
import asyncio
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import uvicorn
from prometheus_client import CollectorRegistry

from artefacts.addresses import Artefacts
from jobs.batch.score_batch import BatchRequest, score_batch
from jobs.batch.score_batch_spark import score_batch_on_spark
from jobs.feature_store import apply
from jobs.features.build import build_features
from jobs.local import embedded_redis
from jobs.materialization.materialize import materialize
from jobs.settings import JobsSettings
from jobs.stream.micro_batch import StreamFolders
from jobs.stream.score_stream import Stream, score_stream
from scoring.models.imported_model import ImportedModel
from scoring.models.model_store import open_model, pinned_tag
from service.api.authentication import ApiKeys
from service.api.routing import HttpApi, ServingSlot
from service.assembly import serving_of
from service.features.opening import open_feast
from service.features.port import OnlineFeatures
from service.prediction.batch import AnswerLog
from service.prediction.predictor import Predictor
from service.settings import ServiceSettings
from service.telemetry.metrics import ServiceMetrics
from tests.loop import call, free_port
from training.churn.source.addresses import OrderAddresses
from training.churn.source.orders_schema import ORDERS_SCHEMA

UNKNOWN, OVERRIDDEN = 25, 40
SPEND = "customer_lifetime__total_spend"
TOLERANCE = 1e-6
JOBS = JobsSettings(spark_master="local[2]", stream_watermark_days=10_000, daily_snapshots=3, snapshot_backfill_days=90)
Rows = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class World:
    """Stores of its own, filled with what was known at a time."""

    artefacts: Artefacts
    folder: Path

    @classmethod
    def of(cls, orders: pa.Table, folder: Path, known_at: datetime, registry: Artefacts) -> "World":
        """Args: orders before `known_at`; registry: where the model is."""
        folder.mkdir(parents=True)
        artefacts = Artefacts.of({"REDIS_URL": embedded_redis.start(root=folder)}, root=folder)
        artefacts = artefacts.model_copy(
            update={"mlflow_tracking_uri": registry.mlflow_tracking_uri, "model_tag": registry.model_tag}
        )
        source = OrderAddresses.of({}, folder)
        source.orders.parent.mkdir(parents=True)
        described = {"orders": json.dumps({"source": "planes", "observed_until": known_at.isoformat()})}
        pq.write_table(orders.replace_schema_metadata(described), source.orders)
        build_features(artefacts, source, JOBS, known_at)
        apply(artefacts)
        materialize(artefacts, known_at)
        return cls(artefacts, folder)

    def close(self) -> None:
        embedded_redis.stop(root=self.folder)


def over_http(world: World, model: ImportedModel, ids: list[str], overrides: Mapping[str, float], at: datetime) -> Rows:
    """`POST /predict_batch`, and `POST /predict` for customers with overrides."""
    found: Rows = {}
    with serving(world.artefacts, model, at) as url:
        plain = [customer for customer in ids if customer not in overrides]
        for start in range(0, len(plain), 1000):
            answer = call(url, "POST", "/predict_batch", {"customer_ids": plain[start : start + 1000]})
            assert answer.status == 200, answer.body
            found.update({row["customer_id"]: row for row in answer.body["predictions"]})
        for customer, value in overrides.items():
            answer = call(url, "POST", "/predict", {"customer_id": customer, "features": {SPEND: value}})
            assert answer.status == 200, answer.body
            found[customer] = answer.body
    return found


@contextmanager
def serving(
    artefacts: Artefacts,
    model: ImportedModel,
    at: datetime,
    log: AnswerLog | None = None,
    through: Callable[[OnlineFeatures], OnlineFeatures] = lambda features: features,
) -> Iterator[str]:
    """A server whose clock stands still; gives its URL."""
    feast = open_feast(artefacts.feature_repo, artefacts, model.contract, stall_seconds=30)
    settings, metrics = ServiceSettings(), ServiceMetrics(model.contract.model_name, CollectorRegistry())
    predictor = Predictor(model, through(feast.features), metrics, log=log)
    made = serving_of(predictor, settings, metrics, ApiKeys.of("", ""))
    slot = ServingSlot()
    slot.serving = replace(made, clock=lambda: int(at.timestamp()) * 1_000_000_000)
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(HttpApi(_nothing, slot), port=port, log_level="error", lifespan="off"))

    async def serve() -> None:
        await server.serve()
        await predictor.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


async def _nothing(*_: object) -> None:
    raise AssertionError("a path that is not ours")


def in_batch(
    world: World,
    model: ImportedModel,
    customers: Path,
    at: datetime,
    out: Path,
    score: Callable[..., Any] = score_batch,
) -> Rows:
    """What a batch writes."""
    return _rows(score(world.artefacts, model, BatchRequest(at, out, customers), now=at).partition)


def on_spark(artefacts: Artefacts, model: ImportedModel, request: BatchRequest, now: datetime) -> Any:
    return score_batch_on_spark(artefacts, model, request, JOBS, now)


def in_the_stream(world: World, model: ImportedModel, orders: pa.Table, at: datetime) -> Rows:
    """The orders arrive as a file of JSON lines; what is predicted of their customers."""
    incoming, out = world.folder / "incoming", world.folder / "stream"
    incoming.mkdir()
    lines = orders.to_pandas().assign(event_timestamp=lambda rows: rows["event_timestamp"].map(lambda t: t.isoformat()))
    lines.to_json(incoming / "orders.json", orient="records", lines=True)
    folders = StreamFolders(out / "predictions", out / "dead_letters")
    stream = Stream("json", incoming, out / "checkpoint", folders, once=True, as_of=at)
    score_stream(world.artefacts, OrderAddresses.of({}, world.folder), model, stream, JOBS)
    return _rows(folders.predictions)


def _rows(folder: Path) -> Rows:
    table = ds.dataset(folder, exclude_invalid_files=True).to_table()
    rows = {row["customer_id"]: row for row in table.to_pylist()}
    assert len(rows) == table.num_rows, "a customer is there twice"
    return rows


def differing(expected: Rows, found: Rows) -> list[str]:
    """Customers of whom two planes say different things, those who are in one of them only included."""
    return [
        customer
        for customer in sorted(expected.keys() | found.keys())
        if customer not in expected or customer not in found or not _same(expected[customer], found[customer])
    ]


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    a, b = one["churn_probability"], other["churn_probability"]
    close = a is b if a is None or b is None else abs(a - b) <= TOLERANCE
    return (
        close
        and (one["churn"], one["status"]) == (other["churn"], other["status"])
        and [_issue(issue) for issue in one["feature_issues"]] == [_issue(issue) for issue in other["feature_issues"]]
    )


def _issue(issue: Mapping[str, Any]) -> tuple[Any, ...]:
    age = issue["age_seconds"]
    return issue["feature"], issue["state"], None if age is None else round(age, 3), issue["used"]


def compare(loop: Artefacts, folder: Path, day: datetime, customers: int, hours: list[float]) -> Any:
    """Compare all planes at several times after the noon of a day, of which everything was known at that noon."""
    model = open_model(pinned_tag(loop))
    known_at = day + timedelta(hours=12)
    everything = pq.read_table(OrderAddresses.of(os.environ).orders).to_pandas()
    orders = everything[everything["event_timestamp"] < known_at].sort_values("event_timestamp", kind="stable")
    last = orders.groupby("customer_id").tail(1)
    # Half of them new on that day, as far as there are, whose windows of the last midnight are zeros.
    new = set(orders.groupby("customer_id")["event_timestamp"].min().loc[lambda first: first >= day].index)
    ids = sorted(new)[: customers // 2] + sorted(set(last["customer_id"]) - new)
    ids = ids[:customers]
    overrides = {customer: 10.0 + n for n, customer in enumerate(ids[:: len(ids) // OVERRIDDEN])}
    asked = ids + [f"unknown-{n}" for n in range(UNKNOWN)]
    listed = folder / "customers.parquet"
    pq.write_table(pa.table({"customer_id": asked, SPEND: [overrides.get(customer) for customer in asked]}), listed)
    arriving = last[last["customer_id"].isin(ids)]
    world = World.of(_table(orders), folder / "known", known_at, loop)
    results: dict[str, Any] = {"new": len(new & set(ids))}
    for after in hours:
        at = known_at + timedelta(hours=after)
        http = over_http(world, model, asked, overrides, at)
        before = World.of(_table(orders.drop(arriving.index)), folder / f"before-{after:g}", known_at, loop)
        streamed = in_the_stream(before, model, _table(arriving), at)
        before.close()
        planes = {
            "batch": in_batch(world, model, listed, at, folder / f"batch-{after:g}"),
            "a day off": in_batch(world, model, listed, at - timedelta(days=1), folder / f"off-{after:g}"),
            "spark": in_batch(world, model, listed, at, folder / f"spark-{after:g}", on_spark),
        }
        plain = over_http(world, model, ids, {}, at)
        results[f"{after:g} h"] = {
            "statuses": pd.Series([row["status"] for row in http.values()]).value_counts().to_dict(),
            "states": _states(http),
            **{name: _result(http, found) for name, found in planes.items()},
            "stream": _result(plain, streamed),
        }
    world.close()
    return results


def _states(rows: Rows) -> dict[str, int]:
    """How many customers have a feature in each state."""
    states = [state for row in rows.values() for state in {issue["state"] for issue in row["feature_issues"]}]
    return {state: states.count(state) for state in sorted(set(states))}


def _result(expected: Rows, found: Rows) -> dict[str, Any]:
    differ = differing(expected, found)
    both = [
        abs(expected[c]["churn_probability"] - found[c]["churn_probability"])
        for c in expected.keys() & found.keys()
        if expected[c]["churn_probability"] is not None and found[c]["churn_probability"] is not None
    ]
    return {"rows": len(found), "differing": len(differ), "examples": differ[:3], "largest": max(both, default=None)}


def _table(orders: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(orders, schema=ORDERS_SCHEMA, preserve_index=False)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--day", required=True, help="everything was known at its noon, UTC")
    parser.add_argument("--customers", type=int, default=2000)
    parser.add_argument("--hours", type=float, nargs="+", default=[0, 72])
    chosen = parser.parse_args()
    day = datetime.fromisoformat(chosen.day).replace(tzinfo=UTC)
    print(json.dumps(compare(Artefacts.of(os.environ), chosen.folder, day, chosen.customers, chosen.hours)))


if __name__ == "__main__":
    main()
