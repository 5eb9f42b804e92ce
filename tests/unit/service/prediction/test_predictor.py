"""Customer ids → predictions, over an online store in memory and a real small model."""

import asyncio
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.errors import InvalidRequestError, OnlineStoreUnavailableError
from service.prediction.predictions import Prediction
from service.prediction.predictor import Predictor
from tests.models.fakes import (
    DAY,
    DAYS_SINCE,
    DEFAULTS,
    MEMBER,
    NOW,
    NOW_US,
    ORDERS_30D,
    PROFILE,
    SPEND,
    FakeOnlineFeatures,
    Rows,
    customer,
)
from tests.unit.service.predictors import expected_probability, people, predictor_over

Build = Callable[..., tuple[Predictor, FakeOnlineFeatures]]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Builds a predictor over given rows; gives it and the store it reads."""

    def build(rows: Mapping[str, Rows], **options: Any) -> tuple[Predictor, FakeOnlineFeatures]:
        built = predictor_over(tmp_path / "model", rows, **options)
        return built.predictor, built.store

    return build


async def test_a_fresh_customer_gets_the_pipelines_own_probability(build: Build) -> None:
    predictor, _ = build({"00042": customer()})

    (prediction,) = await predictor.predict(["00042"], NOW_US)

    assert Prediction("00042", (prediction.outputs[0], False), "ok") == prediction
    assert pytest.approx(expected_probability(), abs=1e-6) == prediction.outputs[0]


async def test_answers_come_in_the_order_asked_with_duplicates_kept(build: Build) -> None:
    predictor, _ = build(people(3))
    asked = ["00002", "00000", "00002", "00001", "00000"]

    predictions = await predictor.predict(asked, NOW_US)

    assert asked == [p.key for p in predictions]
    assert predictions[0] == predictions[2]
    assert predictions[1] == predictions[4]
    assert 3 == len({p.outputs[0] for p in predictions})


async def test_shuffled_ids_give_the_same_answer_per_id(build: Build) -> None:
    predictor, _ = build(people(50))
    ids = list(people(50))
    shuffled = random.Random(3).sample(ids, len(ids))

    in_order = {p.key: p for p in await predictor.predict(ids, NOW_US)}
    out_of_order = {p.key: p for p in await predictor.predict(shuffled, NOW_US)}

    assert in_order == out_of_order


async def test_an_answer_does_not_depend_on_who_else_is_in_the_batch(build: Build) -> None:
    predictor, _ = build(people(50))

    together = await predictor.predict(list(people(50)), NOW_US)
    alone = [(await predictor.predict([customer_id], NOW_US))[0] for customer_id in people(50)]

    assert [p.outputs[0] for p in alone] == pytest.approx([p.outputs[0] for p in together], abs=1e-6)
    assert [p.status for p in alone] == [p.status for p in together]


async def test_each_distinct_id_is_read_once_in_one_read(build: Build) -> None:
    predictor, store = build(people(2))

    await predictor.predict(["00001", "00000", "00001", "00001"], NOW_US)

    assert [["00001", "00000"]] == store.asked


async def test_an_unknown_customer_among_known_ones_is_a_row_with_nulls(build: Build) -> None:
    predictor, _ = build(people(2))

    predictions = await predictor.predict(["00000", "nobody", "00001"], NOW_US)

    assert Prediction("nobody", (None, None), "unknown_customer", ()) == predictions[1]
    assert ["ok", "unknown_customer", "ok"] == [p.status for p in predictions]


async def test_an_empty_batch_reads_nothing_and_answers_nothing(build: Build) -> None:
    predictor, store = build(people(1))

    assert [] == await predictor.predict([], NOW_US)
    assert [] == store.asked


async def test_a_stale_feature_is_replaced_by_its_default_and_flagged(build: Build) -> None:
    predictor, _ = build({"a": customer(orders_30d=9, activity_age=3 * DAY)})

    (prediction,) = await predictor.predict(["a"], NOW_US)

    assert "degraded" == prediction.status
    assert [(ORDERS_30D, "stale", 3 * DAY, "default"), (MEMBER, "stale", 3 * DAY, "default")] == [
        (i.feature, i.state, i.age_seconds, i.used) for i in prediction.feature_issues
    ]
    expected = expected_probability(**{ORDERS_30D: DEFAULTS[ORDERS_30D], MEMBER: DEFAULTS[MEMBER]})
    assert pytest.approx(expected, abs=1e-6) == prediction.outputs[0]


async def test_a_stale_feature_keeps_its_value_where_the_contract_says_so(build: Build) -> None:
    stale_is_fine = {"on_stale": "use_value"}
    predictor, _ = build(
        {"a": customer(orders_30d=9, activity_age=3 * DAY)}, policies={ORDERS_30D: stale_is_fine, MEMBER: stale_is_fine}
    )

    (prediction,) = await predictor.predict(["a"], NOW_US)

    assert ("degraded", {"value"}) == (prediction.status, {i.used for i in prediction.feature_issues})
    assert pytest.approx(expected_probability(**{ORDERS_30D: 9}), abs=1e-6) == prediction.outputs[0]


async def test_a_missing_feature_is_replaced_by_its_default_and_flagged(build: Build) -> None:
    predictor, _ = build({"a": customer(spend=None)})

    (prediction,) = await predictor.predict(["a"], NOW_US)

    assert "degraded" == prediction.status
    assert [(SPEND, "missing", 10 * DAY, "default")] == [
        (i.feature, i.state, i.age_seconds, i.used) for i in prediction.feature_issues
    ]
    assert pytest.approx(expected_probability(**{SPEND: DEFAULTS[SPEND]}), abs=1e-6) == prediction.outputs[0]


async def test_a_customer_with_a_row_in_one_view_only_is_known(build: Build) -> None:
    predictor, _ = build({"a": {PROFILE: customer()[PROFILE]}})

    (prediction,) = await predictor.predict(["a"], NOW_US)

    assert "degraded" == prediction.status
    assert [(ORDERS_30D, "missing", None), (MEMBER, "missing", None)] == [
        (i.feature, i.state, i.age_seconds) for i in prediction.feature_issues
    ]


@pytest.mark.parametrize(
    ("policy", "rows", "state"),
    [
        ({"on_stale": "refuse"}, customer(activity_age=3 * DAY), "stale"),
        ({"on_missing": "refuse"}, customer(orders_30d=None), "missing"),
    ],
)
async def test_where_the_contract_refuses_there_is_no_score_but_a_reason(
    build: Build, policy: dict[str, str], rows: Rows, state: str
) -> None:
    predictor, _ = build({"a": rows, "b": customer()}, policies={ORDERS_30D: policy})

    refused, scored = await predictor.predict(["a", "b"], NOW_US)

    assert ("refused", (None, None)) == (refused.status, refused.outputs)
    assert {(ORDERS_30D, state, None)} <= {(i.feature, i.state, i.used) for i in refused.feature_issues}
    assert "ok" == scored.status


async def test_an_override_is_used_and_flagged(build: Build) -> None:
    predictor, _ = build({"a": customer()})

    (prediction,) = await predictor.predict(["a"], NOW_US, {DAYS_SINCE: 300.5})

    assert "degraded" == prediction.status
    assert [(DAYS_SINCE, "overridden", "value")] == [(i.feature, i.state, i.used) for i in prediction.feature_issues]
    assert pytest.approx(expected_probability(**{DAYS_SINCE: 300.5}), abs=1e-6) == prediction.outputs[0]


async def test_an_override_satisfies_a_contract_that_would_refuse(build: Build) -> None:
    predictor, _ = build({"a": customer(orders_30d=None)}, policies={ORDERS_30D: {"on_missing": "refuse"}})

    (prediction,) = await predictor.predict(["a"], NOW_US, {ORDERS_30D: 2})

    assert "degraded" == prediction.status
    assert pytest.approx(expected_probability(), abs=1e-6) == prediction.outputs[0]


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        ({"no_such__feature": 1}, "features.no_such__feature"),
        ({SPEND: "much"}, f"features.{SPEND}"),
        ({MEMBER: 1}, f"features.{MEMBER}"),
    ],
)
async def test_an_override_that_cannot_be_used_names_its_field_and_reads_nothing(
    build: Build, overrides: dict[str, object], field: str
) -> None:
    predictor, store = build({"a": customer()})

    with pytest.raises(InvalidRequestError) as caught:
        await predictor.predict(["a"], NOW_US, overrides)

    assert (400, field) == (caught.value.status, caught.value.field)
    assert [] == store.asked


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.5, 0.8, 1.0])
async def test_the_decision_is_whether_the_probability_reaches_the_threshold(build: Build, threshold: float) -> None:
    predictor, _ = build(people(60), threshold=threshold)

    for prediction in await predictor.predict(list(people(60)), NOW_US):
        assert prediction.outputs[0] is not None
        assert (prediction.outputs[0] >= threshold) == prediction.outputs[1]


@pytest.mark.parametrize("direction", [0.0, 1.0])
async def test_the_decision_agrees_with_the_answered_probability_to_the_last_digit(
    build: Build, direction: float
) -> None:
    predictor, _ = build({"a": customer(days_since=60.0)})
    (prediction,) = await predictor.predict(["a"], NOW_US)
    assert prediction.outputs[0] is not None
    just_beside = float(np.nextafter(prediction.outputs[0], direction))
    predictor, _ = build({"a": customer(days_since=60.0)}, threshold=just_beside)

    (prediction,) = await predictor.predict(["a"], NOW_US)

    assert prediction.outputs[0] is not None
    assert (prediction.outputs[0] >= just_beside) == prediction.outputs[1]


async def test_one_time_of_request_serves_the_whole_batch_and_every_age(build: Build) -> None:
    stale = customer(activity_age=3 * DAY)
    predictor, store = build({"a": stale, "b": stale})
    later = NOW_US + int(3600e6)

    first, second = await predictor.predict(["a", "b"], later)

    assert [later] == store.as_of
    assert NOW + 3600 - stale["activity"].event_time == first.feature_issues[0].age_seconds
    assert first.feature_issues == second.feature_issues
    assert first.outputs[0] == second.outputs[0]


async def test_a_failing_store_is_told_as_it_is(build: Build) -> None:
    failure = OnlineStoreUnavailableError("the online store is not available")
    predictor, _ = build(people(1), failure=failure)

    with pytest.raises(OnlineStoreUnavailableError) as caught:
        await predictor.predict(["00000"], NOW_US)

    assert failure is caught.value


async def test_the_store_can_be_read_although_nobody_has_the_probed_id(build: Build) -> None:
    predictor, _ = build({})

    assert await predictor.can_read(NOW_US)


async def test_the_store_cannot_be_read_while_it_fails_or_hangs(build: Build) -> None:
    failing, _ = build({}, failure=OnlineStoreUnavailableError("down"))
    hanging, _ = build({}, gate=asyncio.Event(), guard=True)

    assert not await failing.can_read(NOW_US)
    assert not await hanging.can_read(NOW_US)


async def test_closing_closes_the_store(build: Build) -> None:
    predictor, store = build({})

    await predictor.close()

    assert store.closed
