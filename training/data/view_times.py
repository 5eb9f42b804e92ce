"""Event times of the rows that a point-in-time join uses; Feast's join does not return them."""

from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pandas as pd
from numpy.typing import NDArray

if TYPE_CHECKING:
    from feast import FeatureView


def row_times(view: "FeatureView", entities: pd.DataFrame) -> NDArray[np.datetime64]:
    """Event time of each entity's latest row: datetime64[us] (n,) in UTC, NaT without a row. The TTL is ignored.

    Args:
        view: a view over Parquet files, with one join key.
        entities: join key and event_timestamp (datetime64[us, UTC]), n rows.
    """
    source: Any = view.batch_source
    (key,) = view.join_keys
    asked = pd.DataFrame(
        {
            "place": np.arange(len(entities)),
            "key": entities[key].to_numpy(),
            "moment": entities["event_timestamp"].astype("int64").to_numpy(),
        }
    )
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("asked", asked)
        at = f'epoch_us("{source.timestamp_field}")'
        found = connection.execute(
            f'WITH stored AS (SELECT "{key}" AS key, {at} AS since FROM read_parquet(?, hive_partitioning = false) '  # noqa: S608
            f'WHERE "{key}" IN (SELECT key FROM asked) AND {at} <= (SELECT max(moment) FROM asked)) '
            "SELECT place, stored.since FROM asked ASOF LEFT JOIN stored "
            "ON asked.key = stored.key AND asked.moment >= stored.since ORDER BY place",
            [source.path],
        ).fetchnumpy()
    at_us = np.ma.filled(np.ma.asarray(found["since"]).astype("int64"), np.iinfo(np.int64).min)
    times: NDArray[np.datetime64] = at_us.view("datetime64[us]")
    return times
