"""Arrow columns of a contract's keys and outputs, in every file that holds predictions.

Outputs are arrays as in `scoring.task_outputs.Outputs`: one per output of the contract, in its order.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from contract import ContractError, ModelContract
from contract.feature_schema import KeyDtype
from contract.tasks import OutputKind

Values = NDArray[Any]
Scored = NDArray[np.bool_]
Classes = Sequence[str]


@dataclass(frozen=True)
class _ColumnOfKind:
    """How the outputs of one kind are kept: the type, and how n values become a column and are read again.

    `write` makes rows that are not scored null. `read` makes nulls NaN, false or −1.
    """

    type: pa.DataType
    write: Callable[[Values, Scored, Classes], pa.Array]
    read: Callable[[pa.Array, Classes], Values]


def _floats(values: Values, scored: Scored, _: Classes) -> pa.Array:
    return pa.array(values, pa.float64(), mask=~scored)


def _read_floats(column: pa.Array, _: Classes) -> Values:
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)


def _decisions(values: Values, scored: Scored, _: Classes) -> pa.Array:
    return pa.array(values, pa.bool_(), mask=~scored)


def _read_decisions(column: pa.Array, _: Classes) -> Values:
    return np.asarray(column.fill_null(False).to_numpy(zero_copy_only=False))


def _probabilities(values: Values, scored: Scored, classes: Classes) -> pa.Array:
    ends = np.cumsum(scored, dtype=np.int32) * np.int32(len(classes))
    offsets = pa.array(np.concatenate([np.zeros(1, dtype=np.int32), ends]))
    flat = pa.array(values[scored].ravel(), pa.float64())
    return pa.ListArray.from_arrays(offsets, flat, mask=pa.array(~scored))


def _read_probabilities(column: pa.Array, classes: Classes) -> Values:
    there = column.is_valid().to_numpy(zero_copy_only=False)
    lengths = pc.unique(pc.list_value_length(column.drop_null())).to_pylist()
    if lengths not in ([], [len(classes)]):
        raise ContractError(f"holds {lengths[0]} probabilities a row; the contract has {len(classes)} classes")
    found = np.full((len(column), len(classes)), np.nan)
    found[there] = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, len(classes))
    return found


def _names(values: Values, scored: Scored, classes: Classes) -> pa.Array:
    return pa.array(classes, pa.string()).take(pa.array(values, pa.int64(), mask=~scored))


def _read_names(column: pa.Array, classes: Classes) -> Values:
    found = pc.index_in(column, value_set=pa.array(classes, pa.string()))
    return np.asarray(found.fill_null(-1).to_numpy(zero_copy_only=False), dtype=np.int64)


_COLUMNS: Mapping[OutputKind, _ColumnOfKind] = {
    "probability": _ColumnOfKind(pa.float64(), _floats, _read_floats),
    "decision": _ColumnOfKind(pa.bool_(), _decisions, _read_decisions),
    "probabilities": _ColumnOfKind(pa.list_(pa.float64()), _probabilities, _read_probabilities),
    "class": _ColumnOfKind(pa.string(), _names, _read_names),
    "value": _ColumnOfKind(pa.float64(), _floats, _read_floats),
}


_KEYS: Mapping[KeyDtype, pa.DataType] = {"string": pa.string(), "int32": pa.int32(), "int64": pa.int64()}


def key_fields(contract: ModelContract) -> list[pa.Field]:
    """One column for each join key, of its type."""
    return [pa.field(key.join_key, _KEYS[key.dtype]) for key in contract.feature_schema.entity_keys]


def output_fields(contract: ModelContract) -> list[pa.Field]:
    """One column for each output, by its name; null in rows without outputs.

    `probability` and `value` are float64, a `decision` is bool, a `class` is its name. `probabilities` are a list of
    float64 in the order of the contract's classes.
    """
    return [pa.field(output.name, _COLUMNS[output.kind].type) for output in contract.outputs]


def output_columns(contract: ModelContract, outputs: Sequence[Values], scored: Scored) -> dict[str, pa.Array]:
    """Name → column of n rows.

    Args:
        scored: bool (n,); the other rows are null.
    """
    classes = _classes(contract)
    return {
        output.name: _COLUMNS[output.kind].write(values, scored, classes)
        for output, values in zip(contract.outputs, outputs, strict=True)
    }


def read_outputs(table: pa.Table, contract: ModelContract) -> tuple[Values, ...]:
    """Read the columns of `output_columns`; rows without outputs are NaN, false or −1.

    Raises:
        ContractError: a column is missing or of another form than the contract's output; the message names it.
    """
    classes = _classes(contract)
    found = []
    for output in contract.outputs:
        kept = _COLUMNS[output.kind]
        if output.name not in table.column_names:
            raise ContractError(f"column {output.name!r} is missing, which the contract answers ({output.kind})")
        column = table[output.name].combine_chunks()
        if column.type != kept.type:
            raise ContractError(f"column {output.name!r} is {column.type}; a {output.kind} is {kept.type}")
        try:
            found.append(kept.read(column, classes))
        except ContractError as error:
            raise ContractError(f"column {output.name!r} {error}") from None
    return tuple(found)


def _classes(contract: ModelContract) -> Classes:
    return getattr(contract.task, "classes", ())
