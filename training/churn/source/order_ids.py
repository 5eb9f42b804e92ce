"""Ids for orders without one, derived from their content, so that the file and the stream give the same id."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def content_ids(orders: pa.Table, numbered: bool) -> pa.StringArray:
    """An id for each row, unique within its customer; independent of the order of rows.

    Args:
        orders: customer_id (string), event_timestamp (µs, UTC), amount (float64), items (int64); no nulls.
        numbered: True: equal rows are separate orders and get numbers 1, 2, …. False: equal rows are one order, with
            number 1.
    """
    amounts = np.frombuffer((orders["amount"].to_numpy() + 0.0).tobytes(), np.int64)  # the exact bits; -0.0 becomes 0.0
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
