"""The use case that the environment names, for the jobs that ask it something."""

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.errors import JobError

if TYPE_CHECKING:
    from training.use_case import UseCase


def use_case() -> "UseCase":
    """Load it; the first time takes a second.

    Raises:
        JobError: it cannot be loaded.
    """
    from training.errors import UseCaseError
    from training.use_case_folder import current_use_case

    try:
        return current_use_case()
    except UseCaseError as error:
        raise JobError(str(error)) from None


def function_of(file: Path, name: str) -> Callable[..., Any] | None:
    """A function of a module in a use case's folder; None if there is no such module.

    Raises:
        JobError: the module cannot be imported, or has no such function.
    """
    from training.errors import UseCaseError
    from training.use_case_folder import function_of as found

    try:
        return found(file, name)
    except UseCaseError as error:
        raise JobError(str(error)) from None


def known_from_to() -> tuple[datetime, datetime]:
    """When the use case's first event was, and the time before which all are known; UTC.

    Raises:
        JobError: there are no events.
    """
    from training.errors import TrainingError

    source = use_case().labels(os.environ)
    try:
        return source.first_event(), source.observed_until()
    except TrainingError as error:
        raise JobError(str(error)) from None
