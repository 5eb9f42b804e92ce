"""A training row is what the service would have read at that moment: values, and how old each view was."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import numpy as np
import pandas as pd
import pytest
import redis

from artefacts.addresses import PROJECT_ROOT, Artefacts
from contract import RawFeatures, Resolver
from jobs.feature_store import apply
from jobs.features.build import build_features
from jobs.local import embedded_redis
from jobs.materialization.materialize import materialize
from jobs.settings import JobsSettings
from service.features.opening import open_feast
from service.features.port import OnlineFeatures
from tests.models.churn_model import churn_contract
from tests.models.orders import Order, write_orders
from training.churn.order_history import CHURNED
from training.churn.order_labels import OrderLabels
from training.churn.source.addresses import OrderAddresses
from training.churn.use_case import USE_CASE
from training.data.dataset import LabelledRows, TrainingData
from training.errors import DatasetError
from training.row_splits.time_splits import parts_at
from training.settings import TrainingSettings

END = datetime(2024, 6, 10, tzinfo=UTC)  # as `write_orders` describes its files
HOURS = (2, 8, 14, 20)
SETTINGS = TrainingSettings(
    label_days=2, training_cutoffs=1, cutoff_spacing_days=30, request_hours=" ".join(f"{hour}-{hour}" for hour in HOURS)
)
CUTOFF = END - timedelta(days=3)
JOBS = JobsSettings(daily_snapshots=1)
WINDOWED, LIFETIME = "customer_orders_windowed", "customer_lifetime"
OLD, NEW = 120, 40


def orders() -> list[Order]:
    """Of customers with a past, half of whom order on the day of the cut-off, and of some who are new on that day."""
    random = Random(5)
    made: list[Order] = []
    for n in range(OLD + NEW):
        customer, of_the_day = f"{n:05d}", CUTOFF + timedelta(seconds=random.randrange(86_400))
        if n < OLD:
            made += [(f"p{k}", customer, CUTOFF - timedelta(days=random.uniform(0, 200)), 9.5 * k, k) for k in range(4)]
        if n >= OLD or n % 2:
            made.append(("day", customer, of_the_day, 30.0, 2))
        if n % 3:
            made.append(("later", customer, CUTOFF + timedelta(days=1 + random.random() * 2), 20.0, 1))
    return made


@dataclass(frozen=True)
class Served:
    """What the service reads of some customers at one moment, and the rows that training makes of them."""

    ids: list[str]
    moment: datetime
    raw: RawFeatures


@dataclass(frozen=True)
class Compared:
    """Training rows, the ages of their views in hours, and what was served at the same moments."""

    rows: LabelledRows
    ages: dict[str, "np.ndarray[tuple[int], np.dtype[np.float64]]"]
    served: list[Served]
    views: tuple[str, ...]
    names: list[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("as_served")
    yield root
    embedded_redis.stop(root=root)


@pytest.fixture(scope="module")
def artefacts(folder: Path) -> Artefacts:
    made = Artefacts.of({"REDIS_URL": embedded_redis.start(root=folder)}, root=folder)
    apply(made)
    return made


def orders_of(artefacts: Artefacts) -> OrderAddresses:
    return OrderAddresses.of({}, artefacts.offline_store.parents[1])


def churned(artefacts: Artefacts) -> OrderLabels:
    return OrderLabels(orders_of(artefacts), "churn", CHURNED)


@pytest.fixture(scope="module")
def compared(artefacts: Artefacts) -> Compared:
    """Each of the hours is lived through with the orders until then; training comes when all are known."""
    everything = orders()
    write_orders(orders_of(artefacts).orders, everything)
    build_features(artefacts, orders_of(artefacts), JOBS, END, cutoffs=SETTINGS, full=True)
    data = TrainingData(artefacts, "churn_v1")
    rows = data.rows(parts_at(churned(artefacts), [CUTOFF], SETTINGS, SETTINGS.seed), USE_CASE.task)
    ages = data.view_ages(rows.entities)
    contract = churn_contract(artefacts)
    served = [_served(artefacts, everything, rows, CUTOFF + timedelta(hours=hour)) for hour in HOURS]
    return Compared(rows, ages, served, Resolver.of(contract).views, contract.feature_names)


def _served(artefacts: Artefacts, everything: list[Order], rows: LabelledRows, moment: datetime) -> Served:
    write_orders(orders_of(artefacts).orders, [order for order in everything if order[2] < moment])
    build_features(artefacts, orders_of(artefacts), JOBS, moment, full=True)
    assert artefacts.redis_url
    with redis.Redis.from_url(artefacts.redis_url) as client:
        client.flushall()
    materialize(artefacts, moment)
    ids = rows.entities.loc[rows.entities["event_timestamp"] == pd.Timestamp(moment), "customer_id"].tolist()
    features = open_feast(
        PROJECT_ROOT / "feature_repo", artefacts, churn_contract(artefacts), compiled=True, stall_seconds=30
    ).features
    return Served(ids, moment, asyncio.run(_read(features, ids, moment)))


async def _read(features: OnlineFeatures, ids: list[str], moment: datetime) -> RawFeatures:
    raw = await features.read(ids, int(moment.timestamp()) * 1_000_000)
    await features.close()
    return raw


def test_every_value_of_a_training_row_is_what_would_have_been_served_at_its_moment(compared: Compared) -> None:
    position = {customer: n for n, customer in enumerate(compared.rows.entities["customer_id"])}
    assert len(position) == sum(len(each.ids) for each in compared.served)
    for each in compared.served:
        own = [position[customer] for customer in each.ids]
        assert len(own) > 15
        np.testing.assert_array_equal(compared.rows.columns.to_numpy(np.float64)[own], each.raw.values)
    assert np.isfinite(compared.rows.columns.to_numpy(np.float64)).all()


def test_views_are_as_old_in_training_as_they_are_when_they_are_served(compared: Compared) -> None:
    position = {customer: n for n, customer in enumerate(compared.rows.entities["customer_id"])}
    in_training, in_serving = [], []
    for each in compared.served:
        assert each.raw.event_times is not None
        for column, view in enumerate(compared.views):
            in_serving.append((each.moment.timestamp() - each.raw.event_times[:, column]) / 3600)
            in_training.append(compared.ages[view][[position[customer] for customer in each.ids]])
    np.testing.assert_allclose(np.concatenate(in_training), np.concatenate(in_serving), atol=1e-6)
    windows = compared.ages[WINDOWED]
    assert set(HOURS) == set(np.round(windows[np.isin(np.round(windows, 9), HOURS)]).astype(int))
    assert windows.max() <= max(HOURS)


def test_buyers_of_the_day_and_new_customers_of_the_day_are_among_them(compared: Compared) -> None:
    new = (compared.rows.entities["customer_id"] >= f"{OLD:05d}").to_numpy()
    windowed = [name.startswith(WINDOWED) for name in compared.names]
    known = compared.names.index(f"{LIFETIME}__order_count")

    assert (compared.rows.groups["same_day"] & ~new).sum() > 20
    assert 10 < new.sum() < NEW, "who orders after their moment is not asked about"
    assert (compared.rows.columns.to_numpy(np.float64)[new][:, windowed] == 0).all()
    assert (compared.rows.columns.to_numpy(np.float64)[new, known] == 1).all()


@pytest.mark.parametrize("days", [-1, 1])
def test_a_cutoff_without_a_snapshot_is_refused_with_the_settings_that_features_must_know(
    artefacts: Artefacts, days: int
) -> None:
    """A day later, the snapshot of the cut-off is still fresh: training would take windows a day older than serving."""
    write_orders(orders_of(artefacts).orders, orders())
    build_features(
        artefacts,
        orders_of(artefacts),
        JOBS.model_copy(update={"snapshot_backfill_days": 365}),
        END,
        cutoffs=SETTINGS,
        full=True,
    )
    data = TrainingData(artefacts, "churn_v1")

    with pytest.raises(
        DatasetError, match=r"no snapshot at the cut-off 2024-06-0\d; run `make features` with the same"
    ):
        data.rows(parts_at(churned(artefacts), [CUTOFF + timedelta(days=days)], SETTINGS, SETTINGS.seed), USE_CASE.task)
