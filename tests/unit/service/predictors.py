"""Predictors over an online store in memory and a real small model."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from prometheus_client import CollectorRegistry

from service.features.guard import GuardedFeatures, LastKnownGood
from service.prediction.predictor import Predictor
from service.telemetry.metrics import ServiceMetrics
from tests.models.fakes import (
    DAYS_SINCE,
    DEFAULTS,
    MEMBER,
    ORDERS,
    ORDERS_30D,
    SPEND,
    FakeOnlineFeatures,
    Rows,
    customer,
    small_contract,
    small_pipeline,
    store_model,
)


@dataclass(frozen=True)
class Built:
    """A predictor, the store it reads and what it counts."""

    predictor: Predictor
    store: FakeOnlineFeatures
    registry: CollectorRegistry

    def count(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, {"model": "small_churn", **labels}) or 0.0


def predictor_over(
    folder: Path,
    rows: Mapping[str, Rows],
    *,
    policies: Mapping[str, Mapping[str, str]] | None = None,
    threshold: float = 0.5,
    gate: asyncio.Event | None = None,
    failure: Exception | None = None,
    guard: bool = False,
) -> Built:
    """A predictor over given rows, its model stored in `folder`.

    Args:
        guard: give up after 0.05 s, and let values of earlier reads stand in.
    """
    contract = small_contract(threshold=threshold, policies=policies)
    store = FakeOnlineFeatures(contract, rows, gate=gate, failure=failure)
    registry = CollectorRegistry()
    metrics = ServiceMetrics("small_churn", registry)
    features = GuardedFeatures(store, 0.05, metrics, LastKnownGood(100, 60.0)) if guard else store
    return Built(Predictor(store_model(folder, contract).load(), features, metrics), store, registry)


def expected_probability(**features: float) -> float:
    """What the pipeline itself says of a row, the rest of it being `customer()`'s."""
    row = {DAYS_SINCE: 10.0, ORDERS_30D: 2.0, SPEND: 120.0, MEMBER: 1.0, ORDERS: 4.0} | features
    matrix = np.array([[row[name] for name in DEFAULTS]], dtype=np.float32)
    return float(small_pipeline().predict_proba(pd.DataFrame(matrix, columns=list(DEFAULTS)))[0, 1])


def people(count: int) -> dict[str, Rows]:
    return {f"{i:05d}": customer(spend=10.0 + i, days_since=3.0 * i) for i in range(count)}
