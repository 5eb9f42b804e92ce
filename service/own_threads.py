"""Runs work that may hang in a thread of its own, because it would use up asyncio's shared threads.

The event loop resolves host names in the shared threads, and waits for them when the process ends.
"""

import asyncio
import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import TypeVar

Result = TypeVar("Result")


class EndedItselfError(Exception):
    """The work raised `SystemExit` or another `BaseException`."""


async def in_own_thread(work: Callable[..., Result], *arguments: object) -> Result:
    """Call `work` in a new daemon thread.

    Raises:
        EndedItselfError: `work` raised a `BaseException` that is no `Exception`.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()
    context = copy_context()

    def settle(result: Result | None, error: Exception | None) -> None:
        if future.done():  # nobody waits any more
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # without an error there is one

    def run() -> None:
        result, failed = None, None
        try:
            result = context.run(work, *arguments)
        except Exception as error:
            failed = error
        except BaseException as error:
            failed = EndedItselfError(f"{type(error).__name__}: {error}")
        try:
            loop.call_soon_threadsafe(settle, result, failed)
        except RuntimeError:  # the loop has been closed meanwhile
            return

    threading.Thread(target=run, name=getattr(work, "__name__", "work"), daemon=True).start()
    return await future
