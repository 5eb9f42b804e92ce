"""Where it is asked for, values of earlier reads stand in for a store that cannot be read, and say so."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from contract import Key, RawFeatures
from service.errors import OnlineStoreUnavailableError
from service.features import guard as guarded_features
from service.features.guard import LastKnownGood
from tests.models.fakes import DAY, MEMBER, NOW, PROFILE, SPEND, customer
from tests.unit.service.features.guarded import COLUMN, DOWN, FAILURES_TO_OPEN, RETRY_SECONDS, Clock, Guarded


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(guarded_features, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


async def test_without_a_cache_earlier_values_do_not_stand_in(clock: Clock) -> None:
    guarded = Guarded()
    await guarded.read("a")

    await guarded.fail(1)


Break = Callable[[Guarded, Clock], object]


def _fails(guarded: Guarded, _: Clock) -> None:
    guarded.store.failure = DOWN


def _hangs(guarded: Guarded, _: Clock) -> None:
    guarded.store.gate = asyncio.Event()


@pytest.mark.parametrize("broken", [_fails, _hangs])
async def test_with_a_cache_earlier_values_stand_in_and_say_how_old_they_are(clock: Clock, broken: Break) -> None:
    guarded = Guarded(deadline_seconds=0.05, cache=LastKnownGood(10, 60.0))
    fresh = await guarded.read("a", "b")
    clock.now += 12.5
    await guarded.read("b")
    clock.now += 1.25
    broken(guarded, clock)

    cached = await guarded.read("b", "a", "b")

    assert cached.cached_seconds is not None
    assert [1.25, 13.75, 1.25] == cached.cached_seconds.tolist()
    np.testing.assert_array_equal(fresh.values[[1, 0, 1]], cached.values)
    np.testing.assert_array_equal(np.asarray(fresh.event_times)[[1, 0, 1]], np.asarray(cached.event_times))
    assert 3.0 == guarded.metric("model_service_cached_rows_total")


async def test_the_cache_answers_while_the_breaker_is_open_and_no_longer_once_the_store_is_back(clock: Clock) -> None:
    guarded = Guarded(cache=LastKnownGood(10, 60.0))
    await guarded.read("a", "b")
    guarded.store.failure = DOWN
    for _ in range(FAILURES_TO_OPEN):
        assert [2.0] == await guarded.spend("b")
    asked = len(guarded.store.asked)

    assert [1.0] == await guarded.spend("a")
    assert asked == len(guarded.store.asked)

    guarded.store.failure = None
    clock.now += RETRY_SECONDS
    assert (await guarded.read("a")).cached_seconds is None


async def test_an_id_that_is_not_cached_is_unread_and_spoils_nobody_elses_values(clock: Clock) -> None:
    guarded = Guarded(cache=LastKnownGood(10, 60.0))
    await guarded.read("a")
    guarded.store.failure = DOWN

    raw = await guarded.read("b", "a")

    assert raw.unread is not None
    assert [True, False] == raw.unread.all(axis=1).tolist() == raw.unread.any(axis=1).tolist()
    assert np.isnan(raw.values[0]).all()
    assert 1.0 == raw.values[1, COLUMN[SPEND]]
    assert 1.0 == guarded.metric("model_service_cached_rows_total")


async def test_what_only_a_challenger_reads_and_was_not_believed_is_not_believed_from_the_cache(clock: Clock) -> None:
    guarded = Guarded(cache=LastKnownGood(10, 60.0))
    whole = guarded.store.read

    async def without_spend(
        keys: Sequence[Key], as_of_unix_us: int | NDArray[np.int64], given: Mapping[str, Sequence[Any]] | None = None
    ) -> RawFeatures:
        raw = await whole(keys, as_of_unix_us, given)
        unread = np.zeros(raw.values.shape, dtype=bool)
        unread[0, COLUMN[SPEND]] = True
        return replace(raw, unread=unread)

    guarded.store.read = without_spend  # type: ignore[method-assign]
    await guarded.read("a", "b")
    guarded.store.failure = DOWN

    raw = await guarded.read("b", "a", "c")

    assert raw.unread is not None
    assert [False, True, True] == raw.unread[:, COLUMN[SPEND]].tolist()
    assert [False, False, True] == raw.unread[:, COLUMN[MEMBER]].tolist()


@pytest.mark.parametrize(("age", "answered"), [(60.0, True), (60.001, False)])
async def test_values_that_are_too_old_do_not_stand_in(clock: Clock, age: float, answered: bool) -> None:
    guarded = Guarded(cache=LastKnownGood(10, 60.0))
    await guarded.read("a")
    guarded.store.failure = DOWN
    clock.now += age

    if answered:
        assert [1.0] == await guarded.spend("a")
    else:
        with pytest.raises(OnlineStoreUnavailableError):
            await guarded.read("a")


async def test_what_the_cache_gives_does_not_make_it_younger(clock: Clock) -> None:
    guarded = Guarded(cache=LastKnownGood(10, 60.0))
    await guarded.read("a")
    guarded.store.failure = DOWN
    clock.now += 40
    await guarded.read("a")
    clock.now += 40

    with pytest.raises(OnlineStoreUnavailableError):
        await guarded.read("a")


async def test_the_cache_keeps_the_customers_that_were_read_last(clock: Clock) -> None:
    cache = LastKnownGood(2, 60.0)
    guarded = Guarded(cache=cache)
    await guarded.read("a", "b")
    await guarded.read("a")
    await guarded.read("c")
    guarded.store.failure = DOWN

    assert [1.0, 3.0] == await guarded.spend("a", "c")
    assert 2 == len(cache)
    with pytest.raises(OnlineStoreUnavailableError):
        await guarded.read("b")


async def test_a_batch_larger_than_the_cache_leaves_no_more_than_its_size(clock: Clock) -> None:
    cache = LastKnownGood(2, 60.0)
    guarded = Guarded(cache=cache)

    await guarded.read("a", "b", "c", "a")

    assert 2 == len(cache)
    guarded.store.failure = DOWN
    assert [3.0, 1.0] == await guarded.spend("c", "a")


async def test_a_customer_without_any_row_is_not_kept(clock: Clock) -> None:
    cache = LastKnownGood(10, 60.0)
    guarded = Guarded(cache=cache)
    await guarded.read("nobody", "a")
    assert 1 == len(cache)
    guarded.store.failure = DOWN

    with pytest.raises(OnlineStoreUnavailableError):
        await guarded.read("nobody")


async def test_a_customer_whose_rows_have_gone_is_forgotten(clock: Clock) -> None:
    guarded = Guarded(cache=LastKnownGood(10, 60.0))
    await guarded.read("a")
    guarded.store.rows = {}
    await guarded.read("a")
    guarded.store.failure = DOWN

    with pytest.raises(OnlineStoreUnavailableError):
        await guarded.read("a")


async def test_a_customer_with_a_row_in_one_view_only_is_kept(clock: Clock) -> None:
    guarded = Guarded(cache=LastKnownGood(10, 60.0))
    guarded.store.rows = {"a": {PROFILE: customer(spend=9.0, profile_age=400 * DAY)[PROFILE]}}
    await guarded.read("a")
    guarded.store.failure = DOWN

    cached = await guarded.read("a")

    assert 9.0 == cached.values[0, COLUMN[SPEND]]
    assert cached.event_times is not None
    assert NOW - 400 * DAY == cached.event_times[0, 0]
    assert np.isnan(cached.event_times[0, 1])


async def test_what_was_read_may_be_changed_without_changing_what_is_kept(clock: Clock) -> None:
    guarded = Guarded(cache=LastKnownGood(10, 60.0))
    raw = await guarded.read("a")
    raw.values[:] = -1
    guarded.store.failure = DOWN
    (await guarded.read("a")).values[:] = -2

    assert [1.0] == await guarded.spend("a")
