"""Ids for orders that come without: made of what the order says, so the file and the stream give it the same one."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def content_ids(orders: pa.Table, numbered: bool) -> pa.StringArray:
    """An id for each row, one of its own among its customer's; the order of the rows does not matter.

    Args:
        orders: customer_id (string), event_timestamp (µs, UTC), amount (float64), items (int64); none of them null.
        numbered: equal rows are orders of their own, and are counted through. Otherwise they are one order, which has
            the id of the first of those.
    """
    amounts = np.frombuffer((orders["amount"].to_numpy() + 0.0).tobytes(), np.int64)  # every bit of them; -0.0 is 0.0
    said = pc.binary_join_element_wise(
        orders["event_timestamp"].combine_chunks().cast(pa.int64()).cast(pa.string()),
        pa.array(amounts).cast(pa.string()),
        orders["items"].combine_chunks().cast(pa.string()),
        "-",
    )
    number = np.ones(len(said), np.int64)
    if numbered and len(said):
        rows = pc.binary_join_element_wise(orders["customer_id"].combine_chunks(), said, "\n")
        codes = rows.dictionary_encode().indices.to_numpy()
        by_code = np.argsort(codes, kind="stable")
        begins = np.flatnonzero(np.diff(codes[by_code], prepend=-1))
        number[by_code] = np.arange(len(codes)) - np.repeat(begins, np.diff(begins, append=len(codes))) + 1
    return pc.binary_join_element_wise(said, pa.array(number).cast(pa.string()), "-")
