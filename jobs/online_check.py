"""Reading written rows back through Feast's SDK, as every client of the online store does."""

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from jobs.stored_rows import StoredFormat

if TYPE_CHECKING:
    from feast import FeatureStore


def mismatches(store: "FeatureStore", stored_format: StoredFormat, rows: pa.Table, sample: int) -> tuple[int, int]:
    """Ask for the features of some of `rows`, drawn at random, and compare what comes with what Feast makes of them.

    Rows that are stored with a newer event time than given are left out: another job wrote them, and they stay.

    Returns:
        Customers compared, and how many of them are stored otherwise.
    """
    source = stored_format.source
    drawn = np.random.default_rng().choice(rows.num_rows, min(sample, rows.num_rows), replace=False)
    some = rows.take(pa.array(np.sort(drawn)))
    if not some.num_rows:
        return 0, 0
    answer = store.get_online_features(
        features=[f"{source.name}:{column}" for column in source.columns],
        entity_rows=[{source.join_key: customer_id} for customer_id in some[source.join_key].to_pylist()],
    ).proto
    names = list(answer.metadata.feature_names.val)
    expected = [stored_format.as_feast_stores(some, column) for column in source.columns]
    given = [answer.results[names.index(column)] for column in source.columns]
    compared = wrong = 0
    for row, at in enumerate(some[source.timestamp_field].to_pylist()):
        stored_at = given[0].event_timestamps[row].ToDatetime(at.tzinfo)
        if stored_at > at:
            continue
        compared += 1
        same = all(g.values[row].SerializeToString() == e[row] for g, e in zip(given, expected, strict=True))
        wrong += stored_at != at or not same
    return compared, wrong
