"""The audit of typed inputs: answers over HTTP from a real Redis, logged by the service, and every class of fault.

Categories, nulls that the model takes, ages, an array, whole numbers and two join keys, and a value of the request.
"""

import json
from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from prometheus_client import CollectorRegistry

from jobs.skew.audit import SkewError
from service.features.guard import GuardedFeatures, LastKnownGood
from service.features.port import OnlineFeatures
from service.telemetry.metrics import ServiceMetrics
from tests.integration.jobs.audited_households import (
    DEPARTMENT,
    FAVOURITE,
    GAP,
    HOME,
    LAST_COUPON,
    LATER,
    LIFETIME,
    OFFERED,
    SHARE,
    SINCE_DEPARTMENT,
    SPEND,
    STORE,
    TASTE,
    WINDOWED,
    Households,
    proofs,
)
from tests.integration.jobs.audited_shop import FailsLater, of_class
from tests.models.households import END

SPEND_7D = f"{WINDOWED}__spend_7d"
OVER_GAP = "household_recency__recency_over_mean_gap"


def test_rows_that_were_not_materialized_yet_are_lag_in_each_view_and_type(households: Households) -> None:
    households.fill(END - timedelta(days=1) + LATER)
    snapshots = households.stored(DEPARTMENT).set_index(["household_id", "department"])["event_timestamp"]
    of_both = (set(snapshots.index[snapshots == at]) for at in (END, END - timedelta(days=1)))
    households.serve(sorted(set.intersection(*of_both)))

    report = households.audit()

    assert {"materialization_lag"} == set(of_class(report))
    views = {name.split("__")[0] for name in report["features"]}
    assert {DEPARTMENT, WINDOWED, LIFETIME, "household_recency", "coupon_offer"} <= views
    assert OFFERED not in report["features"], "it is the request's value alone"


def test_a_default_or_null_for_a_row_past_its_ttl_is_told_apart_from_lag(households: Households) -> None:
    households.fill(END - timedelta(days=4))
    households.serve()

    report = households.audit()

    assert {"expired_defaulted"} == set(report["features"][SPEND]) == set(report["features"][FAVOURITE])
    assert {"expired_defaulted", "materialization_lag", "default_used"} >= set(of_class(report))


def test_last_known_good_values_are_named_cached(households: Households) -> None:
    households.fill(END - timedelta(days=1) + LATER)

    def through(features: OnlineFeatures) -> OnlineFeatures:
        metrics = ServiceMetrics("audited", CollectorRegistry())
        return GuardedFeatures(FailsLater(features), 5.0, metrics, LastKnownGood(100, 60.0))

    answered = households.serve(through=through, requests=2)

    report = households.audit()
    assert [False] * 20 + [True] * 20 == [row["cached_seconds"] is not None for row in answered]
    assert report["features"][SPEND]["cached"] == report["features"][SPEND]["materialization_lag"] > 0


def test_a_value_that_is_missing_online_only_is_named_whatever_stands_in(households: Households) -> None:
    """Zero stands in for spending; the model takes the null of a category, an age and a share."""
    households.fill()
    (one, department), (other, _) = households.few[:2]
    lost = (SPEND, FAVOURITE, STORE, f"{TASTE}__taste")
    with households.in_redis(household_id=one) as stored:
        stored.drop(*lost)
    with households.in_redis(household_id=one, department=department) as stored:
        stored.drop_all()
    with households.in_redis(household_id=other) as stored:
        stored.put(FAVOURITE)
    households.serve()

    report = households.audit()

    assert {"default_used"} == set(of_class(report))
    assert {"default_used": 2} == report["features"][FAVOURITE]
    assert {SPEND, STORE, f"{TASTE}__taste__0", f"{DEPARTMENT}__department_spend_28d"} <= report["features"].keys()
    assert {"the default stood in", "the model took the null"} == {proof.split("; ")[-1] for proof in proofs(report)}


def test_a_pair_that_is_in_the_offline_store_alone_was_not_really_unknown(households: Households) -> None:
    households.fill()
    household, department = households.few[1]
    for key in ({"household_id": household}, {"household_id": household, "department": department}):
        with households.in_redis(**key) as stored:
            stored.drop_all()
    answered = households.serve([*households.few, (-1, "MEAT")])

    report = households.audit()

    assert "unknown_household_department" == answered[1]["status"]
    assert {"(the whole row)": {"materialization_lag": 1}} == report["features"]


