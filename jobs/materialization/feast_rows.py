"""The rows that Feast's own run materializes: what is wrong with their source, and what is online of them."""

import logging
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from artefacts.offline_place import is_built
from jobs.errors import JobError
from jobs.materialization.feast_fallback import BEGINNING, engine_of, is_in_files, why_no_files
from jobs.materialization.redis_store.encoding import FeastFormat
from jobs.materialization.redis_store.read_back import mismatches
from jobs.materialization.run_records import UnverifiedError, ViewRecord
from jobs.offline_store.column_types import check_columns
from jobs.offline_store.foreign_sources import check_columns_of, described, first_line, no_rows, odd_rows
from jobs.offline_store.latest_rows import ViewSource

if TYPE_CHECKING:
    from feast import FeatureStore, FeatureView

_LOG = logging.getLogger(__name__)


def sample_of(store: "FeatureStore", view: "FeatureView", until: datetime, most: int) -> pa.Table | None:
    """Some of the rows that Feast's own run will write, drawn at random.

    Returns:
        Join keys, event time (timestamp us UTC) and columns as the source has them, under the view's names; None for a
        view that computes its rows, for a build without rows, and where another compute engine than this process reads
        them.

    Raises:
        JobError: the source cannot be read, has no rows, or is not what the view declares; the online rows still stay.
    """
    computed = not getattr(view, "batch_source", None) or getattr(view, "feature_transformation", None)
    if computed or engine_of(store) != "local":
        return None
    if not is_built(view):
        _check_source(store, view)
    source = view.batch_source
    original = {new: old for old, new in source.field_mapping.items()}
    names = [*view.join_keys, *(field.name for field in view.features)]
    try:
        rows = store.provider.offline_store.pull_latest_from_table_or_query(
            config=store.config,
            data_source=source,
            join_key_columns=[original.get(name, name) for name in view.join_keys],
            feature_name_columns=[original.get(field.name, field.name) for field in view.features],
            timestamp_field=source.timestamp_field,
            created_timestamp_column=source.created_timestamp_column or None,
            start_date=BEGINNING,
            end_date=until,
        ).to_arrow()
    except Exception as error:  # of any offline store
        raise JobError(f"{described([view])} cannot be read: {first_line(error)}") from None
    if not rows.num_rows and is_built(view):  # `until` is before its first row
        return None
    if not rows.num_rows:
        raise JobError(no_rows(view.name, described([view])))
    drawn = np.random.default_rng().choice(rows.num_rows, min(most, rows.num_rows), replace=False)
    some = rows.take(pa.array(np.sort(drawn)))
    columns = {name: some[original.get(name, name)] for name in names}
    return pa.table(columns | {source.timestamp_field: _utc(some[source.timestamp_field])})


def read_back(store: "FeatureStore", view: "FeatureView", rows: pa.Table | None, made: ViewRecord) -> None:
    """Compare what Feast's SDK reads with the rows of `sample_of`.

    Raises:
        UnverifiedError: an entity differs.
    """
    if rows is None:
        return
    compared, wrong = mismatches(store, FeastFormat.of_view(view, ViewSource.of(view)), rows, rows.num_rows)
    made.verified += compared
    if wrong:
        raise UnverifiedError(f"{wrong} of {compared} entities read back differ from their rows")


def tell_odd_rows(source: ViewSource) -> bool:
    """Log what is doubtful about rows in Parquet files that somebody else fills; raises as `odd_rows`."""
    for line in odd_rows(source):
        _LOG.warning(f"  {line}")
    return True


def _check_source(store: "FeatureStore", view: "FeatureView") -> None:
    if why_no_files(view) is None:
        source = ViewSource.of(view, store.repo_path)
        check_columns(source)
        tell_odd_rows(source)
    elif not is_in_files(view):
        for line in check_columns_of(store, view):
            _LOG.warning(f"  {line}")


def _utc(times: pa.ChunkedArray) -> pa.ChunkedArray:
    if times.type.tz is None:
        times = pc.assume_timezone(times, "UTC")
    return times.cast(pa.timestamp("us", tz="UTC"), safe=False)
