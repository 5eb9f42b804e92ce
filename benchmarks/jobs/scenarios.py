"""Measures the jobs at one size (features, materialization, batch scoring), and stock tools beside them."""

import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from artefacts.addresses import PROJECT_ROOT
from benchmarks.jobs.orders import NewOrders
from benchmarks.jobs.scratch import Scratch
from benchmarks.load.process_usage import StepError, Usage, usage_of
from jobs.offline_store.builds import read_build
from scoring.models.model_store import open_model, pinned_tag
from training.churn.source.orders_schema import ORDERS_SCHEMA

STOCK_SECONDS = 900.0
"""Time limit of stock `feast materialize`."""
PEER_CUSTOMERS = 20_000
DAYS_OF_ORDERS = 546
"""Synthetic orders span 78 weeks."""
SAMPLE = 300
"""Customers whose stored rows are compared."""
_TOLERANCE = 1e-4
"""Largest difference between the peer's probabilities (scikit-learn, float64) and ours."""
_STAGE = re.compile(r"(\w+) (\d+\.\d+) s")
_FEAST = Path(sys.executable).with_name("feast")


def features(place: Scratch, with_spark: bool) -> dict[str, Any]:
    """Measure making synthetic orders and building all features from them."""
    made = place.run("synthetic orders", "training", "data", "--synthetic", str(place.customers), "--seed", "1")
    duckdb = place.run("features on DuckDB", "jobs", "features")
    built = sum(read_build(place.artefacts.offline_store).rows.values())
    found = {
        "orders": pq.read_metadata(place.source.orders).num_rows,
        "data": made.figures(),
        "duckdb": {**duckdb.figures(), "rows": built},
        "offline_bytes": sum(file.stat().st_size for file in place.artefacts.offline_store.rglob("*.parquet")),
    }
    if with_spark:
        apart = place.folder / "offline_store_of_spark"
        words = ("jobs", "features", "--engine", "spark")
        spark = place.run("features on Spark", *words, variables={"OFFLINE_STORE_DIR": str(apart)})
        rows = sum(read_build(apart).rows.values())
        if rows != built:
            raise StepError(f"Spark built {rows:,} rows and DuckDB {built:,}")
        found["spark"] = {**spark.figures(), "rows": rows}
    place.run("feast apply", "jobs", "apply")
    return found


def materialization(place: Scratch, with_stock: bool) -> dict[str, Any]:
    """Measure ours and, optionally, stock: both fill an empty Redis from one offline store with equal values."""
    until = datetime.now(UTC).replace(microsecond=0)
    stock = _stock(place, until) if with_stock else None
    sample = _stored_sample(place) if stock and stock["outcome"] == "done" else {}
    place.client.execute_command("FLUSHALL", "SYNC")  # else memory is freed later
    empty_mb = place.redis_memory()["used_mb"]
    ours = _materialize(place, "materialize", until)
    memory = place.redis_memory()
    for key, stored in sample.items():
        if place.client.hgetall(key) != stored:
            raise StepError("`jobs materialize` and `feast materialize` stored different values")
    found = {"ours": ours, "redis": {**memory, "empty_mb": empty_mb, "customers": _customers(place)}}
    if stock:
        if stock["outcome"] == "done":
            stock |= _rates(ours["rows"], stock["seconds"], stock["seconds"] - stock["start_up_seconds"])
        found["stock"] = stock
    return found


def a_day_later(place: Scratch) -> dict[str, Any]:
    """Add a day's orders, as the stream leaves them; measure the build and the materialization of what changed."""
    orders = max(1, pq.read_metadata(place.source.orders).num_rows // DAYS_OF_ORDERS)
    rows = NewOrders(place.customers).rows("day", orders, datetime.now(UTC), hours=24)
    batch = place.source.streamed_orders / "batch=0"
    batch.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=ORDERS_SCHEMA), batch / "part-0.parquet")
    built = place.run("features, a day later", "jobs", "features")
    materialized = _materialize(place, "materialize, a day later", datetime.now(UTC))
    return {"orders": orders, "features": built.figures(), "materialize": materialized}


def batch(place: Scratch, pinned: int | None, with_peer: bool) -> dict[str, Any]:
    """Measure all customers; then all on one processor core; then the peer's customers, by the peer and by us."""
    words = ("jobs", "score-batch", "--out", str(place.folder / "predictions"))
    found = {"ours": _scored(place.run("score-batch", *words, most_seconds=900))}
    if pinned is not None:
        found["one_core"] = _scored(place.run("score-batch on one core", *words, most_seconds=900, core=pinned))
    if with_peer:
        found |= _beside_peer(place)
    return found


