"""What became of households: the same for training's rows and for answers that are labelled later."""

from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from artefacts.cutoffs import CutoffSettings
from tests.models.households import END, write_households
from use_cases.household_spend.labels import (
    DEPARTMENT,
    DEPARTMENTS,
    NONE,
    OTHER,
    SPEND,
    purchase_labels,
    purchase_outcomes,
)

SPLITS = CutoffSettings(label_days=28, training_cutoffs=2, cutoff_spacing_days=28)
CUTOFF = END - timedelta(days=60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("households")


@pytest.fixture(scope="module")
def purchases(folder: Path) -> pd.DataFrame:
    return write_households(folder)


def window(purchases: pd.DataFrame, household: int, at: datetime, days: int = 28) -> pd.DataFrame:
    own = purchases[purchases["household_id"] == household]
    return own[(own["bought_at"] >= at) & (own["bought_at"] < at + timedelta(days=days))]


def spend(inside: pd.DataFrame) -> float:
    return int(inside["spend_cents"].sum()) / 100


def department(inside: pd.DataFrame) -> str:
    money = inside[inside["department"] != "GROCERY"].groupby("department")["spend_cents"].sum()
    money = money[money > 0]
    if not len(money):
        return NONE
    first = max(money.index, key=lambda name: (money[name], name))
    return str(first) if first in DEPARTMENTS else OTHER


@pytest.mark.parametrize(("aggregate", "computed"), [(SPEND, spend), (DEPARTMENT, department)])
def test_every_household_is_labelled_by_the_days_after_its_request(
    purchases: pd.DataFrame, folder: Path, aggregate: str, computed: object
) -> None:
    environ = {"HOUSEHOLD_DATA_DIR": str(folder)}
    rows = purchase_labels("target", aggregate)(environ).rows(CUTOFF, SPLITS, seed=4)

    first = purchases.groupby("household_id")["bought_at"].min()
    before = dict(zip(rows["household_id"], rows["event_timestamp"], strict=True))
    assert {h for h, at in first.items() if at < before.get(h, CUTOFF)} == set(before)
    assert rows["household_id"].is_monotonic_increasing
    assert rows["event_timestamp"].between(CUTOFF, CUTOFF + timedelta(days=1), inclusive="left").all()
    assert len(set(rows["event_timestamp"])) > len(rows) / 2
    assert callable(computed)
    assert [computed(window(purchases, h, at)) for h, at in before.items()] == rows["target"].to_list()
    asked = rows[["household_id", "event_timestamp"]]
    assert rows["target"].to_list() == purchase_outcomes(aggregate)(asked, environ, 28)["label"].to_list()


@pytest.mark.parametrize("aggregate", [SPEND, DEPARTMENT])
def test_what_cannot_be_known_yet_is_null(purchases: pd.DataFrame, folder: Path, aggregate: str) -> None:
    assert len(purchases)
    times = pd.to_datetime([END - timedelta(days=28), END - timedelta(days=28) + timedelta(seconds=1)])
    asked = pd.DataFrame({"household_id": [1, 1], "event_timestamp": times})

    found = purchase_outcomes(aggregate)(asked, {"HOUSEHOLD_DATA_DIR": str(folder)}, 28)["label"]

    assert [False, True] == found.isna().to_list()
