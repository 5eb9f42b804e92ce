"""Online vectors against the point-in-time join, value by value: `python -m tests.parity` prints what differs.

A process of its own, so that it can be run under several PYTHONHASHSEEDs. `--plant` breaks one side on
purpose: a check that cannot fail proves nothing.
"""

import argparse
import asyncio
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from artefacts.addresses import PROJECT_ROOT, Artefacts
from contract import ModelContract, RawFeatures, Resolver
from scoring.feature_columns import encoded
from service.features.opening import open_feast
from service.features.port import OnlineFeatures
from training.churn.source.addresses import OrderAddresses
from training.data.dataset import TrainingData

UNKNOWN = 25
CHUNK = 500


def compare(
    artefacts: Artefacts, contract: ModelContract, at: datetime, customers: int, plant: str, compiled: bool
) -> dict[str, object]:
    """Compare the model's input of `customers` known and a few unknown customers at one time.

    Args:
        compiled: read online by the compiled plan, else through Feast's SDK.

    Returns:
        reader: the class that read online.
        rows, values, differing (model input, float32), differing_raw (stored values of fresh
        features, float64), defaulted (how many values the contract's default stood in for), and
        the names of the features that differ.
    """
    ids = _customers(OrderAddresses.of(os.environ).orders, at, customers) + [f"unknown-{i}" for i in range(UNKNOWN)]
    served = contract
    if plant == "swapped-columns":
        first, *middle, last = contract.inputs
        served = contract.model_copy(update={"inputs": (last, *middle, first)})
    if plant == "changed-default":
        changed = tuple(f.model_copy(update={"default": float(f.default or 0) + 1}) for f in contract.inputs)
        served = contract.model_copy(update={"inputs": changed})
    features = open_feast(
        PROJECT_ROOT / "feature_repo", artefacts, served, compiled=compiled, stall_seconds=30
    ).features
    raw = asyncio.run(_read(features, ids, at))
    online = Resolver.of(served).resolve(raw, at.timestamp())

    cutoff = at - timedelta(days=1) if plant == "one-day-shift" else at
    data = TrainingData(artefacts, contract.feature_service)
    entities = pd.DataFrame({"customer_id": ids, "event_timestamp": pd.Timestamp(cutoff)})
    entities["event_timestamp"] = entities["event_timestamp"].astype("datetime64[us, UTC]")
    joined = data.features_at(entities)
    values = encoded(joined, contract.inputs)
    offline = Resolver.of(contract).resolve(RawFeatures(values, None), float("nan"))

    differs: NDArray[np.bool_] = np.not_equal(online.matrix, offline.matrix)
    fresh = online.states == 0
    raw_differs: NDArray[np.bool_] = fresh & np.not_equal(raw.values, values)
    return {
        "reader": type(features).__name__,
        "rows": len(ids),
        "values": int(differs.size),
        "differing": int(differs.sum()),
        "differing_raw": int(raw_differs.sum()),
        "defaulted": int(online.defaulted[:-UNKNOWN].sum()),
        "unknown_rows": int((~online.known).sum()),
        "features": [contract.feature_names[i] for i in np.flatnonzero(differs.any(axis=0))],
    }


async def _read(features: OnlineFeatures, ids: list[str], at: datetime) -> RawFeatures:
    as_of = int(at.timestamp()) * 1_000_000
    parts = [await features.read(ids[start : start + CHUNK], as_of) for start in range(0, len(ids), CHUNK)]
    await features.close()
    times = [part.event_times for part in parts if part.event_times is not None]
    return RawFeatures(np.concatenate([part.values for part in parts]), np.concatenate(times))


def _customers(orders: Path, at: datetime, count: int) -> list[str]:
    """Customers with an order before `at`, evenly spread over all of them."""
    table = pq.read_table(orders, columns=["customer_id", "event_timestamp"]).to_pandas()
    seen = sorted(table.loc[table["event_timestamp"] < at, "customer_id"].unique())
    return [seen[i] for i in np.linspace(0, len(seen) - 1, count).astype(int)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--contract", type=Path, required=True)
    parser.add_argument("--at", required=True)
    parser.add_argument("--customers", type=int, default=1500)
    parser.add_argument(
        "--plant",
        nargs="+",
        default=["nothing"],
        choices=["nothing", "one-day-shift", "swapped-columns", "changed-default"],
    )
    parser.add_argument("--reader", choices=["compiled", "sdk"], default="compiled")
    chosen = parser.parse_args()
    artefacts = Artefacts.of(os.environ)
    contract = ModelContract.from_json(chosen.contract.read_bytes())
    at = datetime.fromisoformat(chosen.at).astimezone(UTC)
    compiled = chosen.reader == "compiled"
    results = {plant: compare(artefacts, contract, at, chosen.customers, plant, compiled) for plant in chosen.plant}
    print(json.dumps(results))


if __name__ == "__main__":
    main()
