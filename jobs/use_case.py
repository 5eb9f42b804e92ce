"""The use case that the environment names, for the jobs that ask it something."""

from typing import TYPE_CHECKING

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
