"""A shop whose orders come from a file and from a stream; and what a build from nothing says of all its orders."""

import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import redis

from artefacts.addresses import Artefacts
from jobs.feature_store import apply, open_feature_store
from jobs.features.build import build_features
from jobs.local import embedded_redis
from jobs.materialization.materialize import materialize
from jobs.materialization.redis_store.redis_client import client_beside
from jobs.settings import JobsSettings
from jobs.stream.micro_batch import BatchRecord, StreamBatches, StreamFolders
from jobs.stream.order_events import RefusedEvent
from scoring.models.imported_model import ImportedModel
from tests.models.churn_model import churn_model
from training.churn.own_orders import write_own
from training.churn.source.addresses import OrderAddresses
from training.churn.source.orders_schema import ORDERS_SCHEMA

NOW = datetime.now(UTC).replace(microsecond=0)
MIDNIGHT = NOW.replace(hour=0, minute=0, second=0)
SETTINGS = JobsSettings(stream_watermark_days=30)
Order = tuple[str, str, datetime, float]
"""order id, customer, time, amount"""

HISTORY: list[Order] = [
    (f"h-{n}", f"{n % 40 + 1:05d}", MIDNIGHT - timedelta(days=1 + (n * 7) % 200, minutes=n % 50), (n * 31 % 500) / 10)
    for n in range(160)
]


def orders_table(orders: list[Order]) -> pa.Table:
    rows = [
        {"order_id": order, "customer_id": customer, "event_timestamp": at, "amount": amount, "items": 1}
        for order, customer, at, amount in orders
    ]
    return pa.Table.from_pylist(rows, schema=ORDERS_SCHEMA)


@dataclass(frozen=True)
class StreamingShop:
    """One for the tests of a module, each of which begins with `reset`: applying definitions takes seconds.

    folder: of everything; `predictions` and `dead_letters` among it.
    from_nothing: stores of its own, over the same orders.
    """

    folder: Path
    artefacts: Artefacts
    from_nothing: Artefacts
    model: ImportedModel

    @property
    def orders(self) -> OrderAddresses:
        return OrderAddresses.of({}, self.folder)

    @classmethod
    def in_folder(cls, folder: Path) -> "StreamingShop":
        """The definitions are applied and a model is there."""
        artefacts = Artefacts.of({"REDIS_URL": embedded_redis.start(root=folder)}, root=folder)
        root = folder / "from_nothing"
        root.mkdir()
        from_nothing = Artefacts.of({"REDIS_URL": embedded_redis.start(root=root)}, root=root)
        lines = [f"{o},{c},{at.isoformat()},{amount},1" for o, c, at, amount in HISTORY]
        own = folder / "own.csv"
        own.write_text("\n".join(["order_id,customer_id,event_timestamp,amount,items", *lines]) + "\n")
        write_own(OrderAddresses.of({}, folder).orders, own, NOW)
        for each in (artefacts, from_nothing):
            apply(each)
        return cls(folder, artefacts, from_nothing, churn_model(artefacts, folder / "model"))

    def close(self) -> None:
        embedded_redis.stop(root=self.folder)
        embedded_redis.stop(root=self.folder / "from_nothing")

    def reset(self) -> None:
        """The history is built and materialized; nothing has been streamed."""
        for each in (self.orders.streamed_orders, self.folders.predictions, self.folders.dead_letters):
            shutil.rmtree(each, ignore_errors=True)
        self.build(NOW)

    def build(self, now: datetime) -> None:
        """What is there is built anew at that time, and materialized into an empty Redis."""
        self._build(self.artefacts, now)

    def _build(self, artefacts: Artefacts, now: datetime) -> None:
        assert artefacts.redis_url
        with redis.Redis.from_url(artefacts.redis_url) as client:
            client.flushall()
        shutil.rmtree(artefacts.offline_store, ignore_errors=True)
        build_features(artefacts, self.orders, SETTINGS, now, full=True)
        materialize(artefacts, now)

    @property
    def folders(self) -> StreamFolders:
        return StreamFolders(self.folder / "predictions", self.folder / "dead_letters")

    def batches(self) -> StreamBatches:
        """As a new process has them."""
        store = open_feature_store(self.artefacts)
        client = client_beside(store, str(self.artefacts.redis_url))
        return StreamBatches(self.artefacts, self.orders, store, client, self.model, self.folders, SETTINGS)

    def process(
        self, number: int, orders: list[Order], refused: tuple[RefusedEvent, ...] = (), now: datetime = NOW
    ) -> BatchRecord:
        return self.batches().process(number, orders_table(orders), refused, now)

    def predictions(self) -> dict[int, list[dict[str, Any]]]:
        """Batch → its rows."""
        return {
            int(file.parent.name.removeprefix("batch=")): pq.read_table(file, partitioning=None).to_pylist()
            for file in self.folders.predictions.rglob("*.parquet")
        }

    def dead_letters(self) -> list[dict[str, str]]:
        files = sorted(self.folders.dead_letters.rglob("*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]

    def online(self) -> dict[bytes, dict[bytes, bytes]]:
        """Every customer's hash."""
        return stored_hashes(self.artefacts)

    def online_from_nothing(self, now: datetime = NOW) -> dict[bytes, dict[bytes, bytes]]:
        """What a full build of all orders that are known, and a materialization into an empty Redis, put online."""
        self._build(self.from_nothing, now)
        return stored_hashes(self.from_nothing)


def stored_hashes(artefacts: Artefacts) -> dict[bytes, dict[bytes, bytes]]:
    assert artefacts.redis_url
    with redis.Redis.from_url(artefacts.redis_url) as client:
        return {key: client.hgetall(key) for key in client.scan_iter(b"*churn") if client.type(key) == b"hash"}
