"""The registry is looked at again and again; every change of its promises is told once."""

import asyncio
import contextlib
import threading
from collections.abc import Sequence

import pytest

from service.features.contract_watch import watch_contract

LOST = "feature 'profile__spend' is not in the registry"
OTHER = "feature view 'activity': ttl_seconds is 1.0, the contract says 2.0"

Looks = Sequence[list[str] | Exception]


async def watch(looks: Looks) -> list[bool]:
    """What was told while the registry was looked at that many times."""
    told: list[bool] = []
    remaining = list(looks)
    last: list[str] = []
    done = asyncio.Event()
    loop = asyncio.get_running_loop()

    def broken_promises() -> list[str]:
        nonlocal last
        if not remaining:
            loop.call_soon_threadsafe(done.set)
            return last  # nothing new, so nothing to tell
        found = remaining.pop(0)
        if isinstance(found, Exception):
            raise found
        last = found
        return found

    watching = asyncio.create_task(watch_contract(broken_promises, 0.0, told.append))
    async with asyncio.timeout(10):
        await done.wait()
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching
    return told


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(r.levelname, r.getMessage()) for r in caplog.records]


@pytest.mark.parametrize(
    ("looks", "told"),
    [
        ([], [False]),
        ([[], [], []], [False]),
        ([[LOST], [LOST], [LOST]], [False, True]),
        ([[LOST], [], []], [False, True, False]),
        ([[LOST], [], [LOST]], [False, True, False, True]),
        ([[LOST], [LOST, OTHER]], [False, True, True]),
        ([OSError("gone"), []], [False]),
        ([[LOST], OSError("gone"), [LOST]], [False, True]),
        ([[LOST], OSError("gone"), []], [False, True, False]),
    ],
)
async def test_a_mismatch_is_told_when_it_appears_changes_and_goes(looks: Looks, told: list[bool]) -> None:
    assert told == await watch(looks)


async def test_every_difference_is_logged_once_as_an_error_and_the_agreement_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")

    await watch([[LOST, OTHER], [LOST, OTHER], []])

    assert [
        ("ERROR", f"contract and live feature registry: {LOST}; {OTHER}"),
        ("INFO", "contract and live feature registry: they agree again"),
    ] == logged(caplog)


async def test_a_registry_that_cannot_be_read_is_a_warning_that_says_no_addresses(
    caplog: pytest.LogCaptureFixture,
) -> None:
    await watch([ConnectionError("s3://user:secret@host")])

    assert [("WARNING", "the feature registry cannot be read: ConnectionError")] == logged(caplog)


async def test_looking_does_not_hold_up_requests() -> None:
    in_a_look, go_on = threading.Event(), threading.Event()

    def slow() -> list[str]:
        in_a_look.set()
        go_on.wait(10)
        return []

    watching = asyncio.create_task(watch_contract(slow, 0.0, lambda _: None))
    try:
        async with asyncio.timeout(10):
            while not in_a_look.is_set():
                await asyncio.sleep(0.001)
        assert not go_on.is_set(), "the event loop has gone on while the look was under way"
    finally:
        go_on.set()
        watching.cancel()
        await asyncio.wait([watching])


async def test_the_first_look_waits_its_time_because_the_start_has_just_looked() -> None:
    looked: list[bool] = []

    def broken_promises() -> list[str]:
        looked.append(True)
        return []

    watching = asyncio.create_task(watch_contract(broken_promises, 3600.0, lambda _: None))
    await asyncio.sleep(0.02)
    watching.cancel()
    await asyncio.wait([watching])

    assert [] == looked
