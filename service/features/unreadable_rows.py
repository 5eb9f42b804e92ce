"""Finds the entities in a batch whose stored values cannot be read."""

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
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
    "unixtimestamp": (datetime,),
}
_ARRAY = "array("


def is_odd(value: Any, dtype: str) -> bool:
    """True if a value does not match its declared type, or is a number that is not finite."""
    if dtype.startswith(_ARRAY) and value is not None:
        of_elements = dtype.removeprefix(_ARRAY).removesuffix(")")
        return not isinstance(value, list) or any(is_odd(element, of_elements) for element in value)
    expected = _PYTHON_TYPES.get(dtype)
    if value is None or expected is None:
        return False
    return type(value) not in expected or (isinstance(value, float) and not math.isfinite(value))


class Findings:
    """Problems found in n rows that were read together.

    unread: bool (n,), rows that cannot be answered.

    Args:
        unread: rows that are already known to be unreadable.
    """

    def __init__(self, n: int, unread: NDArray[np.bool_] | None = None) -> None:
        self.unread = np.zeros(n, dtype=bool) if unread is None else unread.copy()
        self._known = int(self.unread.sum())
        self._reasons: dict[str, None] = {}
        self._failed = 0
        self._error: Exception | None = None

    def unreadable(self, rows: Iterable[int], reason: str) -> None:
        """Record rows whose stored bytes are not values. `reason` must hold none of the bytes."""
        self.unread[list(rows)] = True
        self._reasons[reason] = None

    def failed(self, row: int, error: Exception) -> None:
        """Record a row on which on-demand code fails although its inputs are valid."""
        self.unread[row] = True
        self._failed += 1
        self._error = error

    def look(self, column: Sequence[Stored], read: Callable[[Sequence[Stored]], Any]) -> None:
        """Find the unreadable rows of a column. A column without any is read in one go."""
        try:
            read(column)
        except UnreadableValueError:
            for row, stored in enumerate(column):
                try:
                    read((stored,))
                except UnreadableValueError as unreadable:
                    self.unreadable([row], str(unreadable))

    def log(self, what: str, *, raise_if_all: bool = False) -> None:
        """Log all problems, in one line of each kind.

        Raises:
            Exception: of on-demand code that failed for every row, with `raise_if_all`.
        """
        if self._error is not None:
            if raise_if_all and self._failed == len(self.unread):
                raise self._error
            of_how_many = (self._failed, len(self.unread))
            logger.error(
                "on-demand features of %d of %d entities cannot be computed", *of_how_many, exc_info=self._error
            )
        rows = int(self.unread.sum()) - self._known - self._failed
        if rows:
            reasons = ", ".join(sorted(self._reasons))
            logger.warning(
                "online store: %s of %d of %d entities cannot be read: %s", what, rows, len(self.unread), reasons
            )
