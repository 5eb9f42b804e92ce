"""Online vectors against the point-in-time join, value by value: `python -m tests.parity` prints what differs.

A process of its own, so that it can be run under several PYTHONHASHSEEDs. `--plant` breaks one side on
purpose: a check that cannot fail proves nothing.
"""

import argparse
import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from artefacts.addresses import Artefacts
from contract import Key, ModelContract, RawFeatures, Resolver
from scoring.feature_columns import encoded
from service.features.opening import open_feast
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
    raw, reader = read_online(artefacts, served, ids, at, compiled=compiled)
    online = Resolver.of(served).resolve(raw, at.timestamp())

    cutoff = at - timedelta(days=1) if plant == "one-day-shift" else at
    joined = read_join(artefacts, contract, pd.DataFrame({"customer_id": ids}), cutoff)
    offline = Resolver.of(contract).resolve(joined, float("nan"))

    differs: NDArray[np.bool_] = np.not_equal(online.matrix, offline.matrix)
    fresh = online.states == 0
    raw_differs: NDArray[np.bool_] = fresh & np.not_equal(raw.values, joined.values)
    return {
        "reader": reader,
        "rows": len(ids),
        "values": int(differs.size),
        "differing": int(differs.sum()),
        "differing_raw": int(raw_differs.sum()),
        "defaulted": int(online.defaulted[:-UNKNOWN].sum()),
        "unknown_rows": int((~online.known).sum()),
        "features": [contract.feature_names[i] for i in np.flatnonzero(differs.any(axis=0))],
    }


def read_online(
    artefacts: Artefacts,
    contract: ModelContract,
    keys: Sequence[Key],
    at: datetime,
    given: Mapping[str, Sequence[Any]] | None = None,
    *,
    compiled: bool,
) -> tuple[RawFeatures, str]:
    """What the service reads for n keys, and the class that read it.

    Args:
        given: request input → n values.
        compiled: by the compiled plan, else through Feast's SDK.
    """
    opened = open_feast(artefacts.feature_repo, artefacts, contract, compiled=compiled, stall_seconds=30)
    as_of_us = int(at.timestamp()) * 1_000_000

    async def read() -> RawFeatures:
        parts = []
        for start in range(0, len(keys), CHUNK):
            part = slice(start, start + CHUNK)
            of_part = {name: values[part] for name, values in (given or {}).items()}
            parts.append(await opened.features.read(keys[part], as_of_us, of_part or None))
        await opened.features.close()
        return RawFeatures.joined(parts)

    return asyncio.run(read()), type(opened.features).__name__


def read_join(artefacts: Artefacts, contract: ModelContract, entities: pd.DataFrame, at: datetime) -> RawFeatures:
    """What training reads at a time for n rows of keys and request values."""
    times = pd.Series([pd.Timestamp(at)] * len(entities), entities.index).astype("datetime64[us, UTC]")
    columns = TrainingData(artefacts, contract.feature_service).features_at(entities.assign(event_timestamp=times))
    return RawFeatures(encoded(columns, contract.inputs), None)


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
