"""Where the offline store keeps the rows that `make features` writes."""

import os
from pathlib import Path

from feast import FileSource

_OFFLINE_STORE = Path(
    os.environ.get("OFFLINE_STORE_DIR") or Path(__file__).resolve().parents[1] / "var" / "offline_store"
)


def _rows_of(feature_view: str) -> FileSource:
    return FileSource(
        name=feature_view,
        # `current` is a link that `make features` moves in one step from one complete build to the next.
        path=str(_OFFLINE_STORE / "current" / feature_view / "*" / "*.parquet"),
        timestamp_field="event_timestamp",
        # Of two rows with the same customer and event timestamp the one created last counts: a late order changes
        # values under a timestamp that was written before.
        created_timestamp_column="created_timestamp",
    )


customer_lifetime_rows = _rows_of("customer_lifetime")
customer_orders_windowed_rows = _rows_of("customer_orders_windowed")
