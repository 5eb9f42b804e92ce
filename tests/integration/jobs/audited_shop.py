"""A shop that serves with the service's own predictor and logs what it answered, for the audit of skew."""

import asyncio
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import redis
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from artefacts.addresses import PROJECT_ROOT, Artefacts
from contract import Key, RawFeatures
from jobs.feature_store import apply
from jobs.features.build import build_features
from jobs.materialization.materialize import materialize
from jobs.settings import JobsSettings
from jobs.skew.audit import Audit, audit_skew
from jobs.times import unix_us
from scoring.inference_log import Answers, log_table
from scoring.models.imported_model import ImportedModel
from service.errors import OnlineStoreUnavailableError
from service.features.opening import open_feast
from service.features.port import OnlineFeatures
from service.prediction.predictor import Predictor
from service.telemetry.metrics import ServiceMetrics
from tests.models.churn_model import churn_model
from training.churn.own_orders import write_own
from training.churn.source.addresses import OrderAddresses

CUSTOMERS = 2_700
SETTINGS = JobsSettings(materialize_verify_rows=0)
NOW = datetime.now(UTC)
MIDNIGHT = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
LIFETIME, WINDOWED, RECENCY = "customer_lifetime", "customer_orders_windowed", "customer_recency"
SPEND = f"{LIFETIME}__total_spend"
FEW = [f"{n:05d}" for n in range(1, 41)]

IMPORT = """
import hashlib, shutil, sys
from pathlib import Path
import bentoml
from contract import content_sha256
folder, tag = Path(sys.argv[1]), sys.argv[2]
files = {name: (folder / name).read_bytes() for name in ("contract.json", "model.onnx", "model.skops")}
digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
metadata = {"file_sha256": digests["model.onnx"], "pipeline_sha256": digests["model.skops"]}
metadata["contract_sha256"] = content_sha256(files["contract.json"])
with bentoml.models.create(tag, labels={"runtime": "onnx"}, metadata=metadata) as stored:
    shutil.copytree(folder, stored.path, dirs_exist_ok=True)
"""
"""Puts a model's folder into the BentoML store under a tag; for a process of its own, since a process opens it once."""


def some_orders() -> list[tuple[str, datetime, float]]:
    """Each customer four times over 200 days; every tenth also yesterday afternoon and four days ago."""
    random = np.random.default_rng(4)
    orders = [
        (
            f"{n % CUSTOMERS + 1:05d}",
            MIDNIGHT - timedelta(days=float(random.uniform(5, 200))),
            1 + (n * 31 % 5000) / 100,
        )
        for n in range(4 * CUSTOMERS)
    ]
    for n in range(10, CUSTOMERS + 1, 10):
        orders += [(f"{n:05d}", MIDNIGHT - timedelta(days=days, hours=9), 20.5 + n % 7) for days in (0, 3)]
    return orders


