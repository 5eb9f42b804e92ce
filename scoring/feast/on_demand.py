"""Runs on-demand views over columns of stored values and turns their outputs into raw values of model inputs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from contract import FeatureInput, Vocabulary

_NONE = type(None)
_PLAIN: Mapping[str, set[type]] = {
    "bool": {bool, _NONE},
    "int32": {int, np.int32, _NONE},
    "int64": {int, np.int64, _NONE},
    "float32": {float, int, np.float32, np.float64, _NONE},
    "float64": {float, int, np.float64, _NONE},
    "string": {str, _NONE},
}
"""Output type → Python types that are converted here. Feast converts all other columns."""

_INTEGERS = {"int32": np.int32, "int64": np.int64}


Source = TypeVar("Source")
"""A reader's address of a stored column."""


class OnDemandOutput(Protocol):
    """An output of an on-demand view that is an input of the model, or several."""

    @property
    def columns(self) -> Sequence[int]:
        """Columns of the models' inputs."""
        ...

    def put(self, column: list[Any], values: NDArray[np.float64]) -> None:
        """Convert n Python values as Feast does, or one for all rows, into columns of `values`; raises as Feast does.

        Args:
            values: raw values, float64 (n, k).
        """
        ...


@dataclass(frozen=True)
class Output:
    """A number.

    column: of the model's input.
    convert: Feast's conversion of a column of Python values, NaN for null; raises as Feast does.
    """

    column: int
    dtype: str
    convert: Callable[[list[Any]], list[float]]

    @property
    def columns(self) -> Sequence[int]:
        """See `OnDemandOutput.columns`."""
        return (self.column,)

    def put(self, column: list[Any], values: NDArray[np.float64]) -> None:
        """See `OnDemandOutput.put`."""
        values[:, self.column] = self._numbers(column)

    def _numbers(self, column: list[Any]) -> "NDArray[np.float64] | list[float]":
        if not _PLAIN[self.dtype].issuperset(map(type, column)):
            return self.convert(column)
        if self.dtype in _INTEGERS:
            _check_range(column, self.dtype)
        numbers = np.array(column, dtype=np.float64)  # None becomes NaN
        if self.dtype == "float32":
            with np.errstate(over="ignore"):
                return numbers.astype(np.float32).astype(np.float64)
        return numbers


@dataclass(frozen=True)
class CategoryOutput:
    """A category, in the codes of each model that takes it.

    vocabularies: column of a model's input → its vocabulary.
    convert: Feast's conversion of a column of Python values to texts or whole numbers; raises as Feast does.
    """

    vocabularies: Mapping[int, Vocabulary]
    dtype: str
    convert: Callable[[list[Any]], list[Any]]

    @property
    def columns(self) -> Sequence[int]:
        """See `OnDemandOutput.columns`."""
        return tuple(self.vocabularies)

    def put(self, column: list[Any], values: NDArray[np.float64]) -> None:
        """See `OnDemandOutput.put`."""
        if not _PLAIN[self.dtype].issuperset(map(type, column)):
            column = self.convert(column)
        elif self.dtype in _INTEGERS:
            _check_range(column, self.dtype)
        for into, vocabulary in self.vocabularies.items():
            values[:, into] = vocabulary.codes(column)


@dataclass(frozen=True)
class ConvertedOutput:
    """A time, or the elements of an array.

    columns: of the model's inputs, c of them.
    convert: Feast's conversion of m Python values to m rows of c numbers, NaN for null; raises as Feast does.
    """

    columns: Sequence[int]
    convert: Callable[[list[Any]], list[list[float]]]

    def put(self, column: list[Any], values: NDArray[np.float64]) -> None:
        """See `OnDemandOutput.put`."""
        values[:, self.columns] = np.array(self.convert(column), dtype=np.float64)


@dataclass(frozen=True)
class OnDemandView(Generic[Source]):
    """An on-demand view in Python mode.

    inputs: stored column → the names by which the function reads it.
    """

    transform: Callable[[dict[str, Any]], Mapping[str, Any]]
    inputs: Mapping[Source, Sequence[str]]
    outputs: Mapping[str, OnDemandOutput]

    def compute(self, columns: dict[str, list[Any]], values: NDArray[np.float64]) -> None:
        """Write this view's outputs into `values`, float64 (n, k).

        Args:
            columns: every input under each of its names, n values each.

        Raises:
            Exception: any error of the view's own code, or Feast's error for what it returns.
        """
        computed = self.transform(columns)
        for name, output in self.outputs.items():
            if name in computed:  # as in Feast, a missing output is null
                column = computed[name]
                # As in Feast, a value that is not a list holds for every row.
                output.put(column if isinstance(column, list) else [column], values)


def compile_on_demand(
    view: Any,
    inputs: Mapping[int, FeatureInput],
    source: Callable[[str, str], Source],
    widths: Mapping[str, int],
) -> OnDemandView[Source]:
    """Prepare an on-demand view of Feast's registry to compute model inputs.

    Args:
        inputs: column → model input that the view computes.
        source: names of a stored view and of its field → the caller's address of that column.
        widths: see `contract.feature_schema.array_widths`.
    """
    taken: dict[Source, Sequence[str]] = {
        source(projection.name, feature.name): (feature.name, f"{projection.name}__{feature.name}")
        for projection in view.source_feature_view_projections.values()
        for feature in projection.features
    }
    by_field: dict[str, dict[int, FeatureInput]] = {}
    for column, given in inputs.items():
        by_field.setdefault(given.field_name, {})[column] = given
    outputs = {
        field.name: _output(field, by_field[field.name], widths) for field in view.schema if field.name in by_field
    }
    return OnDemandView(view.feature_transformation.udf, taken, outputs)


def _output(field: Any, inputs: Mapping[int, FeatureInput], widths: Mapping[str, int]) -> OnDemandOutput:
    from scoring.feast.values import categories_of, numbers_of, rows_of  # imports feast

    dtype = str(field.dtype).lower()
    vocabularies = {column: given.codes for column, given in inputs.items() if given.codes is not None}
    if vocabularies:
        return CategoryOutput(vocabularies, dtype, partial(categories_of, field=field))
    if dtype in _PLAIN:
        (column,) = inputs
        return Output(column, dtype, partial(numbers_of, field=field))
    reads = [(given, widths.get(given.reference)) for given in inputs.values()]
    return ConvertedOutput(tuple(inputs), partial(rows_of, field=field, inputs=reads))


def obstacles(view: Any) -> Iterator[str]:
    """Reasons why an on-demand view cannot be run here as Feast's SDK runs it; empty if it can."""
    if view.mode != "python" or view.singleton or view.aggregations or view.write_to_online_store:
        yield f"on-demand view {view.name!r} is more than a Python function over columns"
    for projection in view.source_feature_view_projections.values():
        if is_renamed(projection):
            yield f"on-demand view {view.name!r} renames view {projection.name!r}"
        # Older rows may hold a UUID as text, which Feast also turns into a UUID.
        if any("uuid" in str(feature.dtype).lower() for feature in projection.features):
            yield f"on-demand view {view.name!r} takes a UUID"


def is_renamed(projection: Any) -> bool:
    """True if a feature service or an on-demand view renames a stored view or its join keys."""
    return bool(projection.name_alias) or bool(projection.join_key_map)


def _check_range(column: Sequence[Any], dtype: str) -> None:
    """Raise `OverflowError` if an integer is out of range."""
    np.array([value for value in column if value is not None], _INTEGERS[dtype])
