"""Cells of MLflow's scoring protocol → model input: numbers, the codes of categories, and nulls that are kept."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract import FeatureInput
from contract.values.vocabulary import MISSING_CODE, MISSING_TEXT, UNSEEN_CODE, UNSEEN_TEXT, Vocabulary
from service.errors import InvalidRequestError

_NOT_FINITE = "must be a finite number within the range of float32"


@dataclass(frozen=True, slots=True)
class Cells:
    """The cells of a request for the model's inputs, not yet converted.

    rows: n rows of k cells in model order, n ≥ 1; a cell is a JSON value or CSV text.
    locate: row, input → path of the cell in the request.
    """

    rows: Sequence[Sequence[Any]]
    locate: Callable[[int, str], str]


class CellReader:
    """Converts cells for one model.

    Attributes:
        texts, nullable: names of the inputs that are categories, and of those whose nulls the model takes.

    Args:
        names: the model's inputs, in model order.
        inputs: what the contract says of those that are categories or keep nulls; others are finite numbers.
    """

    def __init__(self, names: Sequence[str], inputs: Iterable[FeatureInput] = ()) -> None:
        self._names = list(names)
        inputs = list(inputs)
        self._categories = [(names.index(i.name), _Category(i, i.codes)) for i in inputs if i.codes is not None]
        self.texts = frozenset(i.name for i in inputs if i.codes is not None)
        self.nullable = frozenset(i.name for i in inputs if i.on_missing == "keep")
        self._keeps = np.array([name in self.nullable for name in names])

    def matrix(self, cells: Cells) -> NDArray[np.float32]:
        """Float32 (n, k) in model order; finite, but NaN for a kept null of a number.

        Raises:
            InvalidRequestError: names the first cell that is wrong.
        """
        if self._categories:
            cells = Cells(self._coded(cells), cells.locate)
        try:
            with np.errstate(over="ignore"):
                # The conversion that MLflow makes: null becomes NaN, text is read as a number.
                matrix = np.array(cells.rows, dtype=np.float32)
        except (TypeError, ValueError, OverflowError):
            raise self._unreadable(cells) from None
        if matrix.shape != (len(cells.rows), len(self._names)):
            raise self._unreadable(cells)
        fine = np.isfinite(matrix)
        if self.nullable:
            fine |= np.isnan(matrix) & self._keeps
        if not fine.all():
            row, column = np.argwhere(~fine)[0]
            raise InvalidRequestError.at(cells.locate(int(row), self._names[column]), _NOT_FINITE)
        return matrix

    def _coded(self, cells: Cells) -> list[list[Any]]:
        rows = [list(row) for row in cells.rows]
        for at, row in enumerate(rows):
            for column, category in self._categories:
                try:
                    row[column] = category.code(row[column])
                except ValueError as error:
                    raise InvalidRequestError.at(cells.locate(at, self._names[column]), str(error)) from None
        return rows

    def _unreadable(self, cells: Cells) -> InvalidRequestError:
        """Names the first cell that cannot be converted."""
        for row, values in enumerate(cells.rows):
            for name, cell in zip(self._names, values, strict=True):
                try:
                    float(0 if cell is None else cell)
                except OverflowError:
                    return InvalidRequestError.at(cells.locate(row, name), _NOT_FINITE)
                except (TypeError, ValueError):
                    return InvalidRequestError.at(cells.locate(row, name), "must be a number")
        return InvalidRequestError("the values cannot be read as numbers")


class _Category:
    """The texts of one input. What a pipeline gets for unseen and missing values is a text too."""

    def __init__(self, given: FeatureInput, vocabulary: Vocabulary) -> None:
        self._codes = {str(value): float(code) for code, value in enumerate(given.vocabulary or ())}
        self._null = MISSING_CODE if given.on_missing == "keep" else None
        if self._null is not None:
            self._codes[MISSING_TEXT] = self._null
        self._unseen: float | None = UNSEEN_CODE
        if given.on_unseen == "use_default":
            self._unseen = self._null if given.default is None else vocabulary.code(given.default)
        elif given.on_unseen == "refuse":
            self._unseen = None
        if self._unseen is not None:
            self._codes[UNSEEN_TEXT] = self._unseen

    def code(self, cell: Any) -> float:
        """The code that the model gets.

        Raises:
            ValueError: says what is expected.
        """
        if cell is None and self._null is not None:
            return self._null
        if not isinstance(cell, str):
            raise ValueError("must be text")
        found = self._codes.get(cell, self._unseen)
        if found is None:
            raise ValueError("is not one of the model's categories; GET /model lists them")
        return found
