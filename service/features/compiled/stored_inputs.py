"""Puts stored values into the columns of the models' inputs: numbers, categories, times and arrays."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from service.features.compiled.decoding import ArrayDecoder, Memo, Stored, TimeDecoder, ValueDecoder, looked_up

Fields = Sequence[Sequence[Stored]]
"""A column of n stored values for each hash field, by its position."""

Reading = tuple[int, Callable[[Sequence[Stored]], Any]]
"""Position of a field, and what decodes its column or raises `UnreadableValueError`."""


class StoredInputs(Protocol):
    """Stored inputs that are decoded in the same way."""

    def fill(self, values: NDArray[np.float64], fields: Fields) -> None:
        """Decode n values of each input into its column of `values`, float64 (n, k).

        Raises:
            UnreadableValueError: some stored value is not of the requested kind.
        """
        ...

    def readings(self) -> Iterator[Reading]:
        """Every column, to decode alone."""
        ...


class Numbers:
    """Numbers of one type.

    Args:
        dtype: their type in the contract.
        columns: of the models' inputs.
        positions: of their fields.
    """

    def __init__(self, decoder: ValueDecoder, dtype: str, columns: Sequence[int], positions: Sequence[int]) -> None:
        self._decoder, self._dtype = decoder, dtype
        self._columns, self._positions = tuple(columns), tuple(positions)

    def fill(self, values: NDArray[np.float64], fields: Fields) -> None:
        """See `StoredInputs.fill`."""
        # All columns of a type at once: numpy's constant cost is paid once, not once per column.
        flat = [value for position in self._positions for value in fields[position]]
        decoded = self._decoder.numbers(flat, self._dtype)
        values[:, self._columns] = decoded.reshape(len(self._positions), len(values)).T

    def readings(self) -> Iterator[Reading]:
        """See `StoredInputs.readings`."""
        for position in self._positions:
            yield position, partial(self._decoder.numbers, dtype=self._dtype)


class Categories:
    """Categories. A field is there once for each vocabulary that it is read by.

    Args:
        reads: for each column, one serialised `ValueProto` → its code, NaN for null.
    """

    def __init__(
        self, columns: Sequence[int], positions: Sequence[int], reads: Sequence[Callable[[bytes], float]]
    ) -> None:
        self._columns = tuple(columns)
        self._memos = [(position, Memo(read, np.nan)) for position, read in zip(positions, reads, strict=True)]

    def fill(self, values: NDArray[np.float64], fields: Fields) -> None:
        """See `StoredInputs.fill`."""
        flat = [code for position, memo in self._memos for code in looked_up(memo, fields[position])]
        codes = np.array(flat, dtype=np.float64)
        values[:, self._columns] = codes.reshape(len(self._memos), len(values)).T

    def readings(self) -> Iterator[Reading]:
        """See `StoredInputs.readings`."""
        for position, memo in self._memos:
            yield position, partial(looked_up, memo)


class Times:
    """Times that the model sees as ages."""

    def __init__(self, decoder: TimeDecoder, columns: Sequence[int], positions: Sequence[int]) -> None:
        self._decoder = decoder
        self._columns, self._positions = tuple(columns), tuple(positions)

    def fill(self, values: NDArray[np.float64], fields: Fields) -> None:
        """See `StoredInputs.fill`."""
        flat = [value for position in self._positions for value in fields[position]]
        decoded = self._decoder.unix_seconds(flat)
        values[:, self._columns] = decoded.reshape(len(self._positions), len(values)).T

    def readings(self) -> Iterator[Reading]:
        """See `StoredInputs.readings`."""
        for position in self._positions:
            yield position, self._decoder.unix_seconds


class Elements:
    """Elements of one array.

    Args:
        elements: position in the array of each column.
    """

    def __init__(self, decoder: ArrayDecoder, position: int, columns: Sequence[int], elements: Sequence[int]) -> None:
        self._decoder, self._position = decoder, position
        self._columns, self._elements = _indices(columns), _indices(elements)

    def fill(self, values: NDArray[np.float64], fields: Fields) -> None:
        """See `StoredInputs.fill`."""
        values[:, self._columns] = self._decoder.numbers(fields[self._position])[:, self._elements]

    def readings(self) -> Iterator[Reading]:
        """See `StoredInputs.readings`."""
        yield self._position, self._decoder.numbers


def _indices(positions: Sequence[int]) -> Any:
    """A slice where the positions follow each other, which numpy copies faster."""
    if list(positions) == list(range(positions[0], positions[0] + len(positions))):
        return slice(positions[0], positions[0] + len(positions))
    return np.array(positions)
