"""How a number was distributed: exact counts in a few bins, so that later values can be held against them."""

from typing import Annotated, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, model_validator

from contract.feature_schema import Frozen

MOST_BINS = 20


class Histogram(Frozen):
    """Counts of float32 values, in the unit of what was counted.

    edges: ascending; bin i holds values above edge i − 1 up to edge i. The first has no lower end, a further one
        beyond the last edge none above.
    counts: of the bins, one more than edges.
    missing: how many rows had no value.
    largest: the largest value that was counted; None where there was none, and in contracts older than it.
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
        """Count n values, NaN where there is none; the bins hold about as many each, and equal values share one.

        A value that many rows have is an edge, and the next smaller number too, so it has a bin to itself.
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
        """How many of n values, NaN where there is none, lie in each bin; the last count is of those missing."""
        numbers = _float32(values)
        present = numbers[np.isfinite(numbers)]
        return np.append(_binned(self.edges, present), len(numbers) - len(present))

    @property
    def all_counts(self) -> NDArray[np.int64]:
        """As `count` gives them, of what the histogram was made of."""
        return np.array([*self.counts, self.missing], dtype=np.int64)


def _float32(values: ArrayLike) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return np.asarray(values, dtype=np.float64).astype(np.float32)


def _binned(edges: tuple[float, ...], present: NDArray[np.float32]) -> NDArray[np.int64]:
    places = np.searchsorted(np.array(edges, dtype=np.float32), present, side="left")
    return np.bincount(places, minlength=len(edges) + 1).astype(np.int64)
