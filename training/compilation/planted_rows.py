"""Makes rows with what the model may meet though the test rows may lack it: nulls, unseen values, rare categories."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from contract.values.vocabulary import MISSING_CODE, UNSEEN_CODE
from scoring.models.model_frame import CodedColumns

Rows = NDArray[np.float32]

_OF_EACH = 20
"""Rows for each unseen value and each null."""


def planted_rows(rows: Rows, coded: CodedColumns, seed: int = 0) -> Iterator[tuple[int | None, Rows]]:
    """Real rows in which values are changed to what reaches the model.

    - Each value of each category, at least once.
    - In each category an unseen value, and in each input that keeps nulls a null, if they reach the model; and all of
      these at once.

    Args:
        rows: real rows, (n, k), n ≥ 1.

    Yields:
        The position of the input whose value was changed, None if it is several; and the changed rows.
    """
    random = np.random.default_rng(seed)
    for at, codes in coded.categories.items():
        every = rows[random.integers(len(rows), size=len(codes))].copy()
        every[:, at] = np.arange(len(codes))
        yield at, every
    absent = [(at, UNSEEN_CODE) for at in sorted(coded.unseen)]
    absent += [(at, MISSING_CODE if at in coded.categories else np.nan) for at in sorted(coded.kept)]
    together = rows[random.integers(len(rows), size=_OF_EACH)].copy()
    for at, value in absent:
        one = rows[random.integers(len(rows), size=_OF_EACH)].copy()
        one[:, at] = together[:, at] = value
        yield at, one
    if absent:
        yield None, together
