"""Single requests worked on together, values from the cache, and values that the model cannot score."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest

from service.errors import OnlineStoreUnavailableError
from service.prediction.predictions import Prediction
from tests.models.fakes import DAY, NOW_US, ORDERS_30D, SPEND, Rows, customer
from tests.unit.service.predictors import Built, expected_probability, people, predictor_over


class Build(Protocol):
    """`predictor_over` in a folder of the test's own."""

    def __call__(self, rows: dict[str, Rows], **options: object) -> Built: ...


@pytest.fixture
def build(tmp_path: Path) -> Build:
    return partial(predictor_over, tmp_path / "model")


async def test_singles_that_arrive_together_are_read_and_scored_together_and_answered_as_if_alone(
    build: Build,
) -> None:
    gate = asyncio.Event()
    rows = people(20) | {"stale": customer(activity_age=3 * DAY), "none": customer(spend=None)}
    built = build(rows, gate=gate)
    # The last two ask for one who has just been asked for, and for nobody.
    asked = [*rows, "00003", "nobody"]
    hours = [NOW_US + number * 3_600_000_000 for number in range(len(asked))]

    waiting = [asyncio.create_task(built.predictor.predict_one(*each)) for each in zip(asked, hours, strict=True)]
    await asyncio.sleep(0.01)
    gate.set()
    together = await asyncio.gather(*waiting)

    assert len(built.store.asked) < len(asked) / 2, "they were not read together"
    alone = [(await built.predictor.predict([i], at))[0] for i, at in zip(asked, hours, strict=True)]
    for one, other in zip(together, alone, strict=True):
        assert pytest.approx(other.outputs[0], abs=1e-6) == one.outputs[0]
        assert other._replace(outputs=other.outputs[1:]) == one._replace(outputs=one.outputs[1:])
    assert ["ok", "unknown_customer"] == [together[-2].status, together[-1].status]
    assert together[3].outputs[0] != together[-2].outputs[0], "asked at different times"


async def test_each_of_the_singles_that_are_worked_on_together_has_its_own_time_of_request(build: Build) -> None:
    gate = asyncio.Event()
    stale = customer(activity_age=3 * DAY)
    built = build({"a": stale}, gate=gate)

    waiting = [
        asyncio.create_task(built.predictor.predict_one("a", NOW_US + hour * 3_600_000_000)) for hour in range(5)
    ]
    await asyncio.sleep(0.01)
    gate.set()
    predictions = await asyncio.gather(*waiting)

    assert len(built.store.asked) < 5
    ages = [p.feature_issues[0].age_seconds for p in predictions]
    assert [3 * DAY + hour * 3600 for hour in range(5)] == ages
    assert 5 == len({p.outputs[0] for p in predictions})


async def test_how_many_singles_were_worked_on_together_is_counted(build: Build) -> None:
    gate = asyncio.Event()
    built = build(people(7), gate=gate)
    waiting = [asyncio.create_task(built.predictor.predict_one(i, NOW_US)) for i in people(7)]
    await asyncio.sleep(0.01)
    gate.set()
    await asyncio.gather(*waiting)

    assert 7 == built.count("model_service_coalesced_rows_sum")
    assert len(built.store.asked) == built.count("model_service_coalesced_rows_count") < 7


async def test_a_single_with_overrides_is_answered_like_any_other_and_changes_nobody_elses(build: Build) -> None:
    built = build(people(3))

    plain, changed, again = await asyncio.gather(
        built.predictor.predict_one("00001", NOW_US),
        built.predictor.predict_one("00001", NOW_US, {SPEND: 5.0}),
        built.predictor.predict_one("00001", NOW_US),
    )

    assert plain == again == (await built.predictor.predict(["00001"], NOW_US))[0]
    assert changed == (await built.predictor.predict(["00001"], NOW_US, {SPEND: 5.0}))[0]
    assert "degraded" == changed.status


async def test_a_store_that_fails_fails_every_single_that_waited_for_it(build: Build) -> None:
    failure = OnlineStoreUnavailableError("down")
    built = build(people(3), failure=failure)

    answers = await asyncio.gather(*(built.predictor.predict_one(i, NOW_US) for i in people(3)), return_exceptions=True)

    assert [failure] * 3 == answers


