"""Items that arrive together are worked on together, and none of them depends on another."""

import asyncio
from collections.abc import Sequence

import pytest

from service.prediction.coalescing import Coalescer


class Work:
    """Answers each item with its double; remembers its calls.

    gate: calls wait until it is set, after at least one turn of the event loop, as every read of a store does.
    failure: raised by every call.
    """

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: Exception | None = None

    async def __call__(self, items: Sequence[int]) -> list[int]:
        self.calls.append(list(items))
        gate, failure = self.gate, self.failure
        await asyncio.sleep(0)
        await gate.wait()
        if failure is not None:
            raise failure
        return [2 * item for item in items]


async def turns(count: int = 5) -> None:
    """Let the event loop go round."""
    for _ in range(count):
        await asyncio.sleep(0)


BUSY = -1


class Busy:
    """A coalescer that is working on one item, so that whatever arrives next arrives together."""

    def __init__(self, largest: int = 100) -> None:
        self.work = Work()
        self.coalescer = Coalescer(self.work, largest)
        self._held = asyncio.Event()

    async def __aenter__(self) -> "Busy":
        open_gate, self.work.gate = self.work.gate, self._held
        self.first = asyncio.create_task(self.coalescer.submit(BUSY))
        await turns()
        self.work.gate = open_gate
        return self

    async def __aexit__(self, *_: object) -> None:
        assert not self.first.done(), "it should have been busy all the time"
        self._held.set()
        assert 2 * BUSY == await self.first
        assert [BUSY] == self.work.calls.pop(0)

    def submit(self, *items: int) -> "list[asyncio.Task[int]]":
        return [asyncio.create_task(self.coalescer.submit(item)) for item in items]


async def test_items_that_arrive_together_are_one_call_of_work_in_the_order_of_arrival() -> None:
    async with Busy() as busy:
        results = await asyncio.gather(*busy.submit(3, 1, 2, 1))

    assert [6, 2, 4, 2] == results
    assert [[3, 1, 2, 1]] == busy.work.calls


async def test_an_item_that_arrives_alone_is_worked_on_at_once() -> None:
    work = Work()
    work.gate.clear()
    coalescer = Coalescer(work, largest=100)

    asking = asyncio.create_task(coalescer.submit(7))
    await asyncio.sleep(0)

    assert [[7]] == work.calls
    work.gate.set()
    assert 14 == await asking


async def test_of_what_arrives_in_one_moment_only_the_first_goes_ahead_alone() -> None:
    work = Work()
    coalescer = Coalescer(work, largest=100)

    results = await asyncio.gather(*(coalescer.submit(item) for item in range(50)))

    assert [2 * item for item in range(50)] == results
    assert [[0], list(range(1, 50))] == work.calls


async def test_items_that_arrive_one_after_another_are_calls_of_their_own() -> None:
    work = Work()
    coalescer = Coalescer(work, largest=100)

    assert [2, 4] == [await coalescer.submit(1), await coalescer.submit(2)]
    assert [[1], [2]] == work.calls


async def test_a_batch_that_takes_long_does_not_hold_up_the_next() -> None:
    async with Busy() as busy:
        held, busy.work.gate = busy.work.gate, asyncio.Event()
        slow = busy.submit(1, 2)
        await turns()
        release, busy.work.gate = busy.work.gate, held

        assert [6, 8] == await asyncio.gather(*busy.submit(3, 4))

        assert [False, False] == [task.done() for task in slow]
        release.set()
        assert [2, 4] == await asyncio.gather(*slow)


@pytest.mark.parametrize(
    ("arriving", "calls"), [(3, [[0, 1, 2]]), (4, [[0, 1, 2], [3]]), (7, [[0, 1, 2], [3, 4, 5], [6]])]
)
async def test_no_call_of_work_is_larger_than_allowed(arriving: int, calls: list[list[int]]) -> None:
    async with Busy(largest=3) as busy:
        results = await asyncio.gather(*busy.submit(*range(arriving)))

    assert [2 * item for item in range(arriving)] == results
    assert calls == busy.work.calls


async def test_what_work_raises_reaches_every_item_of_the_batch() -> None:
    async with Busy(largest=2) as busy:
        busy.work.failure = ValueError("no")
        failed = await asyncio.gather(*busy.submit(0, 1, 2), return_exceptions=True)
        busy.work.failure = None

        assert [ValueError] * 3 == [type(error) for error in failed]
        assert [8] == await asyncio.gather(*busy.submit(4))


