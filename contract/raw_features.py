"""What a store returned for some customers, before anything was decided."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class RawFeatures:
    """What a store returned for n customers, k inputs and v stored views.

    values: float64 (n, k) in contract order, NaN where the store has no value.
    event_times: float64 (n, v) in the order of `Resolver.views`, unix seconds of each view's row,
        NaN where the view has no row. None where the store has already enforced every TTL, as a
        point-in-time join does.
    cached_seconds: float64 (n,), how long ago each row was read from the store. None where no row comes from a cache.
    unread: bool (n,), rows that could not be read, whose values are NaN. None where all could.
    """

    values: NDArray[np.float64]
    event_times: NDArray[np.float64] | None
    cached_seconds: NDArray[np.float64] | None = None
    unread: NDArray[np.bool_] | None = None

    @classmethod
    def joined(cls, parts: Sequence["RawFeatures"]) -> "RawFeatures":
        """The rows of several reads of the same features, in order."""
        unread = [np.zeros(len(part.values), dtype=bool) if part.unread is None else part.unread for part in parts]
        cached = [
            np.full(len(part.values), np.nan) if part.cached_seconds is None else part.cached_seconds for part in parts
        ]
        return cls(
            values=np.concatenate([part.values for part in parts]),
            event_times=np.concatenate([part.event_times for part in parts if part.event_times is not None]),
            cached_seconds=np.concatenate(cached) if any(p.cached_seconds is not None for p in parts) else None,
            unread=np.concatenate(unread) if any(part.unread is not None for part in parts) else None,
        )

    def take(self, rows: NDArray[np.intp]) -> "RawFeatures":
        """Some of the rows."""
        return RawFeatures(
            values=self.values[rows],
            event_times=None if self.event_times is None else self.event_times[rows],
            cached_seconds=None if self.cached_seconds is None else self.cached_seconds[rows],
            unread=None if self.unread is None else self.unread[rows],
        )
