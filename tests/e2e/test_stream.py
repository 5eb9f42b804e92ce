"""Orders dropped into a folder change what the running service answers; whatever is killed, each counts once."""

import json
import os
import random
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

from jobs.orders import ORDERS_SCHEMA
from tests.loop import Loop
from tests.serving import wait_until
from tests.spark import needs_spark

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

    def put(self, content: bytes, suffix: str) -> None:
        (self.folder / "in").mkdir(exist_ok=True)
        self.dropped += 1
        written = self.folder / f"{self.dropped}.{suffix}"
        written.write_bytes(content)
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


@needs_spark
@pytest.mark.timeout(900)
def test_a_stream_that_is_killed_again_and_again_counts_every_order_and_predicts_every_customer_once(
    loop: Loop, tmp_path: Path
) -> None:
    random_ = random.Random(7)
    customers = [f"killed-{n}" for n in range(12)]
    sent: Counter[str] = Counter()
    with following(loop, tmp_path) as stream:
        for _ in range(3):
            for _ in range(4):
                customer = random_.choice(customers)
                stream.drop(order(customer, sent[customer], minutes_ago=60 - sum(sent.values())))
                sent[customer] += 1
                time.sleep(random_.random())
            time.sleep(random_.random() * 2)
            stream.end(signal.SIGKILL)
            stream.start()
        wait_until(lambda: {row["customer_id"] for row in stream.predictions()} == set(sent), 60)
        wait_until(lambda: {customer: _order_count(loop, customer) for customer in sent} == sent, 60)

    assert sent == _streamed(loop, customers)
    rows = [(row["customer_id"], row["as_of"]) for row in stream.predictions()]
    assert len(rows) == len(set(rows))
    batches = Counter(
        (file.parent.name, row)
        for file in (tmp_path / "predictions").glob("batch=*/*.parquet")
        for row in pq.ParquetFile(file).read(["customer_id"])["customer_id"].to_pylist()
    )
    assert {1} == set(batches.values())


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
