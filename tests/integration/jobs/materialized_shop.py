"""An offline store of the shipped views, written directly, and what a Redis holds of it."""

import json
import os
import shutil
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import redis

from artefacts.addresses import Artefacts
from artefacts.build_record import Build
from jobs.feature_store import apply, open_feature_store
from jobs.materialization.materialize import materialize
from jobs.settings import JobsSettings
from tests.servers.redis_servers import RunningServer

NOW = datetime.now(UTC).replace(microsecond=0)
TIMESTAMP = pa.timestamp("us", tz="UTC")
VIEWS = ("customer_lifetime", "customer_orders_windowed")


@dataclass(frozen=True)
class Shop:
    """Feature rows whose every value tells the version that they are of.

    settings: of every run.
    """

    artefacts: Artefacts
    settings: JobsSettings

    @classmethod
    def in_folder(cls, folder: Path, redis_url: str | None, **settings: Any) -> "Shop":
        """Applied; no rows yet."""
        environment = {"REDIS_URL": redis_url} if redis_url else {}
        shop = cls(Artefacts.of(environment, root=folder), JobsSettings(**settings))
        apply(shop.artefacts)
        return shop

    def reset(self, server: RunningServer) -> None:
        """No build is in place, this Redis is empty, no run is recorded; the definitions stay applied."""
        server.command("FLUSHALL")
        shutil.rmtree(self.artefacts.offline_store, ignore_errors=True)
        self.artefacts.materialize_runs.unlink(missing_ok=True)

    def build(self, name: str, parts: dict[str, dict[str, tuple[list[str], datetime, int]]], source: str = "s") -> None:
        """Put a build in place.

        Args:
            parts: view → partition → customers, their event time, version. A partition that the build before has in
                the same words is taken over from it, as `jobs/features/build.py` does.
        """
        store = self.artefacts.offline_store
        before = store / "current"
        folder = store / "builds" / name
        for view in VIEWS:
            for partition, (customers, at, version) in parts[view].items():
                file = folder / view / partition / "part-0.parquet"
                file.parent.mkdir(parents=True)
                rows = self.rows(view, customers, at, version)
                old = before / view / partition / "part-0.parquet"
                if old.exists() and pq.read_table(old).equals(rows):
                    os.link(old, file)
                else:
                    pq.write_table(rows, file, row_group_size=500)
        (folder / "build.json").write_text(json.dumps(asdict(Build(name, source, "", "", {}, "", "", [], {}, {}))))
        link = store / f"current.{name}"
        link.symlink_to(Path("builds") / name)
        link.replace(before)

    def stream(self, view: str, batch: int, customers: list[str], at: datetime, version: int) -> None:
        """Add rows as the stream does."""
        file = self.artefacts.offline_store / "current" / view / "streamed" / f"batch-{batch}.parquet"
        file.parent.mkdir(exist_ok=True)
        pq.write_table(self.rows(view, customers, at, version, created=NOW), file)

    def rows(
        self, view: str, customers: list[str], at: datetime, version: int, created: datetime | None = None
    ) -> pa.Table:
        """Every feature of every row is the version."""
        count = len(customers)
        columns = self._columns(view)
        return pa.table(
            {
                "customer_id": pa.array(sorted(customers), pa.string()),
                **{name: pa.array(np.full(count, version)).cast(dtype) for name, dtype in columns.items()},
                "event_timestamp": pa.array([at] * count, TIMESTAMP),
                "created_timestamp": pa.array([created or NOW - timedelta(days=1)] * count, TIMESTAMP),
            }
        )

    def _columns(self, view: str) -> dict[str, pa.DataType]:
        fields = open_feature_store(self.artefacts).get_feature_view(view).features
        return {field.name: pa.int64() if str(field.dtype) == "Int64" else pa.float64() for field in fields}

    def materialize(self, until: datetime | None = NOW, **how: bool) -> dict[str, Any]:
        """Run it; what it recorded of itself."""
        materialize(self.artefacts, until, settings=self.settings, **how)
        return self.records()[-1]

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.artefacts.materialize_runs.read_text().splitlines()]

    def online(self, customers: list[str], view: str = VIEWS[0]) -> dict[str, int | None]:
        """Customer → version of the view's row, through Feast's SDK; a row of two versions fails."""
        store = open_feature_store(self.artefacts)
        names = list(self._columns(view))
        rows = [{"customer_id": customer} for customer in customers]
        answer = store.get_online_features([f"{view}:{name}" for name in names], rows).to_dict()
        found = {}
        for n, customer in enumerate(customers):
            versions = {answer[name][n] for name in names}
            assert 1 == len(versions), f"{customer}: {versions}"
            found[customer] = None if versions == {None} else int(versions.pop())
        return found

    def everything(self) -> dict[bytes, dict[bytes, bytes]]:
        """Every customer's hash."""
        with redis.Redis.from_url(str(self.artefacts.redis_url)) as client:
            return {key: client.hgetall(key) for key in client.scan_iter(b"*churn")}


def every(count: int) -> list[str]:
    return [f"{n:05d}" for n in range(count)]
