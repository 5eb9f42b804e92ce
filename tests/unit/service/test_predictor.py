"""Customer ids → predictions, over an online store in memory and a real small model."""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import pytest
from prometheus_client import CollectorRegistry

from service.errors import InvalidRequestError, OnlineStoreUnavailableError, UnreadableFeaturesError
from service.guarded_features import GuardedFeatures, LastKnownGood
from service.metrics import ServiceMetrics
from service.predictor import Prediction, Predictor
from tests.fakes import (
    DAY,
    DAYS_SINCE,
    DEFAULTS,
    MEMBER,
    NOW,
    NOW_US,
    ORDERS,
    ORDERS_30D,
    PROFILE,
    SPEND,
    FakeOnlineFeatures,
    Rows,
    customer,
    small_contract,
    small_pipeline,
    store_model,
)


@dataclass(frozen=True)
class Built:
    """A predictor, the store it reads and what it counts."""

    predictor: Predictor
    store: FakeOnlineFeatures
    registry: CollectorRegistry

    def count(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


class BuildAll(Protocol):
    def __call__(
        self,
        rows: Mapping[str, Rows],
        *,
        policies: Mapping[str, Mapping[str, str]] | None = None,
        threshold: float = 0.5,
        gate: asyncio.Event | None = None,
        failure: Exception | None = None,
        guard: bool = False,
    ) -> Built: ...


class Build(Protocol):
    def __call__(self, rows: Mapping[str, Rows], **options: object) -> tuple[Predictor, FakeOnlineFeatures]: ...


@pytest.fixture
def build_all(tmp_path: Path) -> BuildAll:
    """A predictor over given rows; `guard` keeps values of earlier reads and gives up after 0.05 s."""

    def build_all(
        rows: Mapping[str, Rows],
        *,
        policies: Mapping[str, Mapping[str, str]] | None = None,
        threshold: float = 0.5,
        gate: asyncio.Event | None = None,
        failure: Exception | None = None,
        guard: bool = False,
    ) -> Built:
        contract = small_contract(threshold=threshold, policies=policies)
        store = FakeOnlineFeatures(contract, rows, gate=gate, failure=failure)
        registry = CollectorRegistry()
        metrics = ServiceMetrics(registry)
        features = GuardedFeatures(store, 0.05, metrics, LastKnownGood(100, 60.0)) if guard else store
        model = store_model(tmp_path / "model", contract).load()
        return Built(Predictor(model, features, metrics), store, registry)

    return build_all


@pytest.fixture
def build(build_all: BuildAll) -> Build:
    """The predictor and its store only."""

    def build(rows: Mapping[str, Rows], **options: object) -> tuple[Predictor, FakeOnlineFeatures]:
        built = build_all(rows, **options)  # type: ignore[arg-type]  # checked by the fixture that it calls
        return built.predictor, built.store

    return build


def expected_probability(**features: float) -> float:
    """What the pipeline itself says of a row, the rest of it being `customer()`'s."""
    row = {DAYS_SINCE: 10.0, ORDERS_30D: 2.0, SPEND: 120.0, MEMBER: 1.0, ORDERS: 4.0} | features
    matrix = np.array([[row[name] for name in DEFAULTS]], dtype=np.float32)
    return float(small_pipeline().predict_proba(pd.DataFrame(matrix, columns=list(DEFAULTS)))[0, 1])


def people(count: int) -> dict[str, Rows]:
    return {f"{i:05d}": customer(spend=10.0 + i, days_since=3.0 * i) for i in range(count)}


async def test_a_fresh_customer_gets_the_pipelines_own_probability(build: Build) -> None:
    predictor, _ = build({"00042": customer()})

    (prediction,) = await predictor.predict(["00042"], NOW_US)

    assert Prediction("00042", "ok", prediction.churn_probability, False) == prediction
    assert pytest.approx(expected_probability(), abs=1e-6) == prediction.churn_probability


async def test_answers_come_in_the_order_asked_with_duplicates_kept(build: Build) -> None:
    predictor, _ = build(people(3))
    asked = ["00002", "00000", "00002", "00001", "00000"]

    predictions = await predictor.predict(asked, NOW_US)

    assert asked == [p.customer_id for p in predictions]
    assert predictions[0] == predictions[2]
    assert predictions[1] == predictions[4]
    assert 3 == len({p.churn_probability for p in predictions})


async def test_shuffled_ids_give_the_same_answer_per_id(build: Build) -> None:
    predictor, _ = build(people(50))
    ids = list(people(50))
    shuffled = random.Random(3).sample(ids, len(ids))

    in_order = {p.customer_id: p for p in await predictor.predict(ids, NOW_US)}
    out_of_order = {p.customer_id: p for p in await predictor.predict(shuffled, NOW_US)}

    assert in_order == out_of_order


async def test_an_answer_does_not_depend_on_who_else_is_in_the_batch(build: Build) -> None:
    predictor, _ = build(people(50))

    together = await predictor.predict(list(people(50)), NOW_US)
    alone = [(await predictor.predict([customer_id], NOW_US))[0] for customer_id in people(50)]

    assert [p.churn_probability for p in alone] == pytest.approx([p.churn_probability for p in together], abs=1e-6)
    assert [p.status for p in alone] == [p.status for p in together]


async def test_each_distinct_id_is_read_once_in_one_read(build: Build) -> None:
    predictor, store = build(people(2))

    await predictor.predict(["00001", "00000", "00001", "00001"], NOW_US)

    assert [["00001", "00000"]] == store.asked


async def test_an_unknown_customer_among_known_ones_is_a_row_with_nulls(build: Build) -> None:
    predictor, _ = build(people(2))

    predictions = await predictor.predict(["00000", "nobody", "00001"], NOW_US)

    assert Prediction("nobody", "unknown_customer", None, None, ()) == predictions[1]
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
    assert pytest.approx(expected, abs=1e-6) == prediction.churn_probability


async def test_a_stale_feature_keeps_its_value_where_the_contract_says_so(build: Build) -> None:
    stale_is_fine = {"on_stale": "use_value"}
    predictor, _ = build(
        {"a": customer(orders_30d=9, activity_age=3 * DAY)}, policies={ORDERS_30D: stale_is_fine, MEMBER: stale_is_fine}
    )

    (prediction,) = await predictor.predict(["a"], NOW_US)

    assert ("degraded", {"value"}) == (prediction.status, {i.used for i in prediction.feature_issues})
    assert pytest.approx(expected_probability(**{ORDERS_30D: 9}), abs=1e-6) == prediction.churn_probability


async def test_a_missing_feature_is_replaced_by_its_default_and_flagged(build: Build) -> None:
    predictor, _ = build({"a": customer(spend=None)})

    (prediction,) = await predictor.predict(["a"], NOW_US)

    assert "degraded" == prediction.status
    assert [(SPEND, "missing", 10 * DAY, "default")] == [
        (i.feature, i.state, i.age_seconds, i.used) for i in prediction.feature_issues
    ]
    assert pytest.approx(expected_probability(**{SPEND: DEFAULTS[SPEND]}), abs=1e-6) == prediction.churn_probability


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

    assert ("refused", None, None) == (refused.status, refused.churn_probability, refused.churn)
    assert {(ORDERS_30D, state, None)} <= {(i.feature, i.state, i.used) for i in refused.feature_issues}
    assert "ok" == scored.status


async def test_an_override_is_used_and_flagged(build: Build) -> None:
    predictor, _ = build({"a": customer()})

    (prediction,) = await predictor.predict(["a"], NOW_US, {DAYS_SINCE: 300.5})

    assert "degraded" == prediction.status
    assert [(DAYS_SINCE, "overridden", "value")] == [(i.feature, i.state, i.used) for i in prediction.feature_issues]
    assert pytest.approx(expected_probability(**{DAYS_SINCE: 300.5}), abs=1e-6) == prediction.churn_probability


async def test_an_override_satisfies_a_contract_that_would_refuse(build: Build) -> None:
    predictor, _ = build({"a": customer(orders_30d=None)}, policies={ORDERS_30D: {"on_missing": "refuse"}})

    (prediction,) = await predictor.predict(["a"], NOW_US, {ORDERS_30D: 2})

    assert "degraded" == prediction.status
    assert pytest.approx(expected_probability(), abs=1e-6) == prediction.churn_probability


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        ({"no_such__feature": 1}, "features"),
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
        assert prediction.churn_probability is not None
        assert (prediction.churn_probability >= threshold) == prediction.churn


@pytest.mark.parametrize("direction", [0.0, 1.0])
async def test_the_decision_agrees_with_the_answered_probability_to_the_last_digit(
    build: Build, direction: float
) -> None:
    predictor, _ = build({"a": customer(days_since=60.0)})
    (prediction,) = await predictor.predict(["a"], NOW_US)
    assert prediction.churn_probability is not None
    just_beside = float(np.nextafter(prediction.churn_probability, direction))
    predictor, _ = build({"a": customer(days_since=60.0)}, threshold=just_beside)

    (prediction,) = await predictor.predict(["a"], NOW_US)

    assert prediction.churn_probability is not None
    assert (prediction.churn_probability >= just_beside) == prediction.churn


async def test_one_time_of_request_serves_the_whole_batch_and_every_age(build: Build) -> None:
    stale = customer(activity_age=3 * DAY)
    predictor, store = build({"a": stale, "b": stale})
    later = NOW_US + int(3600e6)

    first, second = await predictor.predict(["a", "b"], later)

    assert [later] == store.as_of
    assert NOW + 3600 - stale["activity"].event_time == first.feature_issues[0].age_seconds
    assert first.feature_issues == second.feature_issues
    assert first.churn_probability == second.churn_probability


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


async def test_singles_that_arrive_together_are_read_and_scored_together_and_answered_as_if_alone(
    build_all: BuildAll,
) -> None:
    gate = asyncio.Event()
    rows = people(20) | {"stale": customer(activity_age=3 * DAY), "none": customer(spend=None)}
    built = build_all(rows, gate=gate)
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
        assert pytest.approx(other.churn_probability, abs=1e-6) == one.churn_probability
        assert other._replace(churn_probability=None) == one._replace(churn_probability=None)
    assert ["ok", "unknown_customer"] == [together[-2].status, together[-1].status]
    assert together[3].churn_probability != together[-2].churn_probability, "asked at different times"


async def test_each_of_the_singles_that_are_worked_on_together_has_its_own_time_of_request(build: Build) -> None:
    gate = asyncio.Event()
    stale = customer(activity_age=3 * DAY)
    predictor, store = build({"a": stale}, gate=gate)

    waiting = [asyncio.create_task(predictor.predict_one("a", NOW_US + hour * 3_600_000_000)) for hour in range(5)]
    await asyncio.sleep(0.01)
    gate.set()
    predictions = await asyncio.gather(*waiting)

    assert len(store.asked) < 5
    ages = [p.feature_issues[0].age_seconds for p in predictions]
    assert [3 * DAY + hour * 3600 for hour in range(5)] == ages
    assert 5 == len({p.churn_probability for p in predictions})


async def test_how_many_singles_were_worked_on_together_is_counted(build_all: BuildAll) -> None:
    gate = asyncio.Event()
    built = build_all(people(7), gate=gate)
    waiting = [asyncio.create_task(built.predictor.predict_one(i, NOW_US)) for i in people(7)]
    await asyncio.sleep(0.01)
    gate.set()
    await asyncio.gather(*waiting)

    assert 7 == built.count("churn_coalesced_rows_sum")
    assert len(built.store.asked) == built.count("churn_coalesced_rows_count") < 7


async def test_a_single_with_overrides_is_answered_like_any_other_and_changes_nobody_elses(build: Build) -> None:
    predictor, _ = build(people(3))

    plain, changed, again = await asyncio.gather(
        predictor.predict_one("00001", NOW_US),
        predictor.predict_one("00001", NOW_US, {SPEND: 5.0}),
        predictor.predict_one("00001", NOW_US),
    )

    assert plain == again == (await predictor.predict(["00001"], NOW_US))[0]
    assert changed == (await predictor.predict(["00001"], NOW_US, {SPEND: 5.0}))[0]
    assert "degraded" == changed.status


async def test_a_store_that_fails_fails_every_single_that_waited_for_it(build: Build) -> None:
    failure = OnlineStoreUnavailableError("down")
    predictor, _ = build(people(3), failure=failure)

    answers = await asyncio.gather(*(predictor.predict_one(i, NOW_US) for i in people(3)), return_exceptions=True)

    assert [failure] * 3 == answers


async def test_values_from_the_cache_are_scored_and_flagged_with_their_age(build_all: BuildAll) -> None:
    built = build_all({"a": customer(), "b": customer(spend=None)}, guard=True)
    fresh = await built.predictor.predict(["a", "b"], NOW_US)
    built.store.failure = OnlineStoreUnavailableError("down")

    cached = await built.predictor.predict(["a", "b"], NOW_US)
    single = await built.predictor.predict_one("a", NOW_US)

    assert [None, None] == [p.cached_seconds for p in fresh]
    for before, after in zip([*fresh, fresh[0]], [*cached, single], strict=True):
        assert after.cached_seconds is not None
        assert 0 <= after.cached_seconds < 60
        assert "degraded" == after.status
        assert (before.churn_probability, before.churn) == (after.churn_probability, after.churn)
        assert list(before.feature_issues) == list(after.feature_issues), "its age is no issue of a feature"


async def test_a_cached_row_that_has_meanwhile_gone_stale_is_judged_as_of_now(build_all: BuildAll) -> None:
    built = build_all({"a": customer()}, guard=True, policies={ORDERS_30D: {"on_stale": "refuse"}})
    await built.predictor.predict(["a"], NOW_US)
    built.store.failure = OnlineStoreUnavailableError("down")

    (prediction,) = await built.predictor.predict(["a"], NOW_US + int(3 * DAY * 1e6))

    assert ("refused", None) == (prediction.status, prediction.churn_probability)
    assert {(ORDERS_30D, "stale")} <= {(i.feature, i.state) for i in prediction.feature_issues}
    assert prediction.cached_seconds is not None


STATUSES = ["ok", "degraded", "refused", "unknown_customer"]
FAR_OUT = -3.4e38  # finite as float32; the transform's powers of it are not


async def test_values_so_far_out_that_the_model_has_no_probability_are_refused_alone(build_all: BuildAll) -> None:
    built = build_all({"far": customer(spend=FAR_OUT, orders=FAR_OUT), "a": customer()})
    lookup = await built.predictor.look_up("far", NOW_US)
    assert np.isfinite(lookup.resolved.matrix).all()
    assert np.isnan(built.predictor.score(lookup.resolved.matrix)).all()

    refused, scored = await built.predictor.predict(["far", "a"], NOW_US)

    assert Prediction("far", "refused", None, None, []) == refused
    assert pytest.approx(expected_probability(), abs=1e-6) == scored.churn_probability
    assert refused == await built.predictor.predict_one("far", NOW_US) == lookup.prediction


async def test_overrides_so_far_out_are_refused_too_and_flagged(build: Build) -> None:
    predictor, _ = build({"a": customer(orders=FAR_OUT)})

    prediction = await predictor.predict_one("a", NOW_US, {SPEND: FAR_OUT})

    assert ("refused", None, None) == (prediction.status, prediction.churn_probability, prediction.churn)
    assert [(SPEND, "overridden")] == [(i.feature, i.state) for i in prediction.feature_issues]


async def test_every_customer_is_counted_by_status(build_all: BuildAll) -> None:
    rows = people(3) | {"stale": customer(activity_age=3 * DAY), "far": customer(spend=FAR_OUT, orders=FAR_OUT)}
    built = build_all(rows)

    await built.predictor.predict([*rows, "nobody", "00000"], NOW_US)

    counted = {status: built.count("churn_predictions_total", status=status) for status in STATUSES}
    assert {"ok": 3.0, "degraded": 1.0, "refused": 1.0, "unknown_customer": 1.0} == counted
    assert 1.0 == built.count("churn_feature_issues_total", feature=ORDERS_30D, state="stale")


async def test_closing_closes_the_store(build: Build) -> None:
    predictor, store = build({})

    await predictor.close()

    assert store.closed


async def test_one_whose_row_cannot_be_read_does_not_spoil_those_who_are_read_together_with_it(build: Build) -> None:
    gate = asyncio.Event()
    predictor, store = build(people(4), gate=gate)
    store.unreadable = frozenset({"00002"})

    waiting = [asyncio.create_task(predictor.predict_one(customer_id, NOW_US)) for customer_id in people(4)]
    await asyncio.sleep(0.01)
    gate.set()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)

    assert ["00000", "00001", None, "00003"] == [
        outcome.customer_id if isinstance(outcome, Prediction) else None for outcome in outcomes
    ]
    assert isinstance(outcomes[2], UnreadableFeaturesError)
