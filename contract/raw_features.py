"""Feature values as read from a store, before any policy is applied."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class RawFeatures:
    """Values of k inputs and event times of v stored views for n rows.

    values: float64 (n, k) in contract order; NaN: the store has no value.
    event_times: float64 (n, v) in the order of `Resolver.views`, unix seconds of each view's row; NaN: no row. None if
        the read has already enforced every TTL, as a point-in-time join does.
    cached_seconds: float64 (n,), seconds since each row was read from the store; None if no row comes from a cache.
    unread: bool (n, k), inputs that could not be read; their values are NaN. None if all were read.
    """

    values: NDArray[np.float64]
    event_times: NDArray[np.float64] | None
    cached_seconds: NDArray[np.float64] | None = None
    unread: NDArray[np.bool_] | None = None

    @classmethod
    def joined(cls, parts: Sequence["RawFeatures"]) -> "RawFeatures":
        """Concatenate several reads of the same features."""
        nowhere = [np.zeros(part.values.shape, dtype=bool) for part in parts]
        never = [np.full(len(part.values), np.nan) for part in parts]
        return cls(
            values=np.concatenate([part.values for part in parts]),
            event_times=np.concatenate([part.event_times for part in parts if part.event_times is not None]),
            cached_seconds=_joined([part.cached_seconds for part in parts], never),
            unread=_joined([part.unread for part in parts], nowhere),
        )

    @property
    def unread_rows(self) -> NDArray[np.bool_] | None:
        """Bool (n,), rows of which at least one input could not be read; None if there is no such row."""
        if self.unread is None:
            return None
        rows = np.logical_or.reduce(self.unread, axis=1)
        return rows if rows.any() else None

    def take(self, rows: NDArray[np.intp]) -> "RawFeatures":
        """Some of the rows."""
        return RawFeatures(
            values=self.values[rows],
            event_times=None if self.event_times is None else self.event_times[rows],
            cached_seconds=None if self.cached_seconds is None else self.cached_seconds[rows],
            unread=None if self.unread is None else self.unread[rows],
        )


def _joined(parts: Sequence[NDArray[Any] | None], absent: Sequence[NDArray[Any]]) -> NDArray[Any] | None:
    """Concatenate the parts, with `absent` in place of None; None if all are None."""
    if all(part is None for part in parts):
        return None
    return np.concatenate([other if part is None else part for part, other in zip(parts, absent, strict=True)])
