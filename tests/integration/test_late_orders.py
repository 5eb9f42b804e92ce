"""Orders that arrive late, are corrected, or are replaced: what is served follows the offline store."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from artefacts.addresses import Artefacts
from jobs.feature_store import apply, open_feature_store
from jobs.features.build import build_features
from jobs.local import embedded_redis
from jobs.materialization.materialize import materialize
from jobs.settings import JobsSettings
from training.churn.own_orders import write_own
from training.churn.source.addresses import OrderAddresses
from training.data.dataset import TrainingData

NOW = datetime.now(UTC)
Rows = list[tuple[str, int, float]]


@dataclass(frozen=True)
class Shop:
    """Orders → features → Redis, as the make targets chain them."""

    artefacts: Artefacts
    folder: Path

    @property
    def orders(self) -> OrderAddresses:
        return OrderAddresses.of({}, self.folder)

    def takes(self, rows: Rows, file: str = "own.csv") -> None:
        """rows: customer, days ago, amount."""
        lines = [f"{c},{(NOW - timedelta(days=days)).isoformat()},{amount},1" for c, days, amount in rows]
        own = self.folder / file
        own.write_text("\n".join(["customer_id,event_timestamp,amount,items", *lines]) + "\n")
        write_own(self.orders.orders, own, NOW)
        build_features(self.artefacts, self.orders, JobsSettings(), NOW)
        materialize(self.artefacts, until=NOW)

    def online(self, customer: str) -> dict[str, object]:
        store = open_feature_store(self.artefacts)
        asked = {"customer_id": [customer], "as_of": [int(NOW.timestamp()) * 1_000_000]}
        answer = store.get_online_features(store.get_feature_service("churn_v1"), asked).to_dict()
        return {name: values[0] for name, values in answer.items()}

    def offline(self, customer: str) -> dict[str, float]:
        data = TrainingData(self.artefacts, "churn_v1")
        entities = pd.DataFrame({"customer_id": [customer], "event_timestamp": pd.Timestamp(NOW)})
        entities["event_timestamp"] = entities["event_timestamp"].astype("datetime64[us, UTC]")
        values = data.features_at(entities).to_numpy(float)[0]
        return {f.name.split("__")[1]: float(v) for f, v in zip(data.schema.features, values, strict=True)}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    root = tmp_path_factory.mktemp("shop")
    artefacts = Artefacts.of({"REDIS_URL": embedded_redis.start(root=root)}, root=root)
    apply(artefacts)
    yield Shop(artefacts, root)
    embedded_redis.stop(root=root)


STORED = ("order_count", "total_spend", "mean_gap_days", "order_count_90d", "spend_90d")


def test_a_late_order_changes_what_is_served_as_it_changes_the_offline_store(shop: Shop) -> None:
    first: Rows = [("a", 50, 10.0), ("a", 20, 20.0), ("b", 30, 5.0), ("c", 1, 5.0)]  # the orders reach up to today
    shop.takes(first)
    before = shop.online("a")

    shop.takes([*first, ("a", 32, 1000.0)])

    after, expected = shop.online("a"), shop.offline("a")
    assert (2, 30.0) == (before["order_count"], before["total_spend"])
    assert {name: expected[name] for name in STORED} == {name: after[name] for name in STORED}
    assert (3, 1030.0, 3) == (after["order_count"], after["total_spend"], after["order_count_90d"])


def test_orders_of_another_source_replace_the_customers_of_the_old_one(shop: Shop) -> None:
    shop.takes([("old", 40, 1.0), ("both", 40, 1.0)])
    shop.takes([("both", 60, 7.0), ("new", 5, 2.0)], file="other.csv")

    assert shop.online("old")["order_count"] is None
    assert (7.0, 2.0) == (shop.online("both")["total_spend"], shop.online("new")["total_spend"])
