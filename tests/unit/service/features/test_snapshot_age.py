"""Whether an old snapshot keeps a process from being ready; what is not known never does."""

import asyncio
import logging
from datetime import UTC, datetime

import pytest

from artefacts.newest_snapshot import unix_seconds
from service.features.snapshot_age import SnapshotAge

NOW = datetime(2026, 6, 10, 12, tzinfo=UTC).timestamp()
HOUR = 3600.0


async def noted(at: float | None) -> float | None:
    return at


@pytest.mark.parametrize(("hours", "young"), [(0, True), (-1, True), (48, True), (48.01, False), (5000, False)])
async def test_a_snapshot_older_than_the_limit_is_not_young(hours: float, young: bool) -> None:
    age = SnapshotAge(48, deadline_seconds=20, clock=lambda: NOW)

    assert young is await age.is_young(lambda: noted(NOW - hours * HOUR))


async def test_without_a_limit_nothing_is_asked_and_any_age_is_served() -> None:
    async def must_not_be_asked() -> float | None:
        raise AssertionError

    assert await SnapshotAge(None, deadline_seconds=20).is_young(must_not_be_asked)


async def test_what_cannot_be_known_is_no_reason() -> None:
    async def fails() -> float | None:
        raise ConnectionError

    async def hangs() -> float | None:
        await asyncio.sleep(3600)
        return None

    for newest in (lambda: noted(None), fails, hangs):
        assert await SnapshotAge(1, deadline_seconds=0.05, clock=lambda: NOW).is_young(newest)


async def test_a_change_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    age, at = SnapshotAge(48, deadline_seconds=20, clock=lambda: NOW), [NOW - 60 * HOUR]

    with caplog.at_level(logging.INFO, "service.features.snapshot_age"):
        answers = [await age.is_young(lambda: noted(at[0])) for _ in range(3)]
        at[0] = NOW
        answers += [await age.is_young(lambda: noted(at[0])) for _ in range(2)]

    assert [False] * 3 + [True] * 2 == answers
    assert ["not ready: the newest snapshot is 60.0 h old, more than 48 h", "ready again"] == [
        record.getMessage().partition(": the newest snapshot is young")[0] for record in caplog.records
    ]


@pytest.mark.parametrize(
    ("stored", "found"), [(b"1750000000", 1.75e9), ("1.5", 1.5), (b"\xff", None), (b"soon", None), (None, None)]
)
def test_a_mark_that_is_no_time_is_as_none(stored: object, found: float | None) -> None:
    assert found == unix_seconds(stored)
