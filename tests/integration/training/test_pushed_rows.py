"""Rows that others push into a table of their own are served, and joined in training, as rows of the table."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from feast.data_source import PushMode
from numpy.typing import NDArray

from artefacts.addresses import Artefacts
from contract import ModelContract
from jobs.feature_store import open_feature_store
from jobs.local import embedded_redis
from jobs.materialization.materialize import materialize
from service.features.opening import open_feast
from tests.integration.training.test_tables import LOOSE, NUMBERS, initialised
from tests.unit.training.tables.shop import customers
from training.data.dataset import TrainingData
from training.row_splits.split_rows import Part
from training.tracking.registry import contract_of
from training.train import train_version
from training.use_case import Binary

NAMES = ["leavers__tenure", "leavers__charge"]


async def read(artefacts: Artefacts, contract: ModelContract, customer: int) -> NDArray[np.float64]:
    """What the service reads of a customer, as a row of one."""
    features = open_feast(artefacts.feature_repo, artefacts, contract, stall_seconds=5).features
    try:
        return (await features.read([customer], int(datetime.now(UTC).timestamp() * 1e6))).values
    finally:
        await features.close()


def test_a_pushed_row_is_online_at_once_and_in_the_table_for_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "rows.parquet"
    before = customers(1200)[NUMBERS]
    before.to_parquet(table, index=False, coerce_timestamps="us")
    redis = tmp_path / "redis"
    monkeypatch.setenv("REDIS_URL", embedded_redis.start(root=redis))
    try:
        case = initialised(tmp_path, monkeypatch, "leavers", "rows.parquet", label_days=28)
        artefacts = case.artefacts.model_copy(update={"redis_url": embedded_redis.start(root=redis)})
        opened = case.opened(**LOOSE)
        version = train_version(opened.client, opened.artefacts, opened.settings)
        contract = contract_of(opened.client.get_model_version("leavers", str(version.version)))
        materialize(artefacts, datetime.now(UTC))
        customer, at = int(before["customer_id"].iloc[0]), datetime.now(UTC) - timedelta(minutes=1)
        pushed = pd.DataFrame(
            {"customer_id": [customer], "at": [pd.Timestamp(at)], "tenure": [71], "charge": [9.5], "left": ["no"]}
        )

        open_feature_store(artefacts).push("leavers_push", pushed, to=PushMode.ONLINE_AND_OFFLINE)

        online = asyncio.run(read(artefacts, contract, customer))
        asked = pd.DataFrame(
            {"customer_id": [customer], "event_timestamp": [pd.Timestamp.now("UTC")], "left": ["no"]}
        ).astype({"event_timestamp": "datetime64[us, UTC]"})
        offline = TrainingData(artefacts, "leavers_v1").rows([Part(asked)], Binary("left", ("no", "yes")))
        assert [71.0, 9.5] == [float(online[0, contract.feature_names.index(name)]) for name in NAMES]
        assert [71.0, 9.5] == [float(np.asarray(offline.columns[name])[0]) for name in NAMES]
        assert len(before) + 1 == len(pd.read_parquet(table))
    finally:
        embedded_redis.stop(root=redis)
