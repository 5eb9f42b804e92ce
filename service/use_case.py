"""The use case that this process serves: the one that is recorded in the Bento, else that of `USE_CASE`."""

from collections.abc import Mapping
from pathlib import PurePath

from service.errors import StartupError


def with_use_case(environ: Mapping[str, str], recorded: str) -> dict[str, str]:
    """The environment of a process that serves a Bento: `USE_CASE` is the recorded one, if one is."""
    return {**environ, "USE_CASE": recorded} if recorded else dict(environ)


def refuse_another_use_case(environ: Mapping[str, str], recorded: str) -> None:
    """Check that the environment does not ask a Bento for another use case than its own.

    Raises:
        StartupError: it does.
    """
    given = environ.get("USE_CASE")
    if given and recorded and PurePath(given) != PurePath(recorded):
        raise StartupError(
            f"USE_CASE is {given!r}, but this Bento was built for {recorded!r}; unset it, or serve a Bento of that one"
        )
