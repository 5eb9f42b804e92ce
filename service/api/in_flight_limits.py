"""Limits on what is in flight at the same time."""

from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import OverloadedError


class InFlightLimit:
    """At most `most` of something may be in flight.

    Args:
        what: its plural, for the error message.
    """

    def __init__(self, most: int, what: str) -> None:
        self._most = most
        self._what = what
        self._in_flight = 0

    @contextmanager
    def take(self, count: int = 1) -> Iterator[None]:
        """Count `count` more as in flight for as long as the `with` block runs.

        Raises:
            OverloadedError: they would exceed the limit.
        """
        if self._in_flight + count > self._most:
            raise OverloadedError(f"too many {self._what} at once")
        self._in_flight += count
        try:
            yield
        finally:
            self._in_flight -= count
