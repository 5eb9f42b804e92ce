"""Work in a thread of its own, for what may hang or end: asyncio's shared threads would be used up by it.

The event loop looks names up in those threads, too, and waits for them when the process ends.
"""

import asyncio
import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import TypeVar

Result = TypeVar("Result")


class EndedItselfError(Exception):
    """The work raised `SystemExit` or the like, which would have ended the process."""


async def in_own_thread(work: Callable[..., Result], *arguments: object) -> Result:
    """Call `work` in a new thread, which does not keep the process alive.

    Raises:
        EndedItselfError: in place of any exception that is no `Exception`.
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
