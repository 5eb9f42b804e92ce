"""Runs calls of the API for callers in the same process: a script, or another BentoML service that depends on it."""

import asyncio
import atexit
import secrets
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from http import HTTPStatus
from typing import Any

from bentoml.exceptions import BentoMLException, InvalidArgument, ServiceUnavailable
from pydantic_core import PydanticSerializationError, from_json, to_json

from service.api.authentication import IN_PROCESS
from service.api.endpoints import Endpoint
from service.api.routing import ServingSlot
from service.api.serving import Serving
from service.errors import ServiceError

_CLOSING_SECONDS = 10.0


class CallsInProcess:
    """Answers calls on the event loop to which the models' connections belong.

    A server has one: `use_running_loop`. Anywhere else the first call starts one in a thread of its own, since the
    caller may have none, or may block its own.

    Args:
        slot: what is served.
        close: closes it. Runs on that event loop, at the latest when the process ends.
    """

    def __init__(self, slot: ServingSlot, close: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._slot = slot
        self._close = close
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def use_running_loop(self) -> None:
        """Take the server's event loop."""
        self._loop = asyncio.get_running_loop()

    def answer(self, endpoint: Endpoint, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Run one call, as a request with these members would. Blocks until it is answered.

        Raises:
            BentoMLException: of the class and status that BentoML's client raises for the same error, with our message
                alone; its cause is our own error, with code and field.
        """
        serving = self._slot.serving
        if serving is None:
            raise ServiceUnavailable("the service has not started")
        try:
            body = to_json(arguments, fallback=_plain)
        except PydanticSerializationError as error:
            raise InvalidArgument(f"an argument cannot be written as JSON: {error}") from None
        work = _counted(serving, endpoint, body)
        try:
            content = asyncio.run_coroutine_threadsafe(work, self._loop or self._start()).result()
        except ServiceError as error:
            status = HTTPStatus(error.status)
            raise BentoMLException.error_mapping.get(status, BentoMLException)(
                error.message, error_code=status
            ) from error
        answer: dict[str, Any] = from_json(to_json(content, inf_nan_mode="null"))  # as a client reads it
        return answer

    async def close(self) -> None:
        """Close what is served. Called in a running loop, which need not be the one of the calls."""
        if self._thread is None or self._loop is None:
            await self._close()
            return
        atexit.unregister(self._end)
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._close(), self._loop))
        self._loop.call_soon_threadsafe(self._loop.stop)
        await asyncio.to_thread(self._thread.join)

    def _start(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None:
                self._loop = loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=_run, args=(loop,), name="calls in process", daemon=True)
                self._thread.start()
                atexit.register(self._end)  # what waits for the inference log shall be written
            return self._loop

    def _end(self) -> None:
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(_CLOSING_SECONDS)


async def _counted(serving: Serving, endpoint: Endpoint, body: bytes) -> dict[str, Any]:
    """Run a call, and count it as a request over HTTP is counted (`service/api/routing.py`)."""
    outcome, started = "ok", time.perf_counter()
    try:
        return await endpoint.answer(serving, b"application/json", body, secrets.token_hex(16))
    except BaseException as error:
        cancelled = isinstance(error, asyncio.CancelledError)
        outcome = error.code if isinstance(error, ServiceError) else "cancelled" if cancelled else "internal"
        raise
    finally:
        serving.metrics.answered(endpoint.name, outcome, IN_PROCESS, time.perf_counter() - started)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()


def _plain(value: Any) -> Any:
    """Numbers and arrays of NumPy as those of Python."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not JSON")
