"""Decides when to stop asking a store that does not answer, and when to try again; independent of the store."""

from collections.abc import Callable
from typing import Literal

State = Literal["closed", "open", "half_open"]


class CircuitBreaker:
    """Opens after `failures` in a row; then lets one attempt through every `retry_seconds` until one succeeds.

    Source: M. Nygard, Release It!, "Circuit Breaker". Single-threaded: it belongs to one event loop.

    Args:
        clock: monotonic seconds.
        on_change: called with the new state.
    """

    def __init__(
        self,
        failures: int,
        retry_seconds: float,
        clock: Callable[[], float],
        on_change: Callable[[State], None] = lambda _: None,
    ) -> None:
        self._threshold = failures
        self._retry_seconds = retry_seconds
        self._clock = clock
        self._on_change = on_change
        self._failures = 0
        self._retry_at = 0.0
        self.state: State = "closed"

    def allows(self) -> bool:
        """True if an attempt may be made now. Report its result with `succeeded`, `failed` or `abandoned`."""
        if self.state == "closed":
            return True
        if self.state == "open" and self._clock() >= self._retry_at:
            self._become("half_open")
            return True
        return False

    def succeeded(self) -> None:
        """The store answered."""
        self._failures = 0
        self._become("closed")

    def failed(self) -> None:
        """The store did not answer, or not in time."""
        self._failures += 1
        if self.state == "half_open" or self._failures >= self._threshold:
            self._retry_at = self._clock() + self._retry_seconds
            self._become("open")

    def abandoned(self) -> None:
        """The attempt ended without a verdict on the store, e.g. because the client hung up."""
        if self.state == "half_open":
            self._retry_at = self._clock()
            self._become("open")

    def _become(self, state: State) -> None:
        if state != self.state:
            self.state = state
            self._on_change(state)
