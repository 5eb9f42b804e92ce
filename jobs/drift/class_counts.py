"""Counts of answered classes, to compare later answers with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from contract.values.category_counts import CategoryCounts
from contract.values.histogram import Histogram


@dataclass(frozen=True)
class ClassCounts:
    """Rows of each class. Values are positions in `classes`, NaN where there is none.

    counts: one per class.
    missing: rows without a class.
    """

    classes: tuple[str, ...]
    counts: tuple[int, ...]
    missing: int = 0

    @classmethod
    def of(cls, classes: Sequence[str], values: ArrayLike) -> Self:
        """Count n values."""
        *counts, missing = _counted(values, len(classes)).tolist()
        return cls(tuple(classes), tuple(counts), missing)

    def count(self, values: ArrayLike) -> NDArray[np.int64]:
        """Count n values: int64 (classes + 1,); the last count is of rows without a class."""
        return _counted(values, len(self.classes))

    @property
    def all_counts(self) -> NDArray[np.int64]:
        """The counts of the baseline, in the form of `count`."""
        return np.array([*self.counts, self.missing], dtype=np.int64)


Counts = Histogram | CategoryCounts | ClassCounts
"""What a baseline has counted of one column."""


def _counted(values: ArrayLike, classes: int) -> NDArray[np.int64]:
    positions = np.asarray(values, dtype=np.float64)
    there = ~np.isnan(positions)
    counts = np.bincount(positions[there].astype(np.int64), minlength=classes)
    return np.append(counts, len(positions) - there.sum()).astype(np.int64)
