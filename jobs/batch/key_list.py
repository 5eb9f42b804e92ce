"""Reads the keys to score from a file: keys, optionally request values, and features that override looked-up ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from artefacts.output_columns import key_fields
from artefacts.process.printable import printable
from contract import FeatureInput, ModelContract, OverrideError, RequestInput, Resolver
from contract.feature_schema import EntityKey
from contract.keys import Key, key_of, key_values
from contract.values.request_values import asked_of, checked_inputs
from jobs.errors import JobError
from jobs.offline_store.key_tables import first_of_each
from scoring.entity_ids import text_ids


@dataclass(frozen=True)
class KeyList:
    """n rows to score.

    keys: a column per join key, sorted; each key once.
    overrides: input column of the model → float64 (n,); NaN where a row gives no value.
    given: request input → n values.
    """

    keys: pa.Table
    overrides: Mapping[int, NDArray[np.float64]]
    given: Mapping[str, Sequence[Any]]

    def between(self, low: Key | None, high: Key | None) -> "KeyList":
        """The keys in [low, high); None is an open end."""
        after = np.ones(len(self.keys), dtype=bool) if low is None else ~self._below(low)
        before = np.ones(len(self.keys), dtype=bool) if high is None else self._below(high)
        return self.take(np.flatnonzero(after & before))

    def take(self, rows: NDArray[np.intp]) -> "KeyList":
        """Some of the rows, in their order."""
        return KeyList(
            self.keys.take(pa.array(rows)),
            {column: values[rows] for column, values in self.overrides.items()},
            {name: [values[row] for row in rows.tolist()] for name, values in self.given.items()},
        )

    def _below(self, border: Key) -> NDArray[np.bool_]:
        """Bool (n,): the key is less than the border, by the first value that differs."""
        below = np.zeros(len(self.keys), dtype=bool)
        equal = np.ones(len(self.keys), dtype=bool)
        for column, value in zip(self.keys.columns, key_values(border), strict=True):
            below |= equal & pc.less(column, value).to_numpy()
            equal &= pc.equal(column, value).to_numpy()
        return below


def read_key_list(path: Path, contract: ModelContract, resolver: Resolver) -> KeyList:
    """Read a .csv or .parquet file with a column per join key and per request input; all others are feature references.

    Equal rows count once.

    Raises:
        JobError: a column is missing or no input of the model, a key is null or empty, a value does not fit its
            feature, or a key occurs twice with different values. The message names file, column and row.
    """
    join_keys, asked = contract.feature_schema.entity_keys, asked_of(contract.feature_schema.request_inputs)
    table = _read(path, join_keys, asked, contract.inputs)
    names = [key.join_key for key in join_keys]
    for name in names:
        if name not in table.column_names:
            raise JobError(f"{path}: has no column {name!r}; found {printable(', '.join(table.column_names))}")
    keys = pa.table(
        {field.name: _keys(path, table[field.name], field) for field in key_fields(contract)},
        schema=pa.schema(key_fields(contract)),
    )
    columns = {name: table[name].to_pylist() for name in table.column_names if name not in names}
    if path.suffix == ".csv":  # an empty cell gives no value, of a category either
        columns = {name: [None if value == "" else value for value in values] for name, values in columns.items()}
    values = {given.name: columns.pop(given.name) for given in asked if given.name in columns}
    every = KeyList(
        keys,
        _overrides(path, columns, table.num_rows, resolver),
        _given(path, values, table.num_rows, asked),
    )
    order = pc.sort_indices(keys, [(name, "ascending") for name in names]).to_numpy()
    rows = every.take(order)
    first = first_of_each(rows.keys)
    for row in np.flatnonzero(~first).tolist():
        if _differ(rows, row):
            (key,) = map(key_of, [[rows.keys[name][row].as_py() for name in names]])
            raise JobError(f"{path}: {', '.join(names)} {key!r} occurs twice, with different features")
    return rows.take(np.flatnonzero(first))


def _differ(rows: KeyList, row: int) -> bool:
    """True if a row and the one before have other values."""
    overridden = any(
        not np.array_equal(values[row], values[row - 1], equal_nan=True) for values in rows.overrides.values()
    )
    return overridden or any(values[row] != values[row - 1] for values in rows.given.values())


def _keys(path: Path, column: pa.ChunkedArray, field: pa.Field) -> pa.Array:
    """A column of keys in the contract's type."""
    ids = text_ids(column)
    if ids is None:
        raise JobError(f"{path}: column {field.name} is {column.type}; expected text or whole numbers")
    empty = np.flatnonzero(pc.equal(pc.fill_null(ids, ""), "").to_numpy(zero_copy_only=False))
    if len(empty):
        raise JobError(f"{path}: column {field.name}, row {empty[0] + 1}: expected a key, found none")
    if pa.types.is_string(field.type):
        return ids.combine_chunks()
    try:
        return ids.combine_chunks().cast(field.type)
    except pa.ArrowInvalid:
        wrong = next(row for row, value in enumerate(ids.to_pylist()) if not _fits(value, field.type))
        raise JobError(f"{path}: column {field.name}, row {wrong + 1}: expected a key of type {field.type}") from None


