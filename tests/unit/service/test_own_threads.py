"""Work that may hang runs in threads of its own, of which there are only so many."""

import asyncio
import threading

import pytest

from service.own_threads import OwnThreads


@pytest.mark.asyncio
async def test_only_so_many_run_at_once_and_a_call_that_is_given_up_keeps_its_place_until_its_work_ends() -> None:
    threads, goes_on, running = OwnThreads(2), threading.Event(), threading.Semaphore(0)

    def hang() -> str:
        running.release()
        goes_on.wait(20)
        return "done"

    given_up = [asyncio.ensure_future(threads.run(hang)) for _ in range(2)]
    for _ in given_up:
        while not running.acquire(blocking=False):
            await asyncio.sleep(0.01)
    for call in given_up:
        call.cancel()
    await asyncio.gather(*given_up, return_exceptions=True)

    waiting = asyncio.ensure_future(threads.run(hang))
    await asyncio.sleep(0.05)
    assert not running.acquire(blocking=False)

    goes_on.set()
    assert "done" == await waiting


@pytest.mark.asyncio
async def test_an_error_of_the_work_is_raised_and_gives_its_place_back() -> None:
    threads = OwnThreads(1)

    def fail() -> None:
        raise RuntimeError("planted")

    for _ in range(3):
        with pytest.raises(RuntimeError, match="planted"):
            await threads.run(fail)
