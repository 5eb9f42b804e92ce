"""A second model beside the champion: what it answers, what it may cost, what is logged of both."""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from sklearn.pipeline import Pipeline

from artefacts.challenger_file import Mode
from contract import Key, ModelContract, OverrideError, RawFeatures
from contract.feature_union import FeatureUnion, UnionPart
from scoring.inference_log import Answers
from scoring.models.imported_model import ImportedModel
from scoring.outcomes import DEGRADED, OK
from service.errors import OnlineStoreUnavailableError
from service.prediction.batch import Batch
from service.prediction.challenger import Challenger
from service.prediction.predictions import Prediction
from service.prediction.predictor import Predictor
from service.telemetry.metrics import ServiceMetrics
from tests.models.fakes import (
    DAYS_SINCE,
    MEMBER,
    NOW_US,
    ORDERS,
    SPEND,
    FakeOnlineFeatures,
    Rows,
    customer,
    small_contract,
    store_model,
)
from tests.unit.service.challengers import NAMES, challenger_contract, challenger_pipeline, challenging_model

ANN, BOB, NOBODY = "ann", "bob", "nobody"


@dataclass
class Log:
    """Keeps what it is given."""

    kept: list[Answers] = field(default_factory=list)

    def put(self, answers: Answers) -> None:
        self.kept.append(answers)

    def rows(self, role: str) -> dict[tuple[str, int], tuple[Key, bool, float]]:
        """(request, row) → customer, answered, probability."""
        return {
            (request, row): (customer_id, bool(answered), float(probability))
            for answers in self.kept
            if answers.model.role == role
            for request, row, customer_id, answered, probability in zip(
                answers.request_ids,
                answers.rows,
                answers.keys,
                answers.answered,
                answers.outcomes.outputs[0],
                strict=True,
            )
        }


@dataclass
class Both:
    """A predictor with two live models, and what it counts and logs."""

    predictor: Predictor
    challenger: Challenger
    store: FakeOnlineFeatures
    registry: CollectorRegistry
    log: Log

    def count(self, outcome: str) -> float:
        labels = {"model": "small_churn", "outcome": outcome}
        return self.registry.get_sample_value("model_service_challenger_rows_total", labels) or 0.0

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not true():
                await asyncio.sleep(0.005)


Open = Callable[..., Both]


@pytest.fixture
def both(tmp_path: Path) -> Open:
    def open_both(
        rows: dict[str, Rows],
        mode: Mode,
        share: float = 1.0,
        score: Callable[[NDArray[np.float32]], NDArray[np.float32]] | None = None,
        budget_seconds: float = 10.0,
        contract: ModelContract | None = None,
    ) -> Both:
        champion = store_model(tmp_path / "champion", small_contract()).load()
        challenging = challenging_model(tmp_path / "challenger", contract)
        if score is not None:
            challenging = replace(challenging, score=score)
        registry, log = CollectorRegistry(), Log()
        metrics = ServiceMetrics("small_churn", registry)
        union = FeatureUnion.of(champion.contract, challenging.contract)
        store = FakeOnlineFeatures(champion.contract, rows)
        challenger = Challenger(challenging, union, mode, share, metrics, budget_seconds, log)
        return Both(Predictor(champion, store, metrics, union, challenger, log), challenger, store, registry, log)

    return open_both


def says(model: ImportedModel, pipeline: Pipeline, **features: float) -> float:
    row = {DAYS_SINCE: 10.0, SPEND: 120.0, MEMBER: 1.0, ORDERS: 4.0} | features
    matrix = np.array([[row[name] for name in model.contract.feature_names]], dtype=np.float32)
    return float(pipeline.predict_proba(pd.DataFrame(matrix, columns=model.contract.feature_names))[0, 1])


async def test_a_shadow_scores_the_same_vector_after_the_champion_has_answered(both: Open) -> None:
    live = both({ANN: customer(orders=9)}, "shadow")

    prediction = await live.predictor.predict_one(ANN, NOW_US, request_id="r1")
    await live.until(lambda: bool(live.log.rows("challenger")))

    assert prediction.model is None
    assert [[ANN]] == live.store.asked  # read once
    ((_, answered, probability),) = live.log.rows("challenger").values()
    assert not answered
    model = live.challenger.live.model
    assert probability == pytest.approx(says(model, challenger_pipeline(), **{ORDERS: 9.0}), abs=1e-6)
    assert {("r1", 0): (ANN, True, prediction.outputs[0])} == live.log.rows("champion")
    assert live.count("scored") == 1


