"""Measures the stream's throughput and the lag of single orders."""

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.jobs.orders import NewOrders
from benchmarks.jobs.scratch import Scratch
from benchmarks.load.process_usage import StepError, WatchedCommand, watch_command

FILES, ORDERS_PER_FILE = 100, 1_000
DROPS = 30
"""Single orders, one a second."""
_MOST_SECONDS = 240.0


@dataclass(frozen=True)
class BatchLine:
    """One line of the stream's output about a batch.

    at: when it came, by `time.monotonic`.
    """

    at: float
    number: int
    orders: int
    customers: int
    seconds: float


def batch_lines(lines: list[tuple[float, str]]) -> list[BatchLine]:
    """Parse the stream's lines about its batches.

    Raises:
        StepError: a batch failed, or had orders that were not new.
    """
    found = []
    for at, line in lines:
        if line.startswith("a batch failed"):
            raise StepError(f"score-stream: {line}")
        if line.startswith('{"number"'):
            record = json.loads(line)
            if record["refused"] or record["late"] or record["repeated"]:
                raise StepError(f"score-stream did not take every order as new: {line}")
            found.append(BatchLine(at, record["number"], record["orders"], record["customers"], record["seconds"]))
    return found


def stream(place: Scratch) -> dict[str, Any]:
    """Start the stream, warm it up with one order, then measure many orders at once and single ones."""
    incoming, aside, out = (place.folder / name for name in ("incoming", "aside", "stream"))
    for folder in (incoming, aside):
        folder.mkdir()
    words = [sys.executable, "-m", "jobs", "score-stream", "--source", "json"]
    words += ["--incoming", str(incoming), "--out", str(out)]
    drops = _OrderFiles(incoming, aside, NewOrders(place.customers))
    with watch_command(words, place.environment) as running:
        _wait_until(running, lambda: any("following" in line for _, line in running.lines))
        drops.write("warm-up", 1, 1)[0].move()
        _wait_until(running, lambda: sum(line.orders for line in batch_lines(running.lines)) == 1)
        many = _measure_throughput(running, drops)
        single = _measure_lag(running, drops, out / "predictions")
        cost = running.usage()
    place.print_progress(f"stream, {many['orders_per_second']:,.0f} orders/s", cost)
    return {**many, **single, "peak_rss_mb": cost.peak_rss_mb}


@dataclass(frozen=True)
class _OrderFile:
    """A file of orders outside the stream's folder; `move` moves it in."""

    aside: Path
    incoming: Path
    customers: list[str]

    def move(self) -> float:
        """Move it in; returns when, by `time.monotonic`."""
        at = time.monotonic()
        self.aside.rename(self.incoming / self.aside.name)
        return at


@dataclass(frozen=True)
class _OrderFiles:
    """Makes files of orders, all of different customers."""

    incoming: Path
    aside: Path
    orders: NewOrders

    def write(self, name: str, files: int, orders: int) -> list[_OrderFile]:
        """Write files with `orders` orders each."""
        rows = self.orders.rows(name, files * orders, datetime.now(UTC), hours=1)
        made = []
        for number in range(files):
            own = rows[number * orders : (number + 1) * orders]
            file = self.aside / f"{name}-{number}.json"
            file.write_text(
                "".join(json.dumps(row, default=datetime.isoformat) + "\n" for row in own), encoding="utf-8"
            )
            made.append(_OrderFile(file, self.incoming, [row["customer_id"] for row in own]))
        return made


def _measure_throughput(running: WatchedCommand, drops: _OrderFiles) -> dict[str, Any]:
    orders = FILES * ORDERS_PER_FILE
    before = len(batch_lines(running.lines))
    began = min(drop.move() for drop in drops.write("many", FILES, ORDERS_PER_FILE))
    _wait_until(running, lambda: sum(line.orders for line in batch_lines(running.lines)[before:]) >= orders)
    lines = batch_lines(running.lines)[before:]
    seconds = lines[-1].at - began
    return {
        "orders": orders,
        "batches": len(lines),
        "customers": sum(line.customers for line in lines),
        "seconds": seconds,
        "orders_per_second": orders / seconds,
    }


def _measure_lag(running: WatchedCommand, drops: _OrderFiles, predictions: Path) -> dict[str, Any]:
    before = len(batch_lines(running.lines))
    dropped: dict[str, float] = {}
    waiting = drops.write("single", DROPS, 1)
    began = time.monotonic()
    for number, drop in enumerate(waiting):
        time.sleep(max(0.0, began + number - time.monotonic()))
        dropped[drop.customers[0]] = drop.move()
    _wait_until(running, lambda: sum(line.orders for line in batch_lines(running.lines)[before:]) >= DROPS)
    lines = batch_lines(running.lines)[before:]
    lags = sorted(_lags(dropped, lines, predictions))
    return {
        "singles": len(lags),
        "lag_p50_seconds": statistics.median(lags),
        "lag_max_seconds": lags[-1],
        "batch_p50_seconds": statistics.median(line.seconds for line in lines),
    }


def _lags(dropped: dict[str, float], lines: list[BatchLine], predictions: Path) -> Iterator[float]:
    """Seconds from moving an order into the folder to the line after its prediction."""
    seen = set()
    for line in lines:
        table = pq.read_table(predictions / f"batch={line.number}" / "part-0.parquet", columns=["customer_id"])
        for customer in table["customer_id"].to_pylist():
            seen.add(customer)
            yield line.at - dropped[customer]
    if seen != dropped.keys():
        raise StepError(f"score-stream lost the predictions of {len(dropped.keys() - seen)} customers")


def _wait_until(running: WatchedCommand, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _MOST_SECONDS
    while not done():
        if running.wait(0.05):
            raise StepError(f"score-stream ended:\n{running.usage().last_lines()}")
        if time.monotonic() > deadline:
            raise StepError(f"score-stream did nothing for {_MOST_SECONDS:g} s:\n{running.usage().last_lines()}")