@dataclass
class Shop:
    """Orders, an offline store, a Redis and a model; what is served is logged below `artefacts.inference_log`."""

    artefacts: Artefacts
    root: Path
    model: ImportedModel
    written: int = 0

    @classmethod
    def in_folder(cls, root: Path, redis_url: str) -> "Shop":
        """With `some_orders`; nothing is in Redis yet."""
        artefacts = Artefacts.of({"REDIS_URL": redis_url}, root=root)
        take(artefacts, some_orders())
        apply(artefacts)
        return cls(artefacts, root, churn_model(artefacts, root / "model"))

    def logging_to(self, folder: Path) -> "Shop":
        """The same with a log and a report of its own."""
        return replace(self, artefacts=self.artefacts.model_copy(update={"inference_log": folder / "log"}), root=folder)

    def anew(self, folder: Path, orders: list[tuple[str, datetime, float]]) -> "Shop":
        """The same Redis and model over other orders, whose builds no other test sees."""
        artefacts = Artefacts.of({"REDIS_URL": str(self.artefacts.redis_url)}, root=folder)
        take(artefacts, orders)
        apply(artefacts)
        return replace(self, artefacts=artefacts, root=folder)

    def put(self, answers: Answers) -> None:
        """As `service.prediction.batch.AnswerLog`: a file for each call."""
        table = log_table(answers)
        day = pc.max(table["as_of"]).as_py().date()
        self.write(table, f"date={day}/{self.written:06d}.parquet")

    def write(self, table: pa.Table, name: str) -> Path:
        file = self.artefacts.inference_log / name
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, file)
        self.written += 1
        return file

    def fill(self, until: datetime = NOW) -> None:
        """Redis as a materialization up to a time leaves it."""
        materialize(self.artefacts, until, replace=True, take_over=True, settings=SETTINGS)

    def serve(
        self,
        customers: Sequence[str] = FEW,
        at: datetime | None = None,
        overrides: dict[str, object] | None = None,
        model: ImportedModel | None = None,
        through: Callable[[OnlineFeatures], OnlineFeatures] = lambda features: features,
    ) -> datetime:
        """Predict for all, a hundred in a request; the time of the decisions."""
        at = at or datetime.now(UTC)

        async def predict() -> None:
            served = model or self.model
            features = through(
                open_feast(PROJECT_ROOT / "feature_repo", self.artefacts, served.contract, stall_seconds=30).features
            )
            predictor = Predictor(served, features, ServiceMetrics("small_churn", CollectorRegistry()), log=self)
            for start in range(0, len(customers), 100):
                await predictor.predict(customers[start : start + 100], unix_us(at), overrides, f"r{start // 100}-{at}")
            await predictor.close()

        asyncio.run(predict())
        return at

    def audit(self, **how: Any) -> dict[str, Any]:
        """What is reported; thresholds that allow everything unless they are given."""
        allowed = {"max_unexplained": 10**9, "max_faults": 10**9, "max_moved": 1.0}
        out = self.root / "skew"
        return audit_skew(self.artefacts, Audit(out, **{**allowed, **how}), opened=lambda _: self.model)

    def stored(self, view: str) -> pd.DataFrame:
        """All rows of a view in the build in place."""
        rows: pd.DataFrame = ds.dataset(self.artefacts.offline_store / "current" / view).to_table().to_pandas()
        return rows.sort_values(["customer_id", "event_timestamp"])

    @contextmanager
    def streamed(self, view: str, rows: pd.DataFrame) -> Iterator[None]:
        """Rows that the stream has added to the build in place."""
        folder = self.artefacts.offline_store / "current" / view
        schema = pq.read_schema(next(folder.rglob("*.parquet")))
        file = folder / "streamed" / "batch-0.parquet"
        file.parent.mkdir()
        pq.write_table(pa.Table.from_pandas(rows, schema=schema, preserve_index=False), file)
        try:
            yield
        finally:
            shutil.rmtree(file.parent)


def take(artefacts: Artefacts, orders: list[tuple[str, datetime, float]], now: datetime = NOW) -> None:
    """Orders of one item each → a build of the offline store, by a clock that shows `now`."""
    source = OrderAddresses.of({}, artefacts.offline_store.parents[1])
    own = source.orders.parent / "own.csv"
    own.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{customer},{at.isoformat()},{amount},1" for customer, at, amount in orders]
    own.write_text("\n".join(["customer_id,event_timestamp,amount,items", *lines]) + "\n")
    write_own(source.orders, own, now)
    build_features(artefacts, source, SETTINGS, now)


def date_build(artefacts: Artefacts, at: datetime) -> None:
    """Name the build in place as one that was made at that time, as its folder and what it says of itself have it."""
    current = artefacts.offline_store / "current"
    made = current.resolve()
    name = f"{at:%Y%m%dT%H%M%S%f}"
    described = made / "build.json"
    described.write_text(described.read_text().replace(made.name, name))
    made.rename(made.with_name(name))
    current.unlink()
    current.symlink_to(Path("builds") / name)


def of_class(report: dict[str, Any]) -> dict[str, int]:
    """The classes that were found."""
    return {kind: count for kind, count in report["classes"].items() if count}


@contextmanager
def in_redis(shop: Shop, customer: str) -> Iterator[tuple[Any, bytes, Callable[[str], bytes]]]:
    """A client, the customer's hash in it, and the field of a feature reference."""
    from feast.infra.online_stores.helpers import _mmh3, _redis_key
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    key = EntityKey(join_keys=["customer_id"], entity_values=[Value(string_val=customer)])

    def field_of(reference: str) -> bytes:
        return bytes(_mmh3(reference.replace("__", ":", 1)))

    with redis.Redis.from_url(str(shop.artefacts.redis_url)) as client:
        yield client, bytes(_redis_key("churn", key, entity_key_serialization_version=3)), field_of


@dataclass
class FailsLater:
    """The store is gone after the first read."""

    features: OnlineFeatures
    reads: int = 0

    async def read(
        self,
        keys: Sequence[Key],
        as_of_unix_us: int | NDArray[np.int64],
        given: Mapping[str, Sequence[Any]] | None = None,
    ) -> RawFeatures:
        self.reads += 1
        if self.reads > 1:
            raise OnlineStoreUnavailableError("planted")
        return await self.features.read(keys, as_of_unix_us, given)

    async def close(self) -> None:
        await self.features.close()