async def test_a_shadow_logs_every_row_of_every_request_and_none_that_was_not_asked_for(both: Open) -> None:
    people = {f"{n:03d}": customer(orders=n + 1) for n in range(40)}
    live = both(people, "shadow")

    await asyncio.gather(*(live.predictor.predict_one(id_, NOW_US, request_id=f"one {id_}") for id_ in people))
    await live.predictor.predict([*people, "000"], NOW_US, request_id="batch")
    await live.predictor.predict_one("000", NOW_US, {SPEND: 1.0, ORDERS: 2.0}, request_id="with overrides")
    await live.until(lambda: len(live.log.rows("challenger")) == 82)

    champion, challenger = live.log.rows("champion"), live.log.rows("challenger")
    assert champion.keys() == challenger.keys()
    assert {key: row[0] for key, row in champion.items()} == {key: row[0] for key, row in challenger.items()}
    assert ("batch", 40) in champion  # a customer who is asked for twice is answered twice
    model = live.challenger.live.model
    overridden = challenger["with overrides", 0][2]
    assert overridden == pytest.approx(says(model, challenger_pipeline(), **{ORDERS: 2.0}), abs=1e-6)


async def test_a_canary_answers_its_share_of_the_customers_and_always_the_same_ones(both: Open) -> None:
    people = {f"{n:05d}": customer(orders=n % 7 + 1) for n in range(400)}
    live = both(people, "canary", share=0.25)

    first = await live.predictor.predict(list(people), NOW_US)
    alone = await asyncio.gather(*(live.predictor.predict_one(id_, NOW_US) for id_ in people))

    chosen = {p.key for p in first if p.model}
    assert 60 < len(chosen) < 140
    assert chosen == {p.key for p in alone if p.model}
    assert {"version": "8", "role": "challenger"}.items() <= next(p.model for p in first if p.model).items()
    assert [p.outputs[0] for p in first] == pytest.approx([p.outputs[0] for p in alone])
    live.challenger.share = 0.5
    assert chosen < {id_ for id_ in people if live.challenger.answers(id_)}


async def test_of_a_canary_both_models_rows_are_logged_and_one_of_them_is_the_answer(both: Open) -> None:
    people = {f"{n:05d}": customer(orders=n % 7 + 1) for n in range(50)}
    live = both(people, "canary", share=0.5)

    made = await live.predictor.predict(list(people), NOW_US, request_id="b")

    champion, challenger = live.log.rows("champion"), live.log.rows("challenger")
    for row, prediction in enumerate(made):
        assert champion["b", row][1] == (prediction.model is None)
        answer = (challenger if prediction.model else champion)["b", row]
        assert (prediction.key, True, prediction.outputs[0]) == answer
    assert sum(1 for p in made if p.model) == len(challenger)


async def test_a_canary_that_fails_is_answered_for_by_the_champion(both: Open) -> None:
    def fails(_: NDArray[np.float32]) -> NDArray[np.float32]:
        raise ValueError("no")

    live = both({ANN: customer(), BOB: customer()}, "canary", score=fails)

    made = await live.predictor.predict([ANN, BOB, NOBODY], NOW_US, request_id="r")

    assert ["ok", "ok", "unknown_customer"] == [p.status for p in made]
    assert not any(p.model for p in made)
    assert live.count("failed") == 3
    assert [True] * 3 == [answered for _, answered, _ in live.log.rows("champion").values()]
    assert not live.log.rows("challenger")


