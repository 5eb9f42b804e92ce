"""Deliveries that stop: nobody is scored `ok` by windows over days of which nothing was delivered."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artefacts.addresses import Artefacts
from jobs.batch.score_batch import BatchRequest, score_batch
from jobs.feature_store import apply
from jobs.features.build import build_features
from jobs.settings import JobsSettings
from scoring.models.imported_model import ImportedModel
from tests.models.churn_model import churn_model
from training.churn.deliveries import follow_today
from training.churn.own_orders import read_again, write_own
from training.churn.source.addresses import OrderAddresses
from training.churn.source.orders_file import data_set_of
from training.churn.source.orders_schema import ORDERS_SCHEMA
from training.churn.synthetic_orders import write_synthetic

NOW = datetime.now(UTC).replace(microsecond=0)
MIDNIGHT = NOW.replace(hour=0, minute=0, second=0)
SETTINGS = JobsSettings(daily_snapshots=3)


@dataclass(frozen=True)
class Shop:
    """Applied once; each test writes orders of its own."""

    artefacts: Artefacts
    model: ImportedModel
    root: Path

    @property
    def orders(self) -> OrderAddresses:
        return OrderAddresses.of({}, self.root)

    def delivered(self, ended_days_ago: int, **said: Any) -> None:
        """Own orders of thirty customers whose last one is so many days old."""
        ends = MIDNIGHT - timedelta(days=ended_days_ago) + timedelta(minutes=1)
        lines = [f"{n:05d},{(ends - timedelta(days=7 * n)).isoformat()},{n + 1},1" for n in range(30)]
        own = self.root / "own.csv"
        own.write_text("\n".join(["customer_id,event_timestamp,amount,items", *lines]) + "\n")
        write_own(self.orders.orders, own, NOW, **said)

    def statuses(self) -> dict[str, int]:
        """Status → how many; every windowed feature of the degraded is told as stale, with its age."""
        build_features(self.artefacts, self.orders, SETTINGS, NOW)
        scored = score_batch(self.artefacts, self.model, BatchRequest(NOW, self.root / "out"), NOW)
        rows = pq.read_table(next(scored.partition.glob("*.parquet"))).to_pylist()
        found = [row["status"] for row in rows]
        for row in rows:
            stale = [issue for issue in row["feature_issues"] if issue["state"] == "stale"]
            assert (12 if row["status"] == "degraded" else 0) == len(stale)
            assert all(issue["age_seconds"] > 2 * 86400 and issue["used"] == "default" for issue in stale)
        return {status: found.count(status) for status in found}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    root = tmp_path_factory.mktemp("ended")
    artefacts = Artefacts.of({}, root=root)
    apply(artefacts)
    return Shop(artefacts, churn_model(artefacts, root / "model"), root)


@pytest.fixture
def shop(world: Shop) -> Iterator[Shop]:
    yield world
    shutil.rmtree(world.orders.streamed_orders, ignore_errors=True)


@pytest.mark.parametrize("days", [4, 30, 200])
def test_orders_that_ended_are_never_scored_as_if_they_were_fresh(shop: Shop, days: int) -> None:
    shop.delivered(days)

    assert {"degraded": 30} == shop.statuses()


def test_orders_that_ended_yesterday_or_the_day_before_are_fresh(shop: Shop) -> None:
    for days in (1, 2):
        shop.delivered(days)

        assert {"ok": 30} == shop.statuses()


@pytest.mark.parametrize("said", [{"until": MIDNIGHT}, {"complete": True}], ids=["UNTIL", "COMPLETE"])
def test_a_shop_that_says_that_nobody_ordered_since_is_fresh(shop: Shop, said: dict[str, Any]) -> None:
    shop.delivered(30, **said)

    assert {"ok": 30} == shop.statuses()


def test_a_complete_file_that_is_read_again_but_delivered_no_more_grows_old(shop: Shop) -> None:
    shop.delivered(30, complete=True)
    week_ago = (NOW - timedelta(days=7)).timestamp()
    os.utime(shop.root / "own.csv", (week_ago, week_ago))
    read_again(shop.orders.orders, NOW)

    assert {"degraded": 30} == shop.statuses()


def test_the_stream_alone_keeps_everybody_fresh(shop: Shop) -> None:
    shop.delivered(30)
    data_set = {"data_set": data_set_of(pq.ParquetFile(shop.orders.orders))}
    streamed = shop.orders.streamed_orders / "batch=7" / "part-0.parquet"
    streamed.parent.mkdir(parents=True)
    order = {"order_id": "s-1", "customer_id": "00001", "event_timestamp": MIDNIGHT - timedelta(hours=1)}
    schema = ORDERS_SCHEMA.with_metadata(data_set)
    pq.write_table(pa.Table.from_pylist([{**order, "amount": 5.0, "items": 1}], schema=schema), streamed)

    assert {"ok": 30} == shop.statuses()


def test_a_sample_of_an_earlier_day_is_fresh_once_it_has_followed(shop: Shop) -> None:
    write_synthetic(shop.orders.orders, 300, 1, (NOW - timedelta(days=40)).date(), follows_today=True)
    assert {"degraded"} == shop.statuses().keys()

    follow_today(shop.orders.orders, NOW.date())

    assert {"ok"} == shop.statuses().keys()
