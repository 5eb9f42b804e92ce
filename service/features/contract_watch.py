"""Whether the feature registry still keeps the contract, looked at again and again while the service runs."""

import asyncio
import logging
from collections.abc import Callable

from service.own_threads import in_own_thread

logger = logging.getLogger(__name__)


async def watch_contract(
    broken_promises: Callable[[], list[str]], every_seconds: float, tell: Callable[[bool], None]
) -> None:
    """Look every so often, for ever; log every change and tell whether there is a mismatch.

    The service goes on answering: its plan was made from the registry that it was checked against. What the
    mismatch says is that the next materialization, or the next start, may not fit this model.

    Args:
        broken_promises: one sentence per difference; called in a thread.
    """
    known: list[str] = []
    tell(False)
    while True:
        await asyncio.sleep(every_seconds)
        try:
            found = await in_own_thread(broken_promises)
        except Exception as error:  # the registry cannot be read just now; what was known of it stands
            logger.warning("the feature registry cannot be read: %s", _said(error))
            continue
        if found != known:
            known = found
            tell(bool(found))
            said = "; ".join(found) or "they agree again"
            logger.log(logging.ERROR if found else logging.INFO, "contract and live feature registry: %s", said)


def _said(error: Exception) -> str:
    """What is wrong with a file is worth knowing; what a database says may hold its password."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return type(error).__name__
