"""The use case that docs/use-cases.md writes out: from labels to a champion."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pandas as pd
import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore

from artefacts.addresses import Artefacts
from jobs.feature_store import apply
from jobs.features.build import build_features
from jobs.settings import JobsSettings
from scoring.models.model_store import open_model
from tests.loop import SOURCE
from tests.models.orders import Order, write_orders
from training.bento_import import import_model
from training.churn.source.addresses import OrderAddresses
from training.promotion.moves import promote_trained
from training.promotion.registry_moves import OpenedRegistry
from training.settings import TrainingSettings
from training.tracking import registry
from training.train import train_version

END = datetime(2024, 6, 10, tzinfo=UTC)  # as `write_orders` describes its files
CUSTOMERS = 900


def events() -> tuple[list[Order], pd.DataFrame]:
    """Orders of about two years, and refunds: the larger a customer's orders, the more often."""
    random = Random(3)
    orders: list[Order] = []
    refunds = []
    for n in range(CUSTOMERS):
        customer, usual = f"{n:05d}", random.uniform(5, 100)
        for k in range(random.randint(2, 7)):
            at = END - timedelta(days=random.uniform(1, 700))
            orders.append((f"{n}-{k}", customer, at, round(usual * random.uniform(0.9, 1.1), 2), 1))
        refunds += [(customer, END - timedelta(days=d)) for d in range(5, 600, 30) if random.random() < usual / 250]
    return orders, pd.DataFrame(refunds, columns=["customer_id", "refunded_at"])


@pytest.fixture
def artefacts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Artefacts]:
    """The page's folder, outside of the project, with built features and a model store of its own."""
    (text,) = re.findall(r"```python\n(.*?)```", (SOURCE / "docs" / "use-cases.md").read_text(), re.DOTALL)
    folder = tmp_path / "use_cases" / "refunds"
    folder.mkdir(parents=True)
    (folder / "use_case.py").write_text(text)
    orders, refunds = events()
    addresses = OrderAddresses.of({}, tmp_path)
    write_orders(addresses.orders, orders)
    (tmp_path / "refunds").mkdir()
    refunds.to_parquet(tmp_path / "refunds" / "all.parquet")
    for name, value in {
        "USE_CASE": folder,
        "ORDERS_PATH": addresses.orders,
        "REFUNDS_DIR": tmp_path / "refunds",
    }.items():
        monkeypatch.setenv(name, str(value))
    made = Artefacts.of({"USE_CASE": str(folder)}, tmp_path)
    apply(made)
    build_features(made, addresses, JobsSettings(daily_snapshots=1), END, full=True)
    store = tmp_path / "bentoml" / "models"
    store.mkdir(parents=True)
    BentoMLContainer.model_store.set(ModelStore(store))
    yield made
    BentoMLContainer.model_store.reset()


def test_the_pages_use_case_becomes_a_champion_that_answers_by_its_names(artefacts: Artefacts) -> None:
    opened = OpenedRegistry.of(artefacts, TrainingSettings(bootstrap_resamples=60, max_calibration_error=0.1))

    version = train_version(opened.client, artefacts, opened.settings)
    promote_trained(opened, version)
    import_model(artefacts, opened.name, "champion", artefacts.mlflow_tracking_uri)

    contract = open_model(artefacts.model_tag.read_text().strip()).contract
    assert "refunds" == contract.model_name == version.name
    assert ["refund_probability", "refund"] == [output.name for output in contract.outputs]
    assert ("repeated", "roc_auc") == (contract.headline.population, contract.headline.metric)
    assert contract.label is not None
    assert "a refund in the 90 days from the time asked for on" == contract.label.definition
    assert {"champion": str(version.version)} == registry.aliases_of(opened.client, "refunds")
    assert {"use_case": "refunds"} == opened.client.get_registered_model("refunds").tags
