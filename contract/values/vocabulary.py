"""Categories as numbers: the code of a value is its place in the input's vocabulary.

Between reading and scoring only codes exist, so the matrix stays float32. A pipeline of scikit-learn gets text again.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_CATEGORIES = 10_000
"""Most values of one vocabulary."""

UNSEEN_CODE, MISSING_CODE = -1.0, -2.0
UNSEEN_TEXT, MISSING_TEXT = "__unseen__", "__missing__"
"""What a pipeline gets for a value that is not in the vocabulary, and for a null that the contract keeps."""

Category = str | int


class Vocabulary:
    """The values of one category.

    Args:
        values: distinct texts, or distinct whole numbers.
    """

    def __init__(self, values: Sequence[Category]) -> None:
        self._codes: dict[object, float] = {value: float(code) for code, value in enumerate(values)}
        # Looked up by code + 2: the last two codes are negative.
        self._texts = np.array([MISSING_TEXT, UNSEEN_TEXT, *map(str, values)], dtype=object)

    def __len__(self) -> int:
        return len(self._codes)

    def code(self, value: object) -> float:
        """The code of a value: `UNSEEN_CODE` if it is not in the vocabulary, NaN for None and NaN."""
        if value is None or value != value:  # only NaN differs from itself
            return np.nan
        return self._codes.get(value, UNSEEN_CODE)

    def codes(self, values: Iterable[object]) -> NDArray[np.float64]:
        """`code` of n values, float64 (n,)."""
        return np.fromiter(map(self.code, values), dtype=np.float64)

    def texts(self, codes: NDArray[np.floating[Any]]) -> NDArray[np.object_]:
        """The texts that a pipeline gets for n codes, none of them NaN."""
        texts: NDArray[np.object_] = self._texts[codes.astype(np.intp) + 2]
        return texts