def stages(output: tuple[str, ...]) -> dict[str, float]:
    """Parse seconds by stage from the last line of `python -m jobs score-batch`.

    Raises:
        StepError: the line has none.
    """
    found = {f"{stage}_seconds": float(seconds) for stage, seconds in _STAGE.findall(output[-1] if output else "")}
    if set(found) != {"read_seconds", "score_seconds", "write_seconds"}:
        raise StepError(f"score-batch did not say where its time went: {output[-1:]}")
    return found


def _scored(cost: Usage) -> dict[str, Any]:
    rows = int(cost.output[-2].split()[0].replace(",", ""))
    by_stage = stages(cost.output)
    after_reading = by_stage["score_seconds"] + by_stage["write_seconds"]
    per_second = rows / after_reading if after_reading else None
    return {**cost.figures(), **by_stage, "rows": rows, "customers_per_second": per_second}


def _materialize(place: Scratch, what: str, until: datetime) -> dict[str, Any]:
    words = ("jobs", "materialize", "--until", until.isoformat())
    cost = place.run(what, *words, most_seconds=1200)
    views = place.last_materialization()["views"]
    working = sum(view["seconds"] for view in views)
    return {**cost.figures(), **_rates(sum(view["written"] for view in views), cost.seconds, working)}


def _rates(rows: int, seconds: float, working: float) -> dict[str, float]:
    """Rows per second of the whole command, and without its start-up."""
    return {
        "rows": rows,
        "working_seconds": working,
        "rows_per_second": rows / working if working else 0.0,
        "rows_per_second_of_command": rows / seconds,
    }


def _stock(place: Scratch, until: datetime) -> dict[str, Any]:
    room = PROJECT_ROOT / "feature_repo"
    start_up = usage_of([str(_FEAST), "feature-views", "list"], place.environment, 120, room)
    words = [str(_FEAST), "materialize", "1970-01-01T00:00:00", f"{until:%Y-%m-%dT%H:%M:%S}"]
    cost = usage_of(words, place.environment, STOCK_SECONDS, room)
    place.print_progress("feast materialize", cost)
    outcome = "done"
    if cost.exit_code is None:
        outcome = f"not done after {STOCK_SECONDS:g} s"
    elif cost.exit_code != 0:
        outcome = f"ended with {cost.exit_code}"
        print(cost.last_lines(), flush=True)
    return {**cost.figures(), "outcome": outcome, "start_up_seconds": start_up.seconds}


def _stored_sample(place: Scratch) -> dict[bytes, dict[bytes, bytes]]:
    """Stored rows of random customers."""
    keys = [key for key in (place.client.randomkey() for _ in range(SAMPLE)) if key is not None]
    return {key: place.client.hgetall(key) for key in keys}


def _customers(place: Scratch) -> int:
    """Number of keys in Redis, without the few that remember runs."""
    return int(place.client.dbsize()) - len(list(place.client.scan_iter("churn:*", count=10_000)))


def _beside_peer(place: Scratch) -> dict[str, Any]:
    model = open_model(pinned_tag(place.artefacts))
    everybody = pc.unique(pq.read_table(place.source.orders, columns=["customer_id"])["customer_id"])
    asked, answered = place.folder / "asked.parquet", place.folder / "answered.parquet"
    pq.write_table(pa.table({"customer_id": everybody.slice(0, PEER_CUSTOMERS)}), asked)
    as_of = datetime.now(UTC).replace(microsecond=0).isoformat()
    contract = model.contract
    variables = {
        "BENCHMARKS_FEATURE_SERVICE": contract.feature_service,
        "BENCHMARKS_MODEL_URI": f"models:/{contract.model_name}/{contract.model_version}",
    }
    words = ("benchmarks.apps.plain_batch", str(asked), as_of, str(answered))
    peer = place.run("plain script, 20,000 customers", *words, most_seconds=900, variables=variables)
    out = place.folder / "predictions_beside_peer"
    ours = ("jobs", "score-batch", "--out", str(out), "--as-of", as_of, "--entities", str(asked))
    cost = place.run("score-batch, 20,000 customers", *ours)
    _check_equal(pq.read_table(answered), pq.read_table(next(out.rglob("part-0.parquet"))))
    rows = pq.read_metadata(asked).num_rows
    return {"peer": {**peer.figures(), "rows": rows}, "ours_beside_peer": _scored(cost)}


def _check_equal(theirs: pa.Table, ours: pa.Table) -> None:
    """Check that the peer computes the same probabilities."""
    columns = [
        table.select(["customer_id", "churn_probability"]).sort_by("customer_id").to_pydict()
        for table in (theirs, ours)
    ]
    (their_ids, their_values), (our_ids, our_values) = (tuple(column.values()) for column in columns)
    if their_ids != our_ids or not np.allclose(their_values, our_values, rtol=0, atol=_TOLERANCE):
        raise StepError("the plain script and `jobs score-batch` give different probabilities")


def usable_core() -> int | None:
    """A processor core to pin a command to; None if the system cannot pin."""
    return max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
