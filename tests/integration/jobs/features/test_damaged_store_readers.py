"""Whoever reads the offline store refuses one that is damaged, before anything is written; a build mends it for all."""

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from jobs.batch.score_batch import BatchRequest, score_batch
from jobs.errors import JobError
from jobs.features.build import build_features
from jobs.materialization.materialize import materialize
from tests.integration.jobs.streaming_shop import MIDNIGHT, NOW, SETTINGS, StreamingShop
from training.data.dataset import TrainingData
from training.errors import DatasetError

SOON = NOW - timedelta(minutes=5)


@pytest.fixture
def shop(streaming: StreamingShop) -> StreamingShop:
    streaming.reset()
    return streaming


READERS: dict[str, Callable[[StreamingShop], Any]] = {
    "materialize": lambda shop: materialize(shop.artefacts, NOW, full=True),
    "batch": lambda shop: score_batch(shop.artefacts, shop.model, BatchRequest(NOW, shop.folder / "scores"), NOW),
    "stream": lambda shop: shop.process(1, [("s-9", "00009", SOON, 1.0)]),
    "training": lambda shop: TrainingData(shop.artefacts, shop.model.contract.feature_service),
}


def newest(shop: StreamingShop, pattern: str) -> Path:
    return max((shop.artefacts.offline_store / "current").glob(pattern))


DAMAGE: dict[str, Callable[[StreamingShop], object]] = {
    "a month": lambda shop: newest(shop, "customer_lifetime/2*/*.parquet").unlink(),
    "the newest snapshot": lambda shop: newest(shop, "customer_orders_windowed/2*/*.parquet").unlink(),
    "rows of the stream": lambda shop: newest(shop, "customer_lifetime/streamed/*.parquet").unlink(),
    "cut": lambda shop: (file := newest(shop, "customer_lifetime/2*/*.parquet")).write_bytes(file.read_bytes()[:-9]),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_no_reader_takes_a_damaged_store_and_all_do_when_it_was_built_again(shop: StreamingShop, damage: str) -> None:
    shop.process(0, [("s-1", "00001", SOON, 20.0), ("s-2", "00002", MIDNIGHT - timedelta(days=3), 30.0)])
    shutil.rmtree(shop.folder / "scores", ignore_errors=True)
    online, scored = shop.online(), shop.predictions()
    DAMAGE[damage](shop)

    for read in READERS.values():
        with pytest.raises(
            (JobError, DatasetError), match=r"\.parquet: (is missing|has [\d,]+ bytes).*`make features` mends"
        ):
            read(shop)
    assert (online, scored) == (shop.online(), shop.predictions())
    assert not (shop.folder / "scores").exists()

    build_features(shop.artefacts, shop.orders, SETTINGS, NOW)
    for read in READERS.values():
        read(shop)
    assert shop.online_from_nothing() == shop.online()
