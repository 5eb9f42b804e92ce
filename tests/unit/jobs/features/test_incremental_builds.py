"""A build that continues the one before equals one made from nothing, whatever came in between and in which order."""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from artefacts.build_record import Build
from artefacts.cutoffs import CutoffSettings, lay_back
from jobs.errors import JobError
from jobs.features import build as build_features_module
from jobs.features.build import build_features
from jobs.features.use_case_cutoffs import use_case_cutoffs
from jobs.offline_store.builds import read_build
from jobs.settings import JobsSettings
from tests.models.orders import (
    CORRECTIONS,
    Order,
    corrected,
    files_in_place,
    rows_in_place,
    shop,
    some_orders,
    write_orders,
)

START = datetime(2024, 6, 10, 9, 30, tzinfo=UTC)
SETTINGS = JobsSettings(snapshot_backfill_days=30, daily_snapshots=3)
VIEWS = ("customer_lifetime", "customer_orders_windowed")
ORDERS = some_orders(300, START)

delivered = st.tuples(
    st.integers(0, 400).map(lambda n: f"o{n}"),  # below 300 it is an order that is there already
    st.integers(0, 110).map(lambda n: f"{n:05d}"),  # from 97 on the customer is new
    st.one_of(st.integers(0, 86_399), st.integers(0, 300 * 86_400)).map(lambda seconds: timedelta(seconds=seconds)),
    st.integers(0, 10_000).map(lambda cents: cents / 100),
    st.integers(0, 5),
)


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    phases=set(Phase) - {Phase.explain},
)
@given(st.lists(st.lists(delivered, max_size=4), min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_daily_builds_with_late_repeated_and_unordered_orders_equal_one_from_nothing(
    tmp_path_factory: pytest.TempPathFactory, days: list[list[tuple[str, str, timedelta, float, int]]], random: object
) -> None:
    daily, fresh = tmp_path_factory.mktemp("daily"), tmp_path_factory.mktemp("fresh")
    orders, now = list(ORDERS), START
    write_orders(daily / "orders.parquet", orders)
    build_features(*shop(daily), SETTINGS, now)

    for arrivals in days:
        now += timedelta(days=1)
        just_now = now - timedelta(seconds=1)
        orders += [(id_, customer, just_now - ago, amount, items) for id_, customer, ago, amount, items in arrivals]
        random.shuffle(orders)  # type: ignore[attr-defined]
        write_orders(daily / "orders.parquet", orders)
        continued = build_features(*shop(daily), SETTINGS, now)

    write_orders(fresh / "orders.parquet", orders)
    from_nothing = build_features(*shop(fresh), SETTINGS, now)

    assert (from_nothing.rows, from_nothing.days) == (continued.rows, continued.days)
    for view in VIEWS:
        assert rows_in_place(fresh / "store", view).equals(rows_in_place(daily / "store", view))


def written(build: Build) -> dict[str, list[str]]:
    """View → the partitions that this build wrote itself."""
    return {
        view: [name for name, held in partitions.items() if held["build"] == build.name]
        for view, partitions in build.partitions.items()
    }


def built(root: Path, orders: list[Order], now: datetime = START, source: str = "test", full: bool = False) -> Build:
    write_orders(root / "orders.parquet", orders, source)
    return build_features(*shop(root), SETTINGS, now, full=full)


def test_a_build_of_the_same_orders_keeps_every_partition_without_copying_it(tmp_path: Path) -> None:
    first = built(tmp_path, ORDERS)
    files = files_in_place(tmp_path / "store")

    again = built(tmp_path, ORDERS[::-1])

    assert {view: [] for view in VIEWS} == written(again)
    assert (first.partitions, files) == (again.partitions, files_in_place(tmp_path / "store"))
    linked = (tmp_path / "store" / "current").glob("*/*/*.parquet")
    assert {2} == {file.stat().st_nlink for file in linked}


def test_an_order_of_today_rewrites_its_month_and_who_is_new_today_and_adds_the_new_snapshot(tmp_path: Path) -> None:
    built(tmp_path, ORDERS)

    build = built(tmp_path, [*ORDERS, ("new", "00001", START, 5.0, 1)], START + timedelta(days=1))

    snapshots = ["2024-06-10", "2024-06-11"]
    assert {"customer_lifetime": ["2024-06"], "customer_orders_windowed": snapshots} == written(build)
    assert "2024-06-08" not in build.partitions["customer_orders_windowed"], (
        "the fourth midnight back is wanted no more"
    )


def test_a_late_order_rewrites_every_month_from_its_own_and_every_snapshot_after_it(tmp_path: Path) -> None:
    built(tmp_path, ORDERS)
    late = datetime(2024, 4, 12, tzinfo=UTC)

    build = built(tmp_path, [*ORDERS, ("late", "00001", late, 5.0, 1)])

    assert ["2024-04", "2024-05", "2024-06"] == written(build)["customer_lifetime"]
    snapshots = build.partitions["customer_orders_windowed"]
    assert [day for day in snapshots if day >= "2024-04-12"] == written(build)["customer_orders_windowed"]
    assert [day for day in snapshots if day < "2024-04-12"]


def test_an_order_that_is_gone_or_corrected_rewrites_what_came_after_it(tmp_path: Path) -> None:
    built(tmp_path, ORDERS)
    id_, customer, at, amount, items = max(ORDERS, key=lambda order: order[2])

    gone = built(tmp_path, [order for order in ORDERS if order[0] != id_])
    corrected = built(tmp_path, [*ORDERS, (id_, customer, at, amount - 0.001, items)])

    assert [f"{at:%Y-%m}"] == written(gone)["customer_lifetime"] == written(corrected)["customer_lifetime"]
    rows = rows_in_place(tmp_path / "store", "customer_lifetime").to_pylist()
    assert [amount - 0.001] == [
        row["last_order_value"] for row in rows if row["event_timestamp"] == at + timedelta.resolution
    ]


@pytest.mark.parametrize("kind", CORRECTIONS)
def test_whatever_is_corrected_in_an_order_that_was_built_a_continued_build_equals_one_from_nothing(
    tmp_path: Path, kind: str
) -> None:
    after = corrected(ORDERS, kind)
    built(tmp_path / "daily", ORDERS)

    continued = built(tmp_path / "daily", after)
    from_nothing = built(tmp_path / "fresh", after)

    assert (from_nothing.rows, from_nothing.days) == (continued.rows, continued.days)
    assert any(held["build"] != continued.name for view in VIEWS for held in continued.partitions[view].values()) or (
        kind == "another id"  # of which no feature is made, but what is kept is decided by the orders alone
    )
    for view in VIEWS:
        assert rows_in_place(tmp_path / "fresh" / "store", view).equals(
            rows_in_place(tmp_path / "daily" / "store", view)
        )


@pytest.mark.parametrize("kind", [kind for kind in CORRECTIONS if kind != "another id"])
def test_a_build_that_takes_corrected_orders_for_unchanged_fails_and_the_one_before_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    before = built(tmp_path, ORDERS)
    monkeypatch.setattr(build_features_module._BuildRun, "_first_changed_day", lambda *_: None)

    with pytest.raises(
        JobError, match=r"differs from what their orders give; the build was not put in place"
    ) as raised:
        built(tmp_path, corrected(ORDERS, kind))

    named = r"customer_(lifetime|orders_windowed), partition 20\d\d-[\d-]+: [a-z_0-9 ]+ of \d+ of \d+ customers"
    assert re.match(named, str(raised.value))
    assert not [order for order in ORDERS if order[1] in str(raised.value)], "a customer is named"
    assert before == read_build(tmp_path / "store")


def test_what_checks_a_build_shares_nothing_with_what_made_it() -> None:
    makers = "{'ibis', 'duckdb', 'feature_repo', 'jobs.features.engine'}"
    loaded = f"import sys, jobs.features.orders_check; print(*({makers} & set(sys.modules)))"

    said = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)

    assert "" == said.stdout.strip()


def test_a_build_of_the_same_orders_under_another_name_keeps_every_partition(tmp_path: Path) -> None:
    first = built(tmp_path, ORDERS, source="own:/deliveries/2024-06-09.csv")

    again = built(tmp_path, ORDERS, source="own:/deliveries/2024-06-10.csv")

    assert {view: [] for view in VIEWS} == written(again)
    assert (first.partitions, "own:/deliveries/2024-06-10.csv") == (again.partitions, again.source)


def test_a_build_of_other_orders_under_the_same_name_equals_one_from_nothing(tmp_path: Path) -> None:
    others = [(id_, f"other-{customer}", at, amount + 1, items) for id_, customer, at, amount, items in ORDERS[::2]]
    built(tmp_path / "daily", ORDERS)

    built(tmp_path / "daily", others)
    built(tmp_path / "fresh", others)

    for view in VIEWS:
        assert rows_in_place(tmp_path / "fresh" / "store", view).equals(
            rows_in_place(tmp_path / "daily" / "store", view)
        )


@pytest.mark.parametrize("changed", ["full", "definition", "engine", "unreadable"])
def test_nothing_is_kept_of_a_build_by_other_code_or_where_all_is_asked_for(tmp_path: Path, changed: str) -> None:
    built(tmp_path, ORDERS)
    description = tmp_path / "store" / "current" / "build.json"
    if changed in ("definition", "engine"):
        description.write_text(json.dumps(json.loads(description.read_text()) | {changed: "another"}))
    elif changed == "unreadable":
        description.write_text("{}")

    build = built(tmp_path, ORDERS, full=changed == "full")

    assert {view: list(partitions) for view, partitions in build.partitions.items()} == written(build)
    assert build == read_build(tmp_path / "store")


def test_later_builds_go_on_with_the_cutoffs_that_somebody_has_set_once(tmp_path: Path) -> None:
    """Retraining follows the champion's label, and nobody sets it again every day."""
    asked = CutoffSettings(label_days=20, training_cutoffs=2, cutoff_spacing_days=13, request_hours="8-20")
    write_orders(tmp_path / "orders.parquet", ORDERS)
    build_features(*shop(tmp_path), SETTINGS, START, cutoffs=asked)

    for day in (1, 2):
        later = build_features(*shop(tmp_path), SETTINGS, START + timedelta(days=day))

        cutoffs = {f"{cutoff:%Y-%m-%d}" for cutoff in lay_back(datetime.fromisoformat(later.observed_until), asked).all}
        assert cutoffs <= later.partitions["customer_orders_windowed"].keys()


@pytest.mark.parametrize("later", [{"training_cutoffs": 3}, {"request_hours": "0-24"}], ids=["cutoffs", "hours"])
def test_a_label_that_was_set_once_stays_where_something_else_is_set_later(
    tmp_path: Path, later: dict[str, Any]
) -> None:
    """Training takes the label from the champion, everything else from the settings of now."""
    write_orders(tmp_path / "orders.parquet", ORDERS)
    first = CutoffSettings(label_days=20, request_hours="3-27")
    build_features(*shop(tmp_path), SETTINGS, START, cutoffs=first)

    build = build_features(*shop(tmp_path), SETTINGS, START + timedelta(days=1), cutoffs=CutoffSettings(**later))

    asked = lay_back(datetime.fromisoformat(build.observed_until), CutoffSettings(**{"label_days": 20, **later}))
    first_order = min(at for _, _, at, _, _ in ORDERS)
    cutoffs = {f"{cutoff:%Y-%m-%d}" for cutoff in asked.all if cutoff > first_order}
    assert cutoffs <= build.partitions["customer_orders_windowed"].keys()


def test_the_cutoffs_of_another_use_case_get_snapshots_beside_those_of_the_settings(tmp_path: Path) -> None:
    write_orders(tmp_path / "orders.parquet", ORDERS)
    other = CutoffSettings(label_days=20, training_cutoffs=2)

    build = build_features(*shop(tmp_path), SETTINGS, START, also=other)

    observed = datetime.fromisoformat(build.observed_until)
    first_order = min(at for _, _, at, _, _ in ORDERS)
    for asked in (other, CutoffSettings()):
        cutoffs = {f"{cutoff:%Y-%m-%d}" for cutoff in lay_back(observed, asked).all if cutoff > first_order}
        assert cutoffs <= build.partitions["customer_orders_windowed"].keys()
    assert {} == build.cutoffs, "the next build goes on with nobody's but its own"


def test_the_use_case_says_its_cutoffs_where_no_variable_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "monthly").mkdir()
    (tmp_path / "monthly" / "use_case.py").write_text(
        "from dataclasses import replace\n"
        "from training.churn.use_case import USE_CASE as CHURN\n"
        "from training.use_case import TimeSplits\n"
        "USE_CASE = replace(CHURN, splits=TimeSplits(label_days=30, training=2, spacing_days=10))\n"
    )
    monkeypatch.setenv("USE_CASE", str(tmp_path / "monthly"))
    monkeypatch.setenv("TRAINING_TRAINING_CUTOFFS", "3")

    found = use_case_cutoffs()

    assert (30, 3, 10) == (found.label_days, found.training_cutoffs, found.cutoff_spacing_days)


def test_a_use_case_that_does_not_exist_ends_the_build_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USE_CASE", str(tmp_path / "nowhere"))

    with pytest.raises(JobError, match=r"USE_CASE: .*/nowhere.* does not exist"):
        use_case_cutoffs()
