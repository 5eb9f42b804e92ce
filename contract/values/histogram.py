"""Histogram of a numeric value: exact counts in a few bins, to compare later values with."""

from typing import Annotated, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, model_validator

from contract.feature_schema import Frozen

MOST_BINS = 20


class Histogram(Frozen):
    """Counts of float32 values by bin.

    edges: ascending, in the values' unit. Bin i holds edge i − 1 < value ≤ edge i. The first bin has no lower end; the
        last bin, above the last edge, no upper end.
    counts: one per bin, so one more than edges.
    missing: rows without a value.
    largest: the largest counted value; None if there was none, and in contracts older than this member.
    """

    edges: tuple[float, ...]
    counts: tuple[Annotated[int, Field(ge=0)], ...]
    missing: int = Field(ge=0)
    largest: float | None = Field(default=None, exclude_if=lambda largest: largest is None)

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if len(self.counts) != len(self.edges) + 1:
            raise ValueError("counts: one more than edges is needed")
        if any(a >= b for a, b in zip(self.edges, self.edges[1:], strict=False)):
            raise ValueError("edges: must ascend")
        return self

    @classmethod
    def of(cls, values: ArrayLike) -> Self:
        """Count n values; NaN is a missing one. The bins hold about equally many.

        A frequent value has a bin of its own: it is an edge, and so is the next smaller float32.
        """
        numbers = _float32(values)
        present = np.sort(numbers[np.isfinite(numbers)])
        if not len(present):
            return cls(edges=(), counts=(0,), missing=len(numbers))
        distinct, counted = np.unique(present, return_counts=True)
        if len(distinct) <= MOST_BINS:
            chosen = distinct
        else:
            places = np.linspace(0, len(present) - 1, MOST_BINS // 2 + 1)[1:].astype(int)
            often = distinct[counted >= len(present) / (MOST_BINS // 2)]
            just_below = np.nextafter(often, np.float32(-np.inf))
            chosen = np.unique(np.concatenate([present[places], often, just_below]))
        edges = tuple(float(edge) for edge in chosen[:-1])
        found = _binned(edges, present)
        return cls(
            edges=edges,
            counts=tuple(int(c) for c in found),
            missing=len(numbers) - len(present),
            largest=float(present[-1]),
        )

    def count(self, values: ArrayLike) -> NDArray[np.int64]:
        """Count n values by this histogram's bins: int64 (bins + 1,); the last count is of missing values (NaN)."""
        numbers = _float32(values)
        present = numbers[np.isfinite(numbers)]
        return np.append(_binned(self.edges, present), len(numbers) - len(present))

    @property
    def all_counts(self) -> NDArray[np.int64]:
        """Counts of the values that the histogram was made from, in the form of `count`."""
        return np.array([*self.counts, self.missing], dtype=np.int64)


def _float32(values: ArrayLike) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return np.asarray(values, dtype=np.float64).astype(np.float32)


def _binned(edges: tuple[float, ...], present: NDArray[np.float32]) -> NDArray[np.int64]:
    places = np.searchsorted(np.array(edges, dtype=np.float32), present, side="left")
    return np.bincount(places, minlength=len(edges) + 1).astype(np.int64)