async def test_a_canary_that_hangs_costs_its_budget_once_and_later_callers_nothing(both: Open) -> None:
    go_on, calls = threading.Event(), []

    def hangs(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        calls.append(len(matrix))
        go_on.wait(30)
        return np.full(len(matrix), 0.25, dtype=np.float32)

    live = both({ANN: customer(), BOB: customer()}, "canary", score=hangs, budget_seconds=0.05)
    try:
        assert (await live.predictor.predict_one(ANN, NOW_US)).model is None
        for _ in range(20):
            assert (await live.predictor.predict_one(BOB, NOW_US)).model is None
        assert [1] == calls  # nobody else waited for it
        assert live.count("late") == 21
    finally:
        go_on.set()

    async def answered_again() -> bool:
        return (await live.predictor.predict_one(ANN, NOW_US)).model is not None

    async with asyncio.timeout(20):
        while not await answered_again():
            await asyncio.sleep(0.01)


async def test_customers_of_the_champion_do_not_wait_for_a_slow_canary(both: Open) -> None:
    people = {f"{n:05d}": customer() for n in range(64)}
    waiting = threading.Event()

    def slow(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        waiting.wait(30)
        return np.full(len(matrix), 0.5, dtype=np.float32)

    live = both(people, "canary", share=0.3, score=slow, budget_seconds=30)
    try:
        asked = {id_: asyncio.ensure_future(live.predictor.predict_one(id_, NOW_US)) for id_ in people}
        theirs = {id_ for id_ in people if live.challenger.answers(id_)}
        made = await asyncio.wait_for(asyncio.gather(*(asked[id_] for id_ in people if id_ not in theirs)), 20)
        assert theirs
        assert not any(asked[id_].done() for id_ in theirs)
        assert {"ok"} == {p.status for p in made}
    finally:
        waiting.set()
    assert all(p.model for p in await asyncio.gather(*(asked[id_] for id_ in theirs)))


async def test_a_shadow_that_cannot_keep_up_drops_rows_and_counts_them(both: Open) -> None:
    busy, go_on = threading.Event(), threading.Event()

    def hangs(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        busy.set()
        go_on.wait(30)
        return np.full(len(matrix), 0.5, dtype=np.float32)

    people = [f"{n:05d}" for n in range(1000)]
    live = both({id_: customer() for id_ in people}, "shadow", score=hangs)
    try:
        await live.predictor.predict_one(ANN, NOW_US)
        await live.until(busy.is_set)
        for _ in range(25):
            await live.predictor.predict(people, NOW_US)
        assert live.count("dropped") == 5000
    finally:
        go_on.set()
    await live.until(lambda: live.count("scored") == 20_001)


async def test_what_the_champion_refuses_the_canary_may_answer_by_its_own_contract(both: Open) -> None:
    lenient = challenger_contract()
    live = both({ANN: customer(days_since=None, orders=None)}, "canary", contract=lenient)

    (prediction,) = await live.predictor.predict([ANN], NOW_US)

    assert prediction.status == "degraded"
    assert set(NAMES) == {issue.feature for issue in prediction.feature_issues}  # and no feature it does not take


async def test_rows_that_still_wait_for_a_shadow_when_it_ends_are_counted(both: Open) -> None:
    busy, go_on = threading.Event(), threading.Event()

    def hangs(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        busy.set()
        go_on.wait(30)
        return np.full(len(matrix), 0.5, dtype=np.float32)

    live = both({ANN: customer()}, "shadow", score=hangs)
    await live.predictor.predict_one(ANN, NOW_US)
    await live.until(busy.is_set)
    await live.predictor.predict_one(ANN, NOW_US)
    go_on.set()
    live.challenger.close(seconds=20)

    assert live.count("scored") + live.count("dropped") == 2


async def test_of_rows_scored_together_only_those_from_the_cache_are_degraded(both: Open) -> None:
    live = both({ANN: customer()}, "shadow")
    batch = Batch([ANN, BOB], NOW_US, ["a", "b"], [0, 0])
    fresh = await live.store.read([ANN, ANN], NOW_US)
    raw = replace(fresh, cached_seconds=np.array([np.nan, 5.0]))

    live.challenger.shadow(batch, raw)
    await live.until(lambda: bool(live.log.kept))

    assert [OK, DEGRADED] == live.log.kept[0].outcomes.statuses.tolist()


def give_the_canary_an_unread_input(live: Both) -> None:
    """Let the challenger take its order count from a column of its own, which cannot be read."""
    whole = live.store.read

    async def with_an_unread_column(
        keys: Sequence[Key], as_of_unix_us: int | NDArray[np.int64], given: Mapping[str, Sequence[Any]] | None = None
    ) -> RawFeatures:
        raw = await whole(keys, as_of_unix_us, given)
        unread = np.zeros(raw.values.shape, dtype=bool) if raw.unread is None else raw.unread
        return replace(
            raw,
            values=np.column_stack((raw.values, np.full(len(raw.values), np.nan))),
            unread=np.column_stack((unread, np.ones(len(unread), dtype=bool))),
        )

    live.store.read = with_an_unread_column  # type: ignore[method-assign]
    live.predictor.champion.part = UnionPart(np.arange(5), None)
    live.challenger.live.part = UnionPart(np.array([5, 0]), None)


async def test_what_only_the_canary_reads_and_cannot_be_read_is_answered_by_the_champion(both: Open) -> None:
    live = both({ANN: customer()}, "canary")
    give_the_canary_an_unread_input(live)

    (prediction,) = await live.predictor.predict([ANN], NOW_US)

    assert ("ok", None) == (prediction.status, prediction.model)
    assert live.count("failed") == 1


async def test_who_cannot_be_read_at_all_does_not_hide_what_only_the_canary_cannot_read(both: Open) -> None:
    live = both({ANN: customer(), BOB: customer()}, "canary")
    live.store.unreadable = frozenset({BOB})
    give_the_canary_an_unread_input(live)

    # One more before them, so that these two are read together.
    _, ann, bob = await asyncio.gather(
        *(live.predictor.predict_one(customer_id, NOW_US) for customer_id in (ANN, ANN, BOB)), return_exceptions=True
    )

    assert not isinstance(ann, BaseException)
    assert ("ok", None) == (ann.status, ann.model)
    assert isinstance(bob, OnlineStoreUnavailableError)
    assert live.count("failed") == 2  # Ann's, twice; nobody answers for Bob


@pytest.mark.parametrize("mode", ["canary", "shadow"])
async def test_an_override_that_only_the_champion_takes_is_no_failure_of_the_challenger(both: Open, mode: Mode) -> None:
    live = both({ANN: customer()}, mode)

    def refused(overrides: Mapping[str, object]) -> dict[int, float]:
        raise OverrideError(f"features.{SPEND}", "is not one of the model's categories")

    live.challenger.live.resolver.check_overrides = refused  # type: ignore[method-assign]

    prediction = await live.predictor.predict_one(ANN, NOW_US, {SPEND: 1.0})
    await live.until(lambda: live.count("dropped") == 1)

    assert (None, 0) == (prediction.model, live.count("failed"))


async def test_a_late_answer_of_the_canary_is_counted_once(both: Open) -> None:
    go_on = threading.Event()

    def slow(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        go_on.wait(30)
        return np.full(len(matrix), 0.5, dtype=np.float32)

    live = both({ANN: customer()}, "canary", score=slow, budget_seconds=0.02)
    await live.predictor.predict_one(ANN, NOW_US)
    go_on.set()
    live.challenger.close(seconds=20)
    await asyncio.sleep(0)

    assert (1, 0) == (live.count("late"), live.count("scored"))


async def test_only_rows_that_were_answered_are_logged(both: Open) -> None:
    live = both({ANN: customer(), BOB: customer()}, "shadow")
    live.store.unreadable = frozenset({BOB})

    with pytest.raises(OnlineStoreUnavailableError):
        await live.predictor.predict([ANN, BOB], NOW_US, request_id="batch")
    one: Prediction | BaseException
    other: Prediction | BaseException
    one, other = await asyncio.gather(
        live.predictor.predict_one(ANN, NOW_US, request_id="one"),
        live.predictor.predict_one(BOB, NOW_US, request_id="other"),
        return_exceptions=True,
    )
    await live.until(lambda: bool(live.log.rows("challenger")))

    assert not isinstance(one, BaseException)
    assert isinstance(other, OnlineStoreUnavailableError)
    assert {("one", 0)} == live.log.rows("champion").keys() == live.log.rows("challenger").keys()
