"""Reads the keys to score from a file: keys and, optionally, features that override looked-up ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from artefacts.process.printable import printable
from contract import OverrideError, Resolver
from contract.keys import Key
from jobs.errors import JobError
from scoring.entity_ids import text_ids


@dataclass(frozen=True)
class KeyList:
    """Rows to score.

    keys: string (n,), sorted, unique.
    overrides: input column of the model → float64 (n,); NaN where a row gives no value.
    """

    keys: pa.Array
    overrides: Mapping[int, NDArray[np.float64]]

    def between(self, low: Key | None, high: Key | None) -> "KeyList":
        """The keys in [low, high); None is an open end."""
        every_row = pa.array([True]).take(pa.array(np.zeros(len(self.keys), np.int64)))
        after = every_row if low is None else pc.greater_equal(self.keys, low)
        before = every_row if high is None else pc.less(self.keys, high)
        chosen = pc.and_(after, before)
        positions = np.flatnonzero(chosen.to_numpy(zero_copy_only=False))
        return KeyList(
            self.keys.filter(chosen), {column: values[positions] for column, values in self.overrides.items()}
        )


def read_key_list(path: Path, join_key: str, resolver: Resolver) -> KeyList:
    """Read a .csv or .parquet file with the column `join_key`; every other column is a feature reference.

    Equal rows count once.

    Raises:
        JobError: a column is missing or no input of the model, a key is null or empty, a value does not fit its
            feature, or a key occurs twice with different features. The message names file, column and row.
    """
    table = _read(path, join_key)
    if join_key not in table.column_names:
        raise JobError(f"{path}: has no column {join_key!r}; found {printable(', '.join(table.column_names))}")
    ids = text_ids(table[join_key])
    if ids is None:
        found = table[join_key].type
        raise JobError(f"{path}: column {join_key} is {found}; expected text or whole numbers")
    empty = np.flatnonzero(pc.equal(pc.fill_null(ids, ""), "").to_numpy(zero_copy_only=False))
    if len(empty):
        raise JobError(f"{path}: column {join_key}, row {empty[0] + 1}: expected a key, found none")
    columns = {name: table[name].to_pylist() for name in table.column_names if name != join_key}
    overrides = _overrides(path, columns, table.num_rows, resolver)
    order = pc.sort_indices(ids).to_numpy(zero_copy_only=False)
    ids = ids.combine_chunks().take(pa.array(order))
    sorted_overrides = {column: values[order] for column, values in overrides.items()}
    again = np.concatenate([[False], pc.equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)])
    for values in sorted_overrides.values():
        same = np.concatenate([[True], (values[1:] == values[:-1]) | (np.isnan(values[1:]) & np.isnan(values[:-1]))])
        if (again & ~same).any():
            key = ids[int(np.flatnonzero(again & ~same)[0])].as_py()
            raise JobError(f"{path}: {join_key} {key!r} occurs twice, with different features")
    return KeyList(
        ids.filter(pa.array(~again)), {column: values[~again] for column, values in sorted_overrides.items()}
    )


def _read(path: Path, join_key: str) -> pa.Table:
    if not path.is_file():
        raise JobError(f"{path}: no such file")
    try:
        if path.suffix == ".csv":
            as_text = pyarrow.csv.ConvertOptions(column_types={join_key: pa.string()}, strings_can_be_null=False)
            table = pyarrow.csv.read_csv(path, convert_options=as_text)
        elif path.suffix == ".parquet":
            table = pq.read_table(path)
        else:
            raise JobError(f"{path}: expected a .csv or .parquet file")
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError) as error:
        raise JobError(f"{path}: cannot be read as {path.suffix[1:]}: {str(error).splitlines()[0]}") from None
    if table.num_rows == 0:
        raise JobError(f"{path}: no rows; expected at least one key")
    return table


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