def test_categories_and_nulls_that_the_request_gave_are_compared_with_nothing(households: Households) -> None:
    households.fill()
    households.serve(households.few[:3], features={FAVOURITE: "TOYS", STORE: None, SHARE: None, SPEND: 3.5})

    report = households.audit(max_moved=0.0)

    assert {"override": 4 * 3} == of_class(report)
    assert (0, 0) == (report["differences"], report["moved"]["answers"])


def test_swapped_columns_are_a_fault_of_order(households: Households) -> None:
    households.fill()
    week, month = (households.newest(column, WINDOWED) for column in ("spend_7d", "spend_28d"))
    for household in week:
        with households.in_redis(household_id=household) as stored:
            stored.put(SPEND_7D, double_val=float(month[household]))
            stored.put(SPEND, double_val=float(week[household]))
    households.serve()

    report = households.audit()

    differing = sum(week[household] != month[household] for household in week)
    assert differing > 5
    assert {name: {"type_or_order_fault": differing} for name in (SPEND_7D, SPEND)} == report["features"]
    with pytest.raises(SkewError, match=f"^{2 * differing} type_or_order_fault: 0 faults are allowed; see "):
        households.audit(max_faults=0)


@pytest.mark.parametrize("text", ["meat-pckgd ", "None", "NaN", ""])
def test_another_spelling_of_a_category_or_of_null_is_a_fault_of_type(households: Households, text: str) -> None:
    households.fill()
    favourites = households.newest("favourite_department", WINDOWED)
    homes = households.newest("home_ownership", "household_demographics")
    nulls = [household for household, home in homes.items() if home is None or home != home]
    assert nulls
    for household, name in [*((h, FAVOURITE) for h in favourites), *((h, HOME) for h in nulls)]:
        with households.in_redis(household_id=household) as stored:
            stored.put(name, string_val=text)
    households.serve()

    report = households.audit()

    assert {FAVOURITE: {"type_or_order_fault": 20}, HOME: {"type_or_order_fault": len(nulls)}} == report["features"]
    assert {
        "a category that the model does not know was served in place of a known one",
        "a category that the model does not know was served; offline it is null",
    } == proofs(report)
    assert text not in json.dumps([found["served"] for found in report["examples"]]) or not text


def test_numbers_stored_under_a_narrower_type_are_a_fault_of_type(households: Households) -> None:
    households.fill()
    spends = households.newest("spend_28d", WINDOWED)
    for household, value in spends.items():
        with households.in_redis(household_id=household) as stored:
            stored.put(SPEND, double_val=float(np.float16(value)))
    households.serve()

    differing = sum(np.float32(value) != np.float32(np.float16(value)) for value in spends.values())
    assert differing > 5
    assert {SPEND: {"type_or_order_fault": differing}} == households.audit()["features"]


def test_a_changed_category_age_or_array_under_the_same_event_time_is_a_changed_transformation(
    households: Households,
) -> None:
    households.fill()
    coupons = households.newest("last_coupon_at", LIFETIME)
    with_coupon = next(household for household, at in coupons.items() if not pd.isna(at))
    with households.in_redis(household_id=with_coupon) as stored:
        favourite = stored.get(FAVOURITE).string_val
        known = next(given.vocabulary for given in households.model.contract.inputs if given.name == FAVOURITE)
        stored.put(FAVOURITE, string_val=next(text for text in known or () if text != favourite))
        stored.put(LAST_COUPON, unix_timestamp_val=stored.get(LAST_COUPON).unix_timestamp_val - 86_400)
        taste = stored.get(f"{TASTE}__taste")
        taste.float_list_val.val[1] = 0.75
        stored.put(f"{TASTE}__taste", float_list_val=taste.float_list_val)
    households.serve()

    report = households.audit()

    changed = {FAVOURITE, LAST_COUPON, f"{TASTE}__taste__1"}
    assert {name: {"transformation_changed": 1} for name in changed} == report["features"]
    told = {found["feature"]: found for found in report["examples"]}
    assert favourite == told[FAVOURITE]["offline"] != told[FAVOURITE]["served"]
    assert 86_400 == pytest.approx(told[LAST_COUPON]["served"] - told[LAST_COUPON]["offline"], abs=1)


