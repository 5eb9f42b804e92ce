"""A guarded store in memory and a clock that the test turns."""

import pytest
from prometheus_client import CollectorRegistry

from contract import RawFeatures
from service.errors import OnlineStoreUnavailableError
from service.features.guard import GuardedFeatures, LastKnownGood
from service.telemetry.metrics import ServiceMetrics
from tests.models.fakes import DEFAULTS, NOW_US, SPEND, FakeOnlineFeatures, Rows, customer, small_contract

FAILURES_TO_OPEN = 5
RETRY_SECONDS = 0.5
COLUMN = {name: column for column, name in enumerate(DEFAULTS)}
DOWN = OnlineStoreUnavailableError("the online store is not available")
CUSTOMERS: dict[str, Rows] = {"a": customer(spend=1.0), "b": customer(spend=2.0), "c": customer(spend=3.0)}


class Clock:
    """The monotonic clock of the code under test; asyncio's own goes on as ever."""

    def __init__(self) -> None:
        self.now = 5000.0

    def monotonic(self) -> float:
        return self.now


class Guarded:
    """A guarded store in memory, and what it tells."""

    def __init__(self, deadline_seconds: float = 30.0, cache: LastKnownGood | None = None) -> None:
        self.store = FakeOnlineFeatures(small_contract(), dict(CUSTOMERS))
        self.registry = CollectorRegistry()
        self.features = GuardedFeatures(
            self.store, deadline_seconds, ServiceMetrics("small_churn", self.registry), cache
        )

    async def read(self, *customer_ids: str) -> RawFeatures:
        return await self.features.read(list(customer_ids), NOW_US)

    async def spend(self, *customer_ids: str) -> list[float]:
        values: list[float] = (await self.read(*customer_ids)).values[:, COLUMN[SPEND]].tolist()
        return values

    async def fail(self, times: int) -> None:
        self.store.failure = DOWN
        for _ in range(times):
            with pytest.raises(OnlineStoreUnavailableError):
                await self.read("a")
        self.store.failure = None

    def metric(self, name: str) -> float | None:
        return self.registry.get_sample_value(name, {"model": "small_churn"})
