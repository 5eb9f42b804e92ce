"""Times stages of the code by wrapping their functions."""

import functools
import importlib
import inspect
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Stage:
    """A part of the work, and its functions as `module:name` or `module:Class.name`.

    awaits: it awaits other work, so its time is meaningful only for one request at a time.
    """

    name: str
    functions: tuple[str, ...]
    awaits: bool = False


class StageClock:
    """Sums each stage's own time, without that of stages inside it."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: dict[str, float] = {}
        self._now = now
        self._open: list[str] = []
        self._since = 0.0

    def enter(self, name: str) -> None:
        """Start a stage and pause the one around it."""
        now = self._now()
        if self._open:
            self._add(now)
        self._open.append(name)
        self._since = now

    def leave(self) -> None:
        """End the innermost stage and resume the one around it."""
        now = self._now()
        self._add(now)
        self._open.pop()
        self._since = now

    def _add(self, now: float) -> None:
        name = self._open[-1]
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since

    @contextmanager
    def around(self, stages: Sequence[Stage]) -> Iterator[None]:
        """Time the functions of `stages` while the block runs."""
        put_back: list[tuple[Any, str, Any]] = []
        try:
            for stage in stages:
                for where in stage.functions:
                    owner, name = find(where)
                    original = inspect.getattr_static(owner, name)
                    put_back.append((owner, name, original))
                    setattr(owner, name, self._timed(stage.name, original))
            yield
        finally:
            for owner, name, original in reversed(put_back):
                setattr(owner, name, original)

    def _timed(self, name: str, function: Any) -> Any:
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def timed_await(*args: Any, **kwargs: Any) -> Any:
                self.enter(name)
                try:
                    return await function(*args, **kwargs)
                finally:
                    self.leave()

            return timed_await

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            self.enter(name)
            try:
                return function(*args, **kwargs)
            finally:
                self.leave()

        return timed


def find(where: str) -> tuple[Any, str]:
    """The module or class that holds a function, and its name there.

    Raises:
        AttributeError: there is no such function any more; update the stages.
    """
    module, _, path = where.partition(":")
    *classes, name = path.split(".")
    owner: Any = importlib.import_module(module)
    for part in classes:
        owner = getattr(owner, part)
    if not callable(getattr(owner, name)):
        raise AttributeError(f"{where} is no function")
    return owner, name
