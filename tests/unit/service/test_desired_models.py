"""What should be live: read from files that anybody may write, and followed for ever."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from artefacts.challenger_file import Challenge
from scoring.errors import ModelError
from service import desired_models as live_models
from service.desired_models import DesiredModels, desired_models, follow, read_challenge
from service.errors import StartupError

FIRST, SECOND = DesiredModels("m:v1"), DesiredModels("m:v2")


def test_without_a_file_there_is_no_challenger(tmp_path: Path) -> None:
    assert DesiredModels("m:v1") == desired_models("m:v1", tmp_path / "challenger.json")


def test_a_challenger_is_named_by_its_exact_tag_and_what_it_is_to_do(tmp_path: Path) -> None:
    file = tmp_path / "challenger.json"
    file.write_text('{"tag": "m:v2", "mode": "canary", "share": 0.25}')

    assert Challenge(tag="m:v2", mode="canary", share=0.25) == read_challenge(file)
    assert DesiredModels("m:v1", Challenge(tag="m:v2", mode="canary", share=0.25)) == desired_models("m:v1", file)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "cannot be read"),
        ("[]", "challenger.json"),
        ('{"tag": "m:v2"}', "mode"),
        ('{"mode": "shadow"}', "tag"),
        ('{"tag": "m:v2", "mode": "loud"}', "mode"),
        ('{"tag": "m:v2", "mode": "canary", "share": -0.1}', "share"),
        ('{"tag": "m:v2", "mode": "canary", "share": "most"}', "share"),
        ('{"tag": "m:v2", "mode": "shadow", "shares": 1}', "shares"),
        ('{"tag": "m:latest", "mode": "shadow"}', "tag"),
        ('{"tag": "m", "mode": "shadow"}', "tag"),
    ],
)
def test_a_file_that_asks_for_nothing_possible_is_refused_by_member_and_never_stops_the_champion(
    tmp_path: Path, text: str, named: str
) -> None:
    file = tmp_path / "challenger.json"
    file.write_text(text)

    with pytest.raises(StartupError, match=named):
        read_challenge(file)
    found = desired_models("m:v1", file)
    assert ("m:v1", None) == found[:2]
    assert named in found.refusal


class Followed:
    """A `follow` at work: what it looked at, what it switched to, what it told."""

    def __init__(self, switch: Callable[[DesiredModels], Awaitable[str]]) -> None:
        self.now = FIRST
        self.switched: list[DesiredModels] = []
        self.told: list[bool] = []
        self.looks = 0
        self._switch = switch

    def look(self) -> DesiredModels:
        self.looks += 1
        return self.now

    async def switch(self, asked: DesiredModels) -> str:
        self.switched.append(asked)
        return await self._switch(asked)

    async def until(self, true: Callable[[], bool], refusal: str = "") -> None:
        task = asyncio.create_task(follow(FIRST, refusal, self.look, self.switch, 0.0, self.told.append))
        try:
            async with asyncio.timeout(20):
                while not true():
                    assert not task.done()
                    await asyncio.sleep(0.001)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def works(_: DesiredModels) -> str:
    return ""


async def test_nothing_is_switched_while_nothing_else_is_wanted() -> None:
    followed = Followed(works)

    await followed.until(lambda: followed.looks > 20)

    assert [] == followed.switched
    assert [] == followed.told


async def test_what_is_wanted_is_switched_to_once() -> None:
    followed = Followed(works)
    followed.now = SECOND

    await followed.until(lambda: followed.looks > 20)

    assert [SECOND] == followed.switched
    assert [False] == followed.told


@pytest.mark.parametrize("error", [ModelError("altered"), StartupError("no"), OSError("disk"), RuntimeError("ours")])
async def test_a_switch_that_fails_is_told_and_tried_again_until_it_works(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(live_models, "_RETRY_SECONDS", 0.01)
    attempts = 0

    async def third_time(_: DesiredModels) -> str:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise error
        return ""

    followed = Followed(third_time)
    followed.now = SECOND

    await followed.until(lambda: followed.told[-1:] == [False])

    assert [True, True, False] == followed.told
    assert 1 == len([record for record in caplog.records if str(error) in record.message])  # said once, not each time


async def test_a_failed_switch_is_not_tried_again_at_every_look() -> None:
    async def never(_: DesiredModels) -> str:
        raise ModelError("altered")

    followed = Followed(never)
    followed.now = SECOND

    await followed.until(lambda: followed.looks > 50)

    assert [SECOND] == followed.switched


async def test_another_wish_is_tried_at_once_after_one_that_failed() -> None:
    async def only_the_third(asked: DesiredModels) -> str:
        if asked == SECOND:
            raise ModelError("altered")
        return ""

    followed = Followed(only_the_third)
    followed.now = SECOND
    third = DesiredModels("m:v3")

    async def change() -> None:
        while not followed.told:
            await asyncio.sleep(0.001)
        followed.now = third

    changing = asyncio.create_task(change())
    await followed.until(lambda: len(followed.told) == 2)
    await changing

    assert [SECOND, third] == followed.switched
    assert [True, False] == followed.told


async def test_a_champion_without_its_challenger_is_live_and_told_as_less_than_was_wanted() -> None:
    async def alone(_: DesiredModels) -> str:
        return "challenger: altered"

    followed = Followed(alone)
    followed.now = DesiredModels("m:v1", Challenge(tag="m:v2", mode="shadow"))

    await followed.until(lambda: bool(followed.told))

    assert [True] == followed.told


async def test_a_store_that_cannot_be_looked_at_ends_nothing() -> None:
    followed = Followed(works)
    looks = followed.look

    def fails_first() -> DesiredModels:
        if looks().champion and followed.looks < 3:
            raise OSError("gone")
        return followed.now

    followed.look = fails_first  # type: ignore[method-assign]

    await followed.until(lambda: followed.looks > 5)

    assert followed.told[0]
