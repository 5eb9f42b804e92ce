"""The project's own features of three customers, as the jobs write them and the service's rooms read them."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from artefacts.addresses import Artefacts
from jobs.feature_store import apply, open_feature_store
from jobs.features.build import build_features
from jobs.materialization.materialize import materialize
from jobs.settings import JobsSettings
from training.churn.own_orders import write_own
from training.churn.source.addresses import OrderAddresses

NOW = datetime.now(UTC)
ORDERS = [("a", 50, 10.0), ("a", 20, 20.0), ("b", 30, 5.0), ("c", 3, 1.5)]
SPEND = {"a": 30.0, "b": 5.0, "c": 1.5, "nobody": None}


@dataclass(frozen=True)
class Shop:
    """Orders → features → Redis, as the make targets chain them."""

    artefacts: Artefacts

    @classmethod
    def in_folder(cls, folder: Path) -> "Shop":
        """Features are built; nothing is applied or materialized yet."""
        folder.mkdir(parents=True, exist_ok=True)
        artefacts, orders = Artefacts.of({}, root=folder), OrderAddresses.of({}, folder)
        lines = [f"{c},{(NOW - timedelta(days=days)).isoformat()},{amount},1" for c, days, amount in ORDERS]
        own = folder / "own.csv"
        own.write_text("\n".join(["customer_id,event_timestamp,amount,items", *lines]) + "\n")
        write_own(orders.orders, own, NOW)
        build_features(artefacts, orders, JobsSettings(), NOW)
        return cls(artefacts)

    def at(self, redis_url: str) -> "Shop":
        """The same orders and registry, another online store."""
        return Shop(self.artefacts.model_copy(update={"redis_url": redis_url}))

    def apply(self) -> None:
        apply(self.artefacts)

    def materialize(self, replace: bool = False, until: datetime = NOW) -> None:
        materialize(self.artefacts, until, replace)

    def spend(self) -> dict[str, Any]:
        """Customer → `total_spend`, read through Feast's SDK as scoring jobs and as the service do."""
        store = open_feature_store(self.artefacts)
        service = store.get_feature_service("churn_v1")
        rows: dict[str, list[Any]] = {
            "customer_id": list(SPEND),
            "as_of": [int(NOW.timestamp()) * 1_000_000] * len(SPEND),
        }
        there = store.get_online_features(service, rows).to_dict()["total_spend"]
        assert there == asyncio.run(_spend_as_the_service(store, service, rows))
        return dict(zip(SPEND, there, strict=True))


async def _spend_as_the_service(store: Any, service: Any, rows: dict[str, list[Any]]) -> list[Any]:
    answer = await store.get_online_features_async(features=service, entity_rows=rows)
    client = store.provider.online_store._client_async
    pool = getattr(client, "connection_pool", None)
    for sentinel in getattr(getattr(pool, "sentinel_manager", None), "sentinels", ()):
        await sentinel.aclose()
    await client.aclose()
    values: list[Any] = answer.to_dict()["total_spend"]
    return values
