"""Runs work that may hang in a thread of its own, because it would use up asyncio's shared threads.

The event loop resolves host names in the shared threads, and waits for them when the process ends.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import TypeVar

Result = TypeVar("Result")


class OwnThreads:
    """Runs work in threads of its own, at most `limit` at once. Further calls wait.

    A call that is cancelled leaves its thread running, and its place taken until the work ends.
    """

    def __init__(self, limit: int) -> None:
        self._places = asyncio.Semaphore(limit)

    async def run(self, work: Callable[..., Result], *arguments: object) -> Result:
        """Call `work` in a daemon thread. Raises as `in_own_thread`."""
        await self._places.acquire()
        loop = asyncio.get_running_loop()

        has_begun = False

        def working() -> Result:
            nonlocal has_begun
            has_begun = True
            try:
                return work(*arguments)
            finally:
                with suppress(RuntimeError):  # the loop has been closed meanwhile
                    loop.call_soon_threadsafe(self._places.release)

        try:
            return await in_own_thread(working)
        except RuntimeError:
            if not has_begun:  # the system has no thread to give
                self._places.release()
            raise


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