def _fits(value: str, of_type: pa.DataType) -> bool:
    try:
        pa.array([value]).cast(of_type)
    except pa.ArrowInvalid:
        return False
    return True


def _read(
    path: Path, join_keys: Sequence[EntityKey], asked: Sequence[RequestInput], inputs: Sequence[FeatureInput]
) -> pa.Table:
    if not path.is_file():
        raise JobError(f"{path}: no such file")
    as_text = [key.join_key for key in join_keys]
    as_text += [given.name for given in asked if given.dtype in ("string", "unixtimestamp")]
    as_text += [given.name for given in inputs if given.dtype == "string"]  # also of digits alone
    try:
        if path.suffix == ".csv":
            options = pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(as_text, pa.string()), strings_can_be_null=False
            )
            table = pyarrow.csv.read_csv(path, convert_options=options)
        elif path.suffix == ".parquet":
            table = pq.read_table(path)
        else:
            raise JobError(f"{path}: expected a .csv or .parquet file")
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError) as error:
        raise JobError(f"{path}: cannot be read as {path.suffix[1:]}: {str(error).splitlines()[0]}") from None
    if table.num_rows == 0:
        raise JobError(f"{path}: no rows; expected at least one key")
    return table


def _given(
    path: Path, values: Mapping[str, list[Any]], rows: int, asked: Sequence[RequestInput]
) -> dict[str, list[Any]]:
    """Check each row's request values by the HTTP API's rules."""
    made: dict[str, list[Any]] = {given.name: [] for given in asked}
    for row in range(rows):
        said = {name: _as_json(column[row]) for name, column in values.items() if column[row] is not None}
        try:
            checked = checked_inputs(said, asked)
        except OverrideError as error:
            raise JobError(f"{path}: column {error.field.partition('.')[2]}, row {row + 1}: {error}") from None
        for name, value in checked.items():
            made[name].append(value)
    return made


def _as_json(value: Any) -> Any:
    """A time of a Parquet file as the text that a request has."""
    return value.isoformat() if hasattr(value, "isoformat") else value


def _overrides(
    path: Path, columns: Mapping[str, list[object]], rows: int, resolver: Resolver
) -> dict[int, NDArray[np.float64]]:
    """Check each value by the HTTP API's rules for overrides."""
    overrides: dict[int, NDArray[np.float64]] = {}
    for name, values in columns.items():
        taken = np.full(rows, np.nan)
        if name not in resolver.names:
            raise JobError(f"{path}: column {name!r} is not an input of the model; GET /model lists them")
        for row, value in enumerate(values):
            if value is None:
                continue
            try:
                ((_, taken[row]),) = resolver.check_overrides({name: value}).items()
            except OverrideError as error:
                raise JobError(f"{path}: column {name}, row {row + 1}: {error}") from None
        overrides[resolver.names.index(name)] = taken
    return overrides


def without_values(contract: ModelContract) -> dict[str, Any]:
    """The request values of a row for which nobody gave any.

    Raises:
        JobError: one has no default.
    """
    try:
        return checked_inputs({}, asked_of(contract.feature_schema.request_inputs))
    except OverrideError as error:
        name = error.field.partition(".")[2]
        raise JobError(
            f"the model takes {name!r} from the request: give keys and values in a file with the column {name!r}, "
            "ENTITIES=…"
        ) from None
