"""Rows that can be decoded and are not believed all the same: no event time, or one from the future."""

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from contract import RawFeatures
from contract.feature_union import FeatureUnion, InputGroup
from contract.resolve import CLOCK_SKEW_SECONDS
from service.features.guard import GuardedFeatures
from service.features.row_rules import RowRules
from service.telemetry.metrics import ServiceMetrics
from tests.models.fakes import DAYS_SINCE, NOW, NOW_US, SPEND, FakeOnlineFeatures, customer, small_contract
from tests.unit.service.features.guarded import COLUMN, FAILURES_TO_OPEN, Guarded

CONTRACT = small_contract()
UNION = FeatureUnion.of(CONTRACT)
RULES = RowRules(UNION)
PROFILE_VIEW, ACTIVITY_VIEW = 0, 1
CUSTOMERS = {name: customer() for name in ("a", "b", "c")}


async def rows() -> RawFeatures:
    return await FakeOnlineFeatures(CONTRACT, CUSTOMERS).read(list(CUSTOMERS), NOW_US)


def times_of(raw: RawFeatures) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
    assert raw.event_times is not None
    return raw.event_times


async def test_rows_with_which_nothing_is_wrong_are_handed_on_as_they_are() -> None:
    raw = await rows()

    assert (raw, {}) == RULES.apply(raw, NOW_US)


@pytest.mark.parametrize("view", [PROFILE_VIEW, ACTIVITY_VIEW])
async def test_a_value_without_an_event_time_is_not_answered_with(view: int, caplog: pytest.LogCaptureFixture) -> None:
    raw = await rows()
    times_of(raw)[1, view] = np.nan

    checked, counted = RULES.apply(raw, NOW_US)

    assert checked.unread_rows is not None
    assert [False, True, False] == checked.unread_rows.tolist()
    assert np.isnan(checked.values[1]).all()
    np.testing.assert_array_equal(raw.values[[0, 2]], checked.values[[0, 2]])
    assert {"no_event_time": 1} == counted
    assert ["online store: rows of 1 of 3 entities are not believed: no_event_time"] == caplog.messages


async def test_a_customer_whom_a_view_does_not_know_is_answered_and_so_is_one_with_nulls() -> None:
    raw = await FakeOnlineFeatures(
        CONTRACT, {"a": {"profile": customer()["profile"]}, "b": customer(spend=None, orders_30d=None)}
    ).read(["a", "b", "nobody"], NOW_US)

    assert (raw, {}) == RULES.apply(raw, NOW_US)


async def test_what_on_demand_code_makes_of_no_row_needs_no_event_time() -> None:
    raw = await FakeOnlineFeatures(CONTRACT, {}).read(["nobody"], NOW_US)
    raw.values[0, COLUMN[DAYS_SINCE]] = 90.0

    assert (raw, {}) == RULES.apply(raw, NOW_US)


async def test_an_event_time_from_the_future_is_believed_up_to_five_minutes() -> None:
    raw = await rows()
    times_of(raw)[:, ACTIVITY_VIEW] = [NOW + CLOCK_SKEW_SECONDS, NOW + CLOCK_SKEW_SECONDS + 0.001, 4e9]

    checked, counted = RULES.apply(raw, NOW_US)

    assert 300.0 == CLOCK_SKEW_SECONDS
    assert checked.unread_rows is not None
    assert [False, True, True] == checked.unread_rows.tolist()
    assert {"future_event_time": 2} == counted


async def test_each_row_is_held_against_its_own_time_of_request() -> None:
    raw = await rows()
    times_of(raw)[:, ACTIVITY_VIEW] = NOW + 1000

    checked, _ = RULES.apply(raw, np.array([NOW_US, NOW_US + 699_000_000, NOW_US + 701_000_000], dtype=np.int64))

    assert checked.unread_rows is not None
    assert [True, True, False] == checked.unread_rows.tolist()


async def test_what_only_the_challenger_reads_costs_the_champion_nothing() -> None:
    # As of a union in which all but the first view and its columns are another model's.
    union = FeatureUnion(
        feature_services=UNION.feature_services,
        entity_keys=UNION.entity_keys,
        views=UNION.views,
        features=tuple(sorted(UNION.features, key=lambda feature: feature.view == "activity")),
        offered=UNION.offered,
        request_inputs=UNION.request_inputs,
        groups=(InputGroup(range(3), range(1)), InputGroup(range(3, 5), range(1, 2))),
    )
    values = np.ones((2, len(union.features)))
    raw = RawFeatures(values, np.array([[NOW, NOW], [NOW, 4e9]]))

    checked, counted = RowRules(union).apply(raw, NOW_US)

    assert checked.unread is not None
    assert [3 * [False], 3 * [False]] == checked.unread[:, :3].tolist()
    assert [2 * [False], 2 * [True]] == checked.unread[:, 3:].tolist()
    assert {} == counted
    assert (checked.values[:, :3] == 1).all()


async def test_rows_that_are_not_believed_are_counted_and_keep_nobody_from_the_store() -> None:
    guarded, registry = Guarded(), CollectorRegistry()
    store = FakeOnlineFeatures(CONTRACT, {"a": customer(activity_age=-3600.0), "b": customer(spend=2.0)})
    guarded.features = GuardedFeatures(store, 30.0, ServiceMetrics("small_churn", registry), union=UNION)

    for _ in range(2 * FAILURES_TO_OPEN):
        raw = await guarded.read("a", "b")
        assert raw.unread_rows is not None
        assert [True, False] == raw.unread_rows.tolist()

    assert 2.0 == raw.values[1, COLUMN[SPEND]]
    assert 2.0 * FAILURES_TO_OPEN == registry.get_sample_value(
        "model_service_unreadable_rows_total", {"model": "small_churn", "reason": "future_event_time"}
    )
    assert 0.0 == registry.get_sample_value("model_service_breaker_open", {"model": "small_churn"})
