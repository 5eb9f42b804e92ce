"""Compares the feature registry with the contract at intervals while the service runs."""

import asyncio
import logging
from collections.abc import Callable

from service.own_threads import in_own_thread

logger = logging.getLogger(__name__)


async def watch_contract(
    broken_promises: Callable[[], list[str]], every_seconds: float, tell: Callable[[bool], None]
) -> None:
    """Compare at intervals, forever; log every change and report whether there is a mismatch.

    The service goes on answering, because its plan was made from a registry that matched. A mismatch warns that the
    next materialization or the next start may not fit this model.

    Args:
        broken_promises: returns one sentence per difference; called in a thread.
    """
    known: list[str] = []
    tell(False)
    while True:
        await asyncio.sleep(every_seconds)
        try:
            found = await in_own_thread(broken_promises)
        except Exception as error:  # the registry cannot be read now, so the last result stands
            logger.warning("the feature registry cannot be read: %s", _said(error))
            continue
        if found != known:
            known = found
            tell(bool(found))
            said = "; ".join(found) or "they agree again"
            logger.log(logging.ERROR if found else logging.INFO, "contract and live feature registry: %s", said)


def _said(error: Exception) -> str:
    """The text to log. Errors of files are logged in full; a database's may hold its password."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return type(error).__name__
