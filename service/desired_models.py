"""Which models should be live, and the change from those that are, between two requests.

The champion is the one that `var/model_tag` pins (followed with `SERVICE_FOLLOW_STORE`, else as it was at the start);
`var/challenger.json`, if it is there, names a second model and what it is to do. Whatever is wrong with what should be
live, what is live goes on answering.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from artefacts.challenger_file import Challenge
from artefacts.model_tag import is_exact
from artefacts.process.small_files import UnfitFileError, read_small_text
from contract import ContractError
from contract.validation import first_problem
from scoring.errors import ModelError
from service.errors import StartupError
from service.own_threads import in_own_thread

logger = logging.getLogger("service")

_RETRY_SECONDS = 10.0


class DesiredModels(NamedTuple):
    """What should be live.

    refusal: why there is no challenger although something asks for one; empty if there is nothing to say.
    """

    champion: str
    challenge: Challenge | None = None
    refusal: str = ""


def read_challenge(file: Path) -> Challenge | None:
    """What the file asks for; None without a file.

    Raises:
        StartupError: it asks for nothing that can be done; the message names the member.
        OSError: it cannot be read just now.
    """
    try:
        challenge = Challenge.from_text(read_small_text(file))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        problem = first_problem(error)
        raise StartupError(f"{file}: {problem.where}: {problem.what}") from None
    except UnfitFileError as error:
        raise StartupError(f"{file}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise StartupError(f"{file}: cannot be read: {error}") from None
    if not is_exact(challenge.tag):
        raise StartupError(f"{file}: tag: {challenge.tag!r} is not an exact model tag")
    return challenge


def desired_models(champion: str, challenger_file: Path) -> DesiredModels:
    """Read what should be live beside a known champion.

    Raises:
        OSError: a challenger's file cannot be read just now, which says nothing against the challenger that is live.
    """
    try:
        return DesiredModels(champion, read_challenge(challenger_file))
    except StartupError as error:
        return DesiredModels(champion, refusal=str(error))


def desired_models_at_start(champion: str, challenger_file: Path) -> DesiredModels:
    """As `desired_models`, but a challenger file that cannot be read does not stop the start."""
    try:
        return desired_models(champion, challenger_file)
    except OSError as error:
        return DesiredModels(champion, refusal=f"{challenger_file}: cannot be read: {error.strerror}")


async def follow(
    tried: DesiredModels,
    refusal: str,
    look: Callable[[], DesiredModels],
    switch: Callable[[DesiredModels], Awaitable[str]],
    every_seconds: float,
    tell: Callable[[bool], None],
) -> None:
    """Look every so often, for ever, and switch when something else is wanted; what fails is tried again.

    Args:
        tried: what was wanted at the start; `refusal` says what of it is not live, empty if all is.
        look: what should be live; called in a thread.
        switch: makes it live and says what of it could not be; where it raises, nothing has changed.
        tell: whether something is wanted that is not live, after every attempt.
    """
    retry_at = time.monotonic() + _RETRY_SECONDS
    while True:
        await asyncio.sleep(every_seconds)
        before, asked = refusal, tried
        try:
            asked = await in_own_thread(look)
            if asked == tried and (not refusal or time.monotonic() < retry_at):
                continue
            refusal = await switch(asked)
        except (StartupError, ModelError, ContractError) as error:
            refusal = str(error)
        except Exception as error:  # a store that cannot be read just now, or a fault of ours: neither ends the service
            refusal = f"{type(error).__name__}: {error}"
        tried, retry_at = asked, time.monotonic() + _RETRY_SECONDS
        tell(bool(refusal))
        if refusal and refusal != before:
            logger.error("what should be live is not: %s", refusal)
