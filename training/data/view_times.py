"""Event times of the rows that a point-in-time join uses; Feast's join does not return them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pandas as pd
from numpy.typing import NDArray

if TYPE_CHECKING:
    from feast import FeatureStore, FeatureView


def row_times(store: "FeatureStore", view: "FeatureView", entities: pd.DataFrame) -> NDArray[np.datetime64]:
    """Event time of each entity's latest row: datetime64[us] (n,) in UTC, NaT without a row. The TTL is ignored.

    Args:
        entities: the view's join keys and event_timestamp (datetime64[us, UTC]), n rows.

    Raises:
        FeatureSourceError: the view's source cannot be read.
    """
    from scoring.feast.sources import parquet_path, times_of

    source: Any = view.batch_source
    keys = sorted(view.join_keys)
    asked = entities[keys].reset_index(drop=True).add_prefix("asked_")
    asked["place"] = np.arange(len(entities))
    asked["moment"] = entities["event_timestamp"].astype("int64").to_numpy()
    path = None if source.field_mapping else parquet_path(source)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("asked", asked)
        if path is not None:
            names = ", ".join(map(_quoted, keys))
            rows = (
                f"(SELECT {names}, epoch_us({_quoted(source.timestamp_field)}) AS since "  # noqa: S608
                "FROM read_parquet($path, hive_partitioning = false))"
            )
        else:
            connection.register("every", times_of(store, view))
            rows = "every"
        found = connection.execute(_latest(rows, keys), {} if path is None else {"path": path}).fetchnumpy()
    at_us = np.ma.filled(np.ma.asarray(found["since"]).astype("int64"), np.iinfo(np.int64).min)
    times: NDArray[np.datetime64] = at_us.view("datetime64[us]")
    return times


def _latest(rows: str, keys: Sequence[str]) -> str:
    equal = " AND ".join(f"{_quoted(f'asked_{key}')} = stored.{_quoted(key)}" for key in keys)
    first = _quoted(keys[0])
    return (
        f"WITH stored AS (SELECT * FROM {rows} WHERE {first} IN (SELECT {_quoted(f'asked_{keys[0]}')} FROM asked) "  # noqa: S608
        "AND since <= (SELECT max(moment) FROM asked)) "
        f"SELECT place, stored.since FROM asked ASOF LEFT JOIN stored ON {equal} AND asked.moment >= stored.since "
        "ORDER BY place"
    )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
