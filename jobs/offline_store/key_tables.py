"""Keys of many entities as tables: a column per join key."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


def positions(wanted: pa.Table, stored: pa.Table, join_keys: Sequence[str]) -> pa.Array:
    """Where the key of each of n wanted rows is among the stored ones; null if it is not. int (n,).

    Args:
        stored: distinct keys.
    """
    if len(join_keys) == 1:
        (name,) = join_keys
        return pc.index_in(wanted[name].combine_chunks(), value_set=stored[name].combine_chunks())
    found = _index(stored, join_keys).get_indexer(_index(wanted, join_keys))
    return pa.array(found, pa.int64(), mask=found < 0)


def sorted_distinct(keys: pa.Table) -> pa.Table:
    """Every key once, in the order of its columns."""
    distinct = keys.group_by(keys.column_names).aggregate([])
    return distinct.sort_by([(name, "ascending") for name in keys.column_names])


def first_of_each(keys: pa.Table) -> NDArray[np.bool_]:
    """Bool (n,): the row's key differs from that of the row before. Equal keys are next to each other."""
    differs = np.zeros(len(keys), dtype=bool)
    differs[:1] = True
    for column in keys.columns:
        values = column.combine_chunks()
        differs[1:] |= pc.not_equal(values[1:], values[:-1]).to_numpy(zero_copy_only=False)
    return differs


def key_hashes(keys: pa.Table) -> NDArray[np.uint64]:
    """A hash of each of n keys, equal for equal keys in every process."""
    values = [column.to_pandas().to_numpy() for column in keys.columns]
    if len(values) == 1:
        return np.asarray(pd.util.hash_array(values[0]))
    return np.asarray(pd.util.hash_pandas_object(pd.DataFrame(dict(enumerate(values))), index=False), dtype=np.uint64)


def _index(keys: pa.Table, join_keys: Sequence[str]) -> pd.MultiIndex:
    return pd.MultiIndex.from_arrays([keys[name].to_pandas() for name in join_keys])
