"""Joins single requests that arrive together into one batch; one that arrives alone does not wait."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Coalescer(Generic[Item, Result]):
    """Passes all items of one turn of the event loop to `work` in one call.

    There is no timer. An item that arrives while nothing else runs is worked on at once. Under load, one turn of the
    loop finds the requests of many sockets. A batch does not wait for the one before.

    Args:
        work: n items → n results, same order. A result that is an exception is raised for its item; an exception
            that `work` raises, for every item of the batch.
        largest: most items in one call of `work`.
    """

    def __init__(
        self, work: Callable[[Sequence[Item]], Awaitable[Sequence[Result | BaseException]]], largest: int
    ) -> None:
        self._work = work
        self._largest = largest
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._running: set[asyncio.Task[None]] = set()
        self._alone = False

    async def submit(self, item: Item) -> Result:
        """Wait for the result of one item."""
        if not (self._alone or self._waiting or self._running):
            self._alone = True
            try:
                (result,) = await self._work([item])
            finally:
                self._alone = False
            if isinstance(result, BaseException):
                raise result
            return result
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._waiting.append((item, future))
        if len(self._waiting) == 1:
            loop.call_soon(self._flush)
        return await future

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for start in range(0, len(waiting), self._largest):
            task = asyncio.ensure_future(self._run(waiting[start : start + self._largest]))
            self._running.add(task)  # asyncio itself holds tasks only weakly
            task.add_done_callback(self._running.discard)

    async def _run(self, batch: list[tuple[Item, "asyncio.Future[Result]"]]) -> None:
        batch = [(item, future) for item, future in batch if not future.done()]
        try:
            results = await self._work([item for item, _ in batch]) if batch else []
            if len(results) != len(batch):
                raise RuntimeError(f"{len(results)} results for {len(batch)} items")
        except asyncio.CancelledError:
            for _, future in batch:
                future.cancel()
            raise
        except Exception as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), result in zip(batch, results, strict=True):
            if future.done():
                continue
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)
