"""Which of the customers that were read together cannot be answered, because of what is stored of them."""

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.features.compiled.decoding import Stored, UnreadableValueError

logger = logging.getLogger(__name__)

_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    "int32": (int,),
    "int64": (int,),
    "float32": (float,),
    "float64": (float,),
    "string": (str,),
    "bytes": (bytes,),
}


def is_odd(value: Any, dtype: str) -> bool:
    """True of a value that is not what its declared type says: another kind, or a number that is not finite."""
    expected = _PYTHON_TYPES.get(dtype)
    if value is None or expected is None:
        return False
    return type(value) not in expected or (isinstance(value, float) and not math.isfinite(value))


class Findings:
    """What was found wrong with n rows that were read together.

    unread: bool (n,), rows that cannot be answered.

    Args:
        unread: rows of which that is known already.
    """

    def __init__(self, n: int, unread: NDArray[np.bool_] | None = None) -> None:
        self.unread = np.zeros(n, dtype=bool) if unread is None else unread.copy()
        self._known = int(self.unread.sum())
        self._reasons: dict[str, None] = {}
        self._failed = 0
        self._error: Exception | None = None

    def unreadable(self, rows: Iterable[int], reason: str) -> None:
        """Note rows whose stored bytes are no values; `reason` holds none of them."""
        self.unread[list(rows)] = True
        self._reasons[reason] = None

    def failed(self, row: int, error: Exception) -> None:
        """Note a row on which on-demand code fails, though nothing is wrong with its inputs."""
        self.unread[row] = True
        self._failed += 1
        self._error = error

    def look(self, column: Sequence[Stored], read: Callable[[Sequence[Stored]], Any]) -> None:
        """Find the rows of a column that cannot be read; what is sound is looked at all at once."""
        try:
            read(column)
        except UnreadableValueError:
            for row, stored in enumerate(column):
                try:
                    read((stored,))
                except UnreadableValueError as unreadable:
                    self.unreadable([row], str(unreadable))

    def log(self, what: str, *, raise_if_all: bool = False) -> None:
        """Say once, for all of them, what was found.

        Raises:
            Exception: of on-demand code that failed for every row, if that is asked for.
        """
        if self._error is not None:
            if raise_if_all and self._failed == len(self.unread):
                raise self._error
            of_how_many = (self._failed, len(self.unread))
            logger.error(
                "on-demand features of %d of %d customers cannot be computed", *of_how_many, exc_info=self._error
            )
        rows = int(self.unread.sum()) - self._known - self._failed
        if rows:
            reasons = ", ".join(sorted(self._reasons))
            logger.warning(
                "online store: %s of %d of %d customers cannot be read: %s", what, rows, len(self.unread), reasons
            )
