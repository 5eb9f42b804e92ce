"""Counts of a category's codes, to compare later values with; for numbers: `contract.values.histogram`."""

from typing import Annotated, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from contract.feature_schema import Frozen
from contract.values.vocabulary import MISSING_CODE, UNSEEN_CODE


class CategoryCounts(Frozen):
    """Counts of codes.

    counts: rows by code.
    unseen: rows with a value that is not in the vocabulary.
    missing: rows without a value.
    """

    counts: tuple[Annotated[int, Field(ge=0)], ...]
    unseen: int = Field(ge=0)
    missing: int = Field(ge=0)

    @classmethod
    def of(cls, codes: ArrayLike, values: int) -> Self:
        """Count n codes of a vocabulary of so many values."""
        found = _counted(codes, values).tolist()
        return cls(counts=tuple(found[:-2]), unseen=found[-2], missing=found[-1])

    def count(self, codes: ArrayLike) -> NDArray[np.int64]:
        """Count n codes: int64 (values + 2,); the last two are unseen and missing (NaN or `MISSING_CODE`)."""
        return _counted(codes, len(self.counts))

    @property
    def all_counts(self) -> NDArray[np.int64]:
        """The counts in the form of `count`."""
        return np.array([*self.counts, self.unseen, self.missing], dtype=np.int64)


def _counted(codes: ArrayLike, values: int) -> NDArray[np.int64]:
    given = np.asarray(codes, dtype=np.float64)
    missing = np.isnan(given) | (given == MISSING_CODE)
    unseen = given == UNSEEN_CODE
    seen = given[~missing & ~unseen].astype(np.intp)
    counted = np.bincount(seen, minlength=values).astype(np.int64)
    return np.append(counted, [np.count_nonzero(unseen), np.count_nonzero(missing)])
