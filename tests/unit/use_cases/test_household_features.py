"""The rows of households' features, held against a plain computation of each household alone."""

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.models.households import END, write_households
from use_cases.household_spend.features import feature_rows

SNAPSHOTS = [END, END - timedelta(days=1), END - timedelta(days=28), END - timedelta(days=300)]
Row = dict[str, Any]


@pytest.fixture(scope="module")
def purchases(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    folder = tmp_path_factory.mktemp("households")
    made = write_households(folder)
    rows = feature_rows({"HOUSEHOLD_DATA_DIR": str(folder)}, SNAPSHOTS)
    return made, {view: table.to_pandas() for view, table in rows.items()}


def share(discount: int, cents: int) -> float | None:
    return discount / (cents + discount) if cents + discount else None


def windowed(own: pd.DataFrame, at: datetime) -> Row | None:
    if not (own["bought_at"] < at).any():
        return None
    row: Row = {}
    for days in (7, 28, 84):
        inside = own[(own["bought_at"] < at) & (own["bought_at"] >= at - timedelta(days=days))]
        row[f"spend_{days}d"] = sum(inside["spend_cents"]) / 100
        row[f"trip_days_{days}d"] = len({moment.date() for moment in inside["bought_at"]})
        row[f"basket_count_{days}d"] = len(set(inside["basket_id"]))
        row[f"department_count_{days}d"] = len(set(inside["department"].dropna()))
        row[f"discount_share_{days}d"] = share(sum(inside["discount_cents"]), sum(inside["spend_cents"]))
    money: dict[str, int] = {}
    visits: dict[int, tuple[set[int], list[int]]] = {}
    for line in inside.to_dict("records"):
        if line["department"] not in (None, "GROCERY"):
            money[line["department"]] = money.get(line["department"], 0) + line["spend_cents"]
        baskets, spent = visits.setdefault(line["store_id"], (set(), []))
        baskets.add(line["basket_id"])
        spent.append(line["spend_cents"])
    money = {name: cents for name, cents in money.items() if cents > 0}
    row["favourite_department"] = min(money, key=lambda name: (-money[name], name)) if money else None
    row["favourite_store"] = min(visits, key=lambda s: (-len(visits[s][0]), -sum(visits[s][1]), s)) if visits else None
    return row


def lifetime(own: pd.DataFrame, at: datetime) -> Row | None:
    """Of the row that is stamped one microsecond after a trip at `at`."""
    so_far = own[own["bought_at"] <= at]
    trips = sorted(set(so_far["bought_at"]))
    gaps = [(later - earlier) / timedelta(days=1) for earlier, later in pairwise(trips)]
    coupons = so_far[so_far["coupon_cents"] > 0]["bought_at"]
    baskets = len(set(so_far["basket_id"]))
    return {
        "basket_count": baskets,
        "total_spend": sum(so_far["spend_cents"]) / 100,
        "mean_basket": sum(so_far["spend_cents"]) / 100 / baskets,
        "last_spend": sum(so_far[so_far["bought_at"] == at]["spend_cents"]) / 100,
        "mean_gap_days": sum(gaps) / len(gaps) if gaps else None,
        "max_gap_days": max(gaps, default=None),
        "first_trip_unix_us": trips[0].value // 1000,
        "last_trip_unix_us": trips[-1].value // 1000,
        "last_coupon_at": max(coupons, default=None),
    }


def department(own: pd.DataFrame, at: datetime) -> Row | None:
    """Of the purchases in one department."""
    inside = own[(own["bought_at"] < at) & (own["bought_at"] >= at - timedelta(days=84))]
    if not len(inside):
        return None
    recent = inside[inside["bought_at"] >= at - timedelta(days=28)]
    return {
        "department_spend_28d": sum(recent["spend_cents"]) / 100,
        "department_spend_84d": sum(inside["spend_cents"]) / 100,
        "department_days_84d": len({moment.date() for moment in inside["bought_at"]}),
        "department_discount_share_84d": share(sum(inside["discount_cents"]), sum(inside["spend_cents"])),
        "last_bought_unix_us": max(inside["bought_at"]).value // 1000,
    }


def compare(rows: pd.DataFrame, keys: list[str], expected: dict[tuple[Any, ...], Row]) -> None:
    found = {tuple(row[key] for key in (*keys, "event_timestamp")): row for row in rows.to_dict("records")}
    assert expected.keys() == found.keys()
    assert len(found) == len(rows)
    for key, row in expected.items():
        for name, value in row.items():
            other = found[key][name]
            if value is None:
                assert pd.isna(other), (key, name, other)
            elif isinstance(value, float):
                assert value == pytest.approx(other, rel=1e-12), (key, name)
            else:
                assert value == other, (key, name)
        assert row.keys() | {*keys, "event_timestamp"} == found[key].keys()


def at_snapshots(groups: Any, compute: Callable[[pd.DataFrame, datetime], Row | None]) -> dict[tuple[Any, ...], Row]:
    expected = {}
    for key, own in groups:
        for at in SNAPSHOTS:
            if (row := compute(own, at)) is not None:
                expected[*key, at] = row
    return expected


def test_windows_are_those_of_each_household_alone(
    purchases: tuple[pd.DataFrame, dict[str, pd.DataFrame]],
) -> None:
    made, rows = purchases

    compare(rows["household_windowed"], ["household_id"], at_snapshots(made.groupby(["household_id"]), windowed))


def test_departments_are_those_of_each_household_and_department_alone(
    purchases: tuple[pd.DataFrame, dict[str, pd.DataFrame]],
) -> None:
    made, rows = purchases
    keys = ["household_id", "department"]

    compare(rows["household_department"], keys, at_snapshots(made.groupby(keys), department))


def test_there_is_a_row_after_each_trip(purchases: tuple[pd.DataFrame, dict[str, pd.DataFrame]]) -> None:
    made, rows = purchases
    expected = {}
    for (household,), own in made.groupby(["household_id"]):
        for at in set(own["bought_at"]):
            expected[household, at + timedelta(microseconds=1)] = lifetime(own, at)

    compare(rows["household_lifetime"], ["household_id"], {key: row for key, row in expected.items() if row})


def test_only_those_who_told_have_demographics(purchases: tuple[pd.DataFrame, dict[str, pd.DataFrame]]) -> None:
    made, rows = purchases

    assert sorted(set(made["household_id"]))[::3] == rows["household_demographics"]["household_id"].to_list()
    assert {made["bought_at"].min()} == set(rows["household_demographics"]["event_timestamp"])
    assert {None, "Renter"} == set(rows["household_demographics"]["home_ownership"])


def test_no_row_tells_of_what_came_after_it(
    purchases: tuple[pd.DataFrame, dict[str, pd.DataFrame]], tmp_path: Path
) -> None:
    """The same rows up to a moment, whether or not anything is known of the time after it."""
    made, rows = purchases
    at = END - timedelta(days=28)
    later = write_households(tmp_path)
    assert made.equals(later)
    only_before = later[later["bought_at"] < at]
    file = tmp_path / "purchases.parquet"
    schema = pq.read_schema(file)
    pq.write_table(pa.Table.from_pandas(only_before, schema=schema, preserve_index=False).cast(schema), file)
    known = feature_rows({"HOUSEHOLD_DATA_DIR": str(tmp_path)}, [t for t in SNAPSHOTS if t <= at])
    for view in ("household_windowed", "household_lifetime", "household_department"):
        order = [name for name in ("household_id", "department", "event_timestamp") if name in rows[view]]
        whole = rows[view][rows[view]["event_timestamp"] <= at].sort_values(order, ignore_index=True)
        found = known[view].to_pandas().sort_values(order, ignore_index=True)
        pd.testing.assert_frame_equal(found, whole, check_dtype=False)  # int64 is float64 where some are null