async def test_what_work_raises_reaches_an_item_that_is_alone_and_not_the_next() -> None:
    work = Work()
    coalescer = Coalescer(work, largest=100)
    work.failure = ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await coalescer.submit(1)

    work.failure = None
    assert 4 == await coalescer.submit(2)


async def test_one_batch_that_fails_leaves_the_other_of_the_same_moment_alone() -> None:
    async def refuse_odd(items: Sequence[int]) -> list[int]:
        await asyncio.sleep(0)
        if items[0] % 2:
            raise ValueError("odd")
        return list(items)

    coalescer = Coalescer(refuse_odd, largest=1)

    results = await asyncio.gather(*(coalescer.submit(item) for item in range(6)), return_exceptions=True)

    assert [0, 2, 4] == results[::2]
    assert all(isinstance(error, ValueError) for error in results[1::2])


async def test_an_exception_among_the_results_is_raised_for_its_item_only() -> None:
    async def refuse_odd(items: Sequence[int]) -> list[int | BaseException]:
        await asyncio.sleep(0)
        return [ValueError(f"{item} is odd") if item % 2 else item for item in items]

    coalescer = Coalescer(refuse_odd, largest=100)

    results = await asyncio.gather(*(coalescer.submit(item) for item in range(4)), return_exceptions=True)

    assert [0, 2] == results[::2]
    assert ["1 is odd", "3 is odd"] == [str(error) for error in results[1::2]]
    with pytest.raises(ValueError, match="5 is odd"):
        await coalescer.submit(5)
    assert 6 == await coalescer.submit(6)


@pytest.mark.parametrize("leaving", [0, 1, 2])
async def test_a_caller_that_gives_up_does_not_disturb_the_others(leaving: int) -> None:
    async with Busy() as busy:
        held = busy.work.gate = asyncio.Event()
        tasks = busy.submit(0, 1, 2)
        await turns()

        tasks[leaving].cancel()
        await turns()
        held.set()

        others = [item for item in range(3) if item != leaving]
        assert [2 * item for item in others] == [await tasks[item] for item in others]
        assert tasks[leaving].cancelled()


async def test_a_caller_alone_that_gives_up_does_not_hold_up_whoever_comes_next() -> None:
    work = Work()
    work.gate.clear()
    coalescer = Coalescer(work, largest=100)
    alone = asyncio.create_task(coalescer.submit(1))
    await turns()

    alone.cancel()
    await turns()
    work.gate.set()

    assert alone.cancelled()
    following = asyncio.create_task(coalescer.submit(2))
    await asyncio.sleep(0)
    assert [[1], [2]] == work.calls, "worked on at once, as if nobody had been there before"
    assert 4 == await following


async def test_a_caller_that_gave_up_before_its_turn_is_not_worked_for() -> None:
    async with Busy() as busy:
        tasks = busy.submit(0, 1, 2)
        await asyncio.sleep(0)  # all have arrived; the batch is formed in the next turn

        tasks[0].cancel()

        assert [2, 4] == [await tasks[1], await tasks[2]]
    assert [[1, 2]] == busy.work.calls


async def test_nothing_is_worked_on_if_everybody_gave_up() -> None:
    async with Busy() as busy:
        tasks = busy.submit(0, 1, 2)
        await asyncio.sleep(0)

        for task in tasks:
            task.cancel()
        await turns()

        assert [8] == await asyncio.gather(*busy.submit(4))
    assert [[4]] == busy.work.calls


async def test_an_error_that_nobody_waits_for_any_more_is_not_complained_about(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Busy() as busy:
        held = busy.work.gate = asyncio.Event()
        busy.work.failure = ValueError("no")
        (task,) = busy.submit(1)
        await turns()
        task.cancel()
        await turns()

        held.set()
        await turns()

    assert [] == caplog.records
    assert task.cancelled()


async def test_callers_are_cancelled_with_the_work_that_they_wait_for() -> None:
    async with Busy() as busy:
        busy.work.gate = asyncio.Event()
        before = asyncio.all_tasks()
        tasks = busy.submit(0, 1)
        await turns()
        (batch,) = asyncio.all_tasks() - before - set(tasks)

        batch.cancel()
        await turns()

        assert [True, True] == [task.cancelled() for task in tasks]
