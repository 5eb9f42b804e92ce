"""A store that fails or hangs is answered for in bounded time: deadline and circuit breaker."""

import asyncio
import time
from types import SimpleNamespace

import numpy as np
import pytest

from service.errors import DeadlineExceededError, OnlineStoreUnavailableError
from service.features import guard as guarded_features
from service.features.guard import LastKnownGood
from tests.models.fakes import NOW_US
from tests.unit.service.features.guarded import FAILURES_TO_OPEN, RETRY_SECONDS, Clock, Guarded


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(guarded_features, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


@pytest.fixture
def guarded(clock: Clock) -> Guarded:
    return Guarded()


async def test_what_is_read_passes_unchanged_with_every_rows_own_time(guarded: Guarded) -> None:
    times = np.array([NOW_US, NOW_US + 3_600_000_000], dtype=np.int64)

    through = await guarded.features.read(["b", "a"], times)

    direct = await guarded.store.read(["b", "a"], times)
    np.testing.assert_array_equal(direct.values, through.values)
    np.testing.assert_array_equal(np.asarray(direct.event_times), np.asarray(through.event_times))
    assert through.cached_seconds is None


async def test_a_store_that_never_answers_is_given_up_at_the_deadline() -> None:
    guarded = Guarded(deadline_seconds=0.05)
    guarded.store.gate = asyncio.Event()
    started = time.monotonic()

    with pytest.raises(DeadlineExceededError) as caught:
        await guarded.read("a")

    assert 503 == caught.value.status
    assert 0.04 < time.monotonic() - started < 5


async def test_a_store_that_answers_just_in_time_is_heard() -> None:
    guarded = Guarded(deadline_seconds=5)
    guarded.store.gate = asyncio.Event()
    asyncio.get_running_loop().call_later(0.02, guarded.store.gate.set)

    assert [1.0] == await guarded.spend("a")


async def test_a_failing_store_is_told_as_it_is(guarded: Guarded) -> None:
    guarded.store.failure = failure = OnlineStoreUnavailableError("particular")

    with pytest.raises(OnlineStoreUnavailableError) as caught:
        await guarded.read("a")

    assert failure is caught.value


async def test_after_five_failures_in_a_row_the_store_is_left_alone_for_half_a_second(
    guarded: Guarded, clock: Clock
) -> None:
    await guarded.fail(FAILURES_TO_OPEN)
    asked = len(guarded.store.asked)
    clock.now += RETRY_SECONDS - 0.01

    with pytest.raises(OnlineStoreUnavailableError):
        await guarded.read("a")

    assert asked == len(guarded.store.asked) == FAILURES_TO_OPEN
    clock.now += 0.01
    assert [1.0] == await guarded.spend("a")


async def test_four_failures_or_a_success_in_between_leave_the_way_open(guarded: Guarded) -> None:
    for _ in range(3):
        await guarded.fail(FAILURES_TO_OPEN - 1)
        assert [1.0] == await guarded.spend("a")


async def test_reads_that_took_too_long_count_as_failures(clock: Clock) -> None:
    guarded = Guarded(deadline_seconds=0.01)
    guarded.store.gate = asyncio.Event()
    for _ in range(FAILURES_TO_OPEN):
        with pytest.raises(DeadlineExceededError):
            await guarded.read("a")

    with pytest.raises(OnlineStoreUnavailableError):
        await guarded.read("a")

    assert FAILURES_TO_OPEN == len(guarded.store.asked)


async def test_one_read_tries_whether_the_store_is_back_and_the_others_do_not_wait(
    guarded: Guarded, clock: Clock
) -> None:
    await guarded.fail(FAILURES_TO_OPEN)
    clock.now += RETRY_SECONDS
    guarded.store.gate = asyncio.Event()
    first = asyncio.create_task(guarded.spend("a"))
    await asyncio.sleep(0)

    with pytest.raises(OnlineStoreUnavailableError):
        await guarded.read("b")

    assert FAILURES_TO_OPEN + 1 == len(guarded.store.asked)
    guarded.store.gate.set()
    assert [1.0] == await first
    assert [2.0] == await guarded.spend("b")


async def test_if_the_store_is_not_back_it_is_left_alone_again(guarded: Guarded, clock: Clock) -> None:
    await guarded.fail(FAILURES_TO_OPEN)
    clock.now += RETRY_SECONDS
    await guarded.fail(1)

    with pytest.raises(OnlineStoreUnavailableError):
        await guarded.read("a")

    assert FAILURES_TO_OPEN + 1 == len(guarded.store.asked)


async def test_a_client_that_hangs_up_while_its_read_tries_the_store_leaves_the_trying_to_the_next(
    guarded: Guarded, clock: Clock
) -> None:
    await guarded.fail(FAILURES_TO_OPEN)
    clock.now += RETRY_SECONDS
    guarded.store.gate = asyncio.Event()
    trying = asyncio.create_task(guarded.read("a"))
    await asyncio.sleep(0)

    trying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trying
    guarded.store.gate = None

    assert [2.0] == await guarded.spend("b")


async def test_a_fault_of_ours_is_no_failure_of_the_store_and_not_hidden_by_the_cache(clock: Clock) -> None:
    guarded = Guarded(cache=LastKnownGood(10, 60.0))
    await guarded.read("a")
    guarded.store.failure = KeyError("on-demand code")

    for _ in range(2 * FAILURES_TO_OPEN):
        with pytest.raises(KeyError):
            await guarded.read("a")

    guarded.store.failure = None
    assert [2.0] == await guarded.spend("b")
    assert 0.0 == guarded.metric("model_service_breaker_open")


async def test_the_state_of_the_breaker_is_told_to_metrics_and_log(
    guarded: Guarded, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    assert 0.0 == guarded.metric("model_service_breaker_open")

    await guarded.fail(FAILURES_TO_OPEN)
    assert 1.0 == guarded.metric("model_service_breaker_open")

    clock.now += RETRY_SECONDS
    await guarded.read("a")
    assert 0.0 == guarded.metric("model_service_breaker_open")
    told = [(record.levelname, record.getMessage()) for record in caplog.records]
    states = ["open", "half_open", "closed"]
    assert list(zip(["WARNING", "WARNING", "INFO"], [f"circuit breaker: {s}" for s in states], strict=True)) == told


async def test_closing_closes_what_is_guarded(guarded: Guarded) -> None:
    await guarded.features.close()

    assert guarded.store.closed


async def test_a_customer_whose_row_cannot_be_read_keeps_nobody_else_from_being_asked_for(guarded: Guarded) -> None:
    guarded.store.unreadable = frozenset({"b"})

    for _ in range(2 * FAILURES_TO_OPEN):
        raw = await guarded.read("b")
        assert raw.unread is not None

    assert [1.0] == await guarded.spend("a")