async def test_one_whose_row_cannot_be_read_does_not_spoil_those_who_are_read_together_with_it(build: Build) -> None:
    gate = asyncio.Event()
    built = build(people(4), gate=gate)
    built.store.unreadable = frozenset({"00002"})

    waiting = [asyncio.create_task(built.predictor.predict_one(customer_id, NOW_US)) for customer_id in people(4)]
    await asyncio.sleep(0.01)
    gate.set()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)

    assert ["00000", "00001", None, "00003"] == [
        outcome.key if isinstance(outcome, Prediction) else None for outcome in outcomes
    ]
    assert isinstance(outcomes[2], OnlineStoreUnavailableError)


async def test_values_from_the_cache_are_scored_and_flagged_with_their_age(build: Build) -> None:
    built = build({"a": customer(), "b": customer(spend=None)}, guard=True)
    fresh = await built.predictor.predict(["a", "b"], NOW_US)
    built.store.failure = OnlineStoreUnavailableError("down")

    cached = await built.predictor.predict(["a", "b"], NOW_US)
    single = await built.predictor.predict_one("a", NOW_US)

    assert [None, None] == [p.cached_seconds for p in fresh]
    for before, after in zip([*fresh, fresh[0]], [*cached, single], strict=True):
        assert after.cached_seconds is not None
        assert 0 <= after.cached_seconds < 60
        assert "degraded" == after.status
        # The size of a batch alone changes the last bits of what ONNX Runtime computes, on some processors.
        assert before.outputs[0] == pytest.approx(after.outputs[0], abs=1e-6)
        assert before.outputs[1] == after.outputs[1]
        assert list(before.feature_issues) == list(after.feature_issues), "its age is no issue of a feature"


async def test_a_cached_row_that_has_meanwhile_gone_stale_is_judged_as_of_now(build: Build) -> None:
    built = build({"a": customer()}, guard=True, policies={ORDERS_30D: {"on_stale": "refuse"}})
    await built.predictor.predict(["a"], NOW_US)
    built.store.failure = OnlineStoreUnavailableError("down")

    (prediction,) = await built.predictor.predict(["a"], NOW_US + int(3 * DAY * 1e6))

    assert ("refused", None) == (prediction.status, prediction.outputs[0])
    assert {(ORDERS_30D, "stale")} <= {(i.feature, i.state) for i in prediction.feature_issues}
    assert prediction.cached_seconds is not None


STATUSES = ["ok", "degraded", "refused", "unknown_customer"]
FAR_OUT = -3.4e38  # finite as float32; the transform's powers of it are not


async def test_values_so_far_out_that_the_model_has_no_probability_are_refused_alone(build: Build) -> None:
    built = build({"far": customer(spend=FAR_OUT, orders=FAR_OUT), "a": customer()})
    lookup = await built.predictor.look_up("far", NOW_US)
    assert np.isfinite(lookup.resolved.matrix).all()
    assert np.isnan(built.predictor.score(lookup.resolved.matrix)).all()

    refused, scored = await built.predictor.predict(["far", "a"], NOW_US)

    assert Prediction("far", (None, None), "refused", []) == refused
    assert pytest.approx(expected_probability(), abs=1e-6) == scored.outputs[0]
    assert refused == await built.predictor.predict_one("far", NOW_US) == lookup.prediction


async def test_overrides_so_far_out_are_refused_too_and_flagged(build: Build) -> None:
    built = build({"a": customer(orders=FAR_OUT)})

    prediction = await built.predictor.predict_one("a", NOW_US, {SPEND: FAR_OUT})

    assert ("refused", (None, None)) == (prediction.status, prediction.outputs)
    assert [(SPEND, "overridden")] == [(i.feature, i.state) for i in prediction.feature_issues]


async def test_every_customer_is_counted_by_status(build: Build) -> None:
    rows = people(3) | {"stale": customer(activity_age=3 * DAY), "far": customer(spend=FAR_OUT, orders=FAR_OUT)}
    built = build(rows)

    await built.predictor.predict([*rows, "nobody", "00000"], NOW_US)

    counted = {status: built.count("model_service_predictions_total", status=status) for status in STATUSES}
    assert {"ok": 3.0, "degraded": 1.0, "refused": 1.0, "unknown_customer": 1.0} == counted
    assert 1.0 == built.count("model_service_feature_issues_total", feature=ORDERS_30D, state="stale")
