"""Orders dropped into a folder change what the running service answers; whatever is killed, each counts once."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.loop import Loop
from tests.servers.serving import wait_until
from tests.servers.spark import needs_spark
from training.churn.source.orders_schema import ORDERS_SCHEMA

START_SECONDS = 90


@dataclass
class Followed:
    """`make score-stream` over folders of a test's own, on the loop's stores."""

    loop: Loop
    folder: Path
    process: "subprocess.Popen[bytes] | None" = None
    dropped: int = field(default=0)

    @property
    def log(self) -> Path:
        return self.folder / "stream.log"

    def start(self, source: str = "json") -> None:
        before = self.log.read_text().count("following") if self.log.exists() else 0
        with self.log.open("a") as output:
            self.process = subprocess.Popen(
                ["make", "score-stream", f"INCOMING={self.folder / 'in'}", f"OUT={self.folder}", f"SOURCE={source}"],
                cwd=self.loop.root,
                env={**self.loop.environment, "JOBS_SPARK_MASTER": "local[2]"},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_until(lambda: self.log.read_text().count("following") > before, START_SECONDS)

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self.process is not None:
            if self.process.poll() is None:
                os.killpg(self.process.pid, how)
            self.process.wait(timeout=60)

    def drop(self, *events: dict[str, Any] | str) -> None:
        """A file of events, moved in whole."""
        lines = [event if isinstance(event, str) else json.dumps(event) for event in events]
        self.put("\n".join(lines).encode(), "json")

    def drop_old(self, *events: dict[str, Any]) -> None:
        """The same, written long before it is moved in."""
        self.put("\n".join(map(json.dumps, events)).encode(), "json", days_ago=400)

    def put(self, content: bytes, suffix: str, days_ago: int = 0) -> None:
        (self.folder / "in").mkdir(exist_ok=True)
        self.dropped += 1
        written = self.folder / f"{self.dropped}.{suffix}"
        written.write_bytes(content)
        at = time.time() - days_ago * 86_400
        os.utime(written, (at, at))
        written.rename(self.folder / "in" / written.name)

    def predictions(self) -> list[dict[str, Any]]:
        files = sorted((self.folder / "predictions").glob("batch=*/*.parquet"))
        return [row for file in files for row in pq.ParquetFile(file).read().to_pylist()]

    def dead_letters(self) -> list[dict[str, str]]:
        files = sorted((self.folder / "dead_letters").glob("batch=*/*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]


@contextmanager
def following(loop: Loop, folder: Path, source: str = "json") -> Iterator[Followed]:
    stream = Followed(loop, folder)
    (folder / "in").mkdir()
    stream.start(source)
    try:
        yield stream
    finally:
        stream.end()


def order(customer: str, number: object, minutes_ago: float = 5) -> dict[str, Any]:
    at = datetime.now(UTC) - timedelta(minutes=minutes_ago)
    order_id = f"{customer}-{number}"
    return {"order_id": order_id, "customer_id": customer, "event_timestamp": at.isoformat(), "amount": 9.5, "items": 1}


def ask(loop: Loop, customer: str) -> tuple[int, Any]:
    answer = loop.call("POST", "/predict", {"customer_id": customer})
    return answer.status, answer.body


@needs_spark
def test_an_order_changes_the_answer_and_what_is_no_order_does_not_stop_it(loop: Loop, tmp_path: Path) -> None:
    assert 404 == ask(loop, "streamed-1")[0]
    with following(loop, tmp_path) as stream:
        stream.drop(order("streamed-1", 0))  # the first batch also starts Spark's threads
        wait_until(lambda: ask(loop, "streamed-1")[0] == 200, 60)
        _, before = ask(loop, "streamed-1")

        stream.drop("{not json", order("streamed-1", 1, minutes_ago=1), {**order("x", 1), "amount": -1})
        wait_until(lambda: ask(loop, "streamed-1")[1]["churn_probability"] != before["churn_probability"], 60)
        wait_until(lambda: len(stream.predictions()) == 2)

    assert ["is not JSON", "amount: expected"] == [
        letter["reason"][: len(expected)]
        for letter, expected in zip(stream.dead_letters(), ("is not JSON", "amount: expected"), strict=True)
    ]


@needs_spark
def test_parquet_files_are_followed_and_a_damaged_one_is_put_aside(loop: Loop, tmp_path: Path) -> None:
    good = {**order("streamed-2", 0), "event_timestamp": datetime.now(UTC) - timedelta(minutes=5)}
    file = tmp_path / "good.parquet"
    pq.write_table(pa.Table.from_pylist([good], schema=ORDERS_SCHEMA), file)
    with following(loop, tmp_path, "parquet") as stream:
        stream.put(b"PAR1 damaged", "parquet")
        stream.put(file.read_bytes(), "parquet")

        wait_until(lambda: ask(loop, "streamed-2")[0] == 200, 60)
        wait_until(lambda: bool(stream.dead_letters() and stream.predictions()), 60)

    ((letter,), (prediction,)) = stream.dead_letters(), stream.predictions()
    assert "is not readable as Parquet" in letter["reason"]
    assert "streamed-2" == prediction["customer_id"]


ENDS: list[tuple[signal.Signals, str]] = [
    (signal.SIGTERM, "stays"),
    (signal.SIGKILL, "stays"),
    (signal.SIGKILL, "is lost"),
    (signal.SIGTERM, "is an older copy"),
    (signal.SIGKILL, "stays"),
]
"""How a stream ends, and what becomes of its checkpoint before it is started again."""


@needs_spark
@pytest.mark.timeout(900)
def test_a_stream_that_is_restarted_at_any_point_counts_every_order_once_and_predicts_every_customer_once(
    loop: Loop, tmp_path: Path
) -> None:
    """Of each file, one customer has no other order; another has one in every file."""
    random_ = random.Random(7)
    checkpoint, copy = tmp_path / "checkpoint", tmp_path / "copy"
    sent = 0

    def drop_some() -> None:
        nonlocal sent
        for _ in range(random_.randint(1, 3)):
            minutes = 600 - sent
            stream.drop(order(f"once-{sent}", 0, minutes), order("often", sent, minutes))
            sent += 1
            time.sleep(random_.random())

    with following(loop, tmp_path) as stream:
        for how, checkpoint_then in ENDS:
            drop_some()
            if random_.random() < 0.5:
                wait_until(lambda: len(stream.predictions()) >= 2, 60)
            time.sleep(random_.random() * 3)
            stream.end(how)
            drop_some()
            if checkpoint_then == "is lost":
                shutil.rmtree(checkpoint)
            elif checkpoint_then == "is an older copy":
                shutil.rmtree(checkpoint)
                shutil.copytree(copy, checkpoint)
            else:
                shutil.rmtree(copy, ignore_errors=True)
                shutil.copytree(checkpoint, copy)
            stream.start()
        assert 1 == _second_stream(stream), "two streams at once on the same folders"
        stream.drop_old(order(f"once-{sent}", 0, 1), order("often", sent, 1))
        sent += 1
        customers = [f"once-{n}" for n in range(sent)]
        wait_until(lambda: {row["customer_id"] for row in stream.predictions()} == {*customers, "often"}, 60)
        wait_until(lambda: _order_count(loop, "often") == sent, 60)

    assert Counter(customers + ["often"] * sent) == _streamed(loop, [*customers, "often"])
    predicted = Counter(row["customer_id"] for row in stream.predictions())
    assert Counter(customers) == Counter({customer: predicted[customer] for customer in customers})
    assert len({(row["customer_id"], row["as_of"]) for row in stream.predictions()}) == predicted.total()
    assert {1} == {_order_count(loop, customer) for customer in customers}
    assert {customer: 1 for customer in customers} | {"often": sent} == _offline(loop, [*customers, "often"])


def _second_stream(stream: Followed) -> int:
    """Exit code of another stream into the same folders."""
    done = stream.loop.make("score-stream", f"INCOMING={stream.folder / 'in'}", f"OUT={stream.folder}", timeout=90)
    assert f"{stream.folder}: another stream writes there" in done.stderr or "streamed_orders: another" in done.stderr
    return min(done.returncode, 1)


def _offline(loop: Loop, customers: list[str]) -> dict[str, int]:
    """Customer → times of theirs in the offline store, where the newest row counts as many orders."""
    files = (loop.root / "var" / "offline_store" / "current" / "customer_lifetime").rglob("*.parquet")
    found: dict[str, dict[datetime, int]] = {}
    for file in files:
        for row in pq.ParquetFile(file).read(["customer_id", "event_timestamp", "order_count"]).to_pylist():
            times = found.setdefault(row["customer_id"], {})
            times[row["event_timestamp"]] = max(row["order_count"], times.get(row["event_timestamp"], 0))
    rows = {customer: found[customer] for customer in customers}
    assert all(len(times) == times[max(times)] for times in rows.values())
    return {customer: len(times) for customer, times in rows.items()}


def _streamed(loop: Loop, customers: list[str]) -> Counter[str]:
    """Customer → rows of theirs among the streamed orders."""
    files = (loop.root / "var" / "data" / "streamed_orders").glob("batch=*/*.parquet")
    ids = [row for file in files for row in pq.ParquetFile(file).read(["customer_id"])["customer_id"].to_pylist()]
    return Counter(customer for customer in ids if customer in customers)


def _order_count(loop: Loop, customer: str) -> int:
    """As the service sees it."""
    explained = loop.call("POST", "/explain", {"customer_id": customer}).body
    (value,) = [
        part["value"] for part in explained["contributions"] if part["feature"] == "customer_lifetime__order_count"
    ]
    return int(value)