@pytest.mark.parametrize("shift", [timedelta(hours=-1), timedelta(minutes=2), timedelta(days=-1, minutes=3)], ids=str)
@pytest.mark.parametrize("view", [DEPARTMENT, WINDOWED, LIFETIME, TASTE])
def test_event_times_that_are_shifted_are_a_fault_though_no_value_differs(
    households: Households, view: str, shift: timedelta
) -> None:
    households.fill()
    shift_event_times(households, households.few[:3], view, shift)
    households.serve()

    report = households.audit()

    assert {"event_time_fault"} == set(of_class(report))
    of_view = {name for name in households.model.contract.feature_names if name.startswith(f"{view}__")}
    assert {name: {"event_time_fault": 3} for name in of_view}.items() <= report["features"].items()
    with pytest.raises(SkewError, match=r"^\d+ event_time_fault: 0 faults are allowed"):
        households.audit(max_faults=0)


def test_a_shift_by_a_day_to_the_time_of_the_snapshot_before_is_found_by_the_values(households: Households) -> None:
    """The time is that of a stored row: what was served under it is of another day."""
    households.fill()
    shift_event_times(households, households.few, WINDOWED, timedelta(days=-1))
    households.serve()

    report = households.audit()

    assert {"event_time_fault"} == set(of_class(report))
    assert WINDOWED == {name.split("__")[0] for name in report["features"]}.pop()
    assert {"no stored row has the event time and the values that were served; the values are another row's"} == (
        proofs(report)
    )


def test_an_event_time_of_tomorrow_is_not_fresh_and_the_audit_names_it(households: Households) -> None:
    households.fill()
    shift_event_times(households, households.few[:3], DEPARTMENT, timedelta(days=1, hours=23))
    households.serve()

    report = households.audit()

    assert {"event_time_fault"} == set(of_class(report))
    assert {"no stored row has the event time that was served; it lies after the decision"} == proofs(report)
    names = {name for name in households.model.contract.feature_names if name.startswith(DEPARTMENT)}
    assert names <= report["features"].keys()


def test_zeroed_inputs_of_an_on_demand_view_are_named_so_whatever_the_request_gave(households: Households) -> None:
    households.fill()
    for household, department in households.few:
        with households.in_redis(household_id=household, department=department) as stored:
            stored.put(f"{DEPARTMENT}__last_bought_unix_us", int64_val=0)
    households.serve()

    report = households.audit()

    assert {"zeroed_input"} == set(of_class(report))
    assert {f"{DEPARTMENT}__last_bought_unix_us", SINCE_DEPARTMENT} == set(report["features"])


def test_a_zero_for_a_kept_null_is_named(households: Households) -> None:
    households.fill()
    shares = households.newest("discount_share_28d", WINDOWED)
    nulls = [household for household, share in shares.items() if pd.isna(share)]
    assert nulls
    for household in nulls:
        with households.in_redis(household_id=household) as stored:
            stored.put(SHARE, double_val=0.0)
    households.serve()

    report = households.audit()

    assert {SHARE: {"zeroed_input": len(nulls)}} == report["features"]


def test_a_value_that_nobody_stored_is_unexplained(households: Households) -> None:
    households.fill()
    household, _ = households.few[0]
    with households.in_redis(household_id=household) as stored:
        stored.shift(LIFETIME, timedelta(hours=-1))
        stored.put(GAP, double_val=123_456.5)
    households.serve()

    assert {GAP: {"unexplained": 1}, OVER_GAP: {"unexplained": 1}} == households.audit()["features"]
    with pytest.raises(SkewError, match="2 are unexplained, 0 are allowed"):
        households.audit(max_unexplained=0)


@pytest.mark.parametrize("online", ["a number", "a category"])
def test_a_value_in_place_of_a_kept_null_is_a_changed_transformation(households: Households, online: str) -> None:
    households.fill()
    name, view = (SHARE, WINDOWED) if online == "a number" else (HOME, "household_demographics")
    nulls = [household for household, value in households.newest(name.split("__")[1], view).items() if pd.isna(value)]
    for household in nulls:
        with households.in_redis(household_id=household) as stored:
            stored.put(name, **({"double_val": 0.375} if name == SHARE else {"string_val": "Renter"}))
    households.serve()

    assert {name: {"transformation_changed": len(nulls)}} == households.audit()["features"]


def shift_event_times(households: Households, pairs: Sequence[tuple[int, str]], view: str, by: timedelta) -> None:
    """The times of a view's rows in Redis; their values stay."""
    for household, department in pairs:
        key = {"household_id": household, **({"department": department} if view == DEPARTMENT else {})}
        with households.in_redis(**key) as stored:
            stored.shift(view, by)
