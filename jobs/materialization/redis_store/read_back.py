"""Verifies online rows: values through Feast's SDK, as clients read them; presence by their event times."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import redis
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from jobs.errors import JobError
from jobs.materialization.redis_store.encoding import FeastFormat, StoredFormat, encode_times
from jobs.offline_store.latest_rows import KeyRange, ViewSource, connect, key_ranges, latest_rows

if TYPE_CHECKING:
    from feast import FeatureStore

_READS_PER_PIPELINE = 2_000
_FEW_ROWS = 1_000_000


def mismatches(store: "FeatureStore", stored_format: FeastFormat, rows: pa.Table, sample: int) -> tuple[int, int]:
    """Read the features of a random sample of `rows` from Feast and compare them with Feast's encoding of the rows.

    Stored rows with a newer event time are left out: another job wrote them, and they stay.

    Returns:
        Entities compared, and how many of them differ.
    """
    source = stored_format.source
    drawn = np.random.default_rng().choice(rows.num_rows, min(sample, rows.num_rows), replace=False)
    some = rows.take(pa.array(np.sort(drawn)))
    if not some.num_rows:
        return 0, 0
    answer = store.get_online_features(
        features=[f"{source.name}:{column}" for column in source.columns],
        entity_rows=some.select(source.join_keys).to_pylist(),
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


def gone(client: Any, stored_format: StoredFormat, rows: pa.Table, until: datetime) -> int:
    """Count entities of `rows` without a row in Redis, or with one of another time ≤ `until`; raises as redis-py."""
    source = stored_format.source
    keys = stored_format.encode_keys(rows).to_pylist()
    times = encode_times(rows[source.timestamp_field].combine_chunks()).to_pylist()
    latest = _seconds_and_nanos(encode_times(pa.array([until], pa.timestamp("us", tz="UTC"))).to_pylist()[0])
    lost = 0
    for start in range(0, len(keys), _READS_PER_PIPELINE):
        some = slice(start, start + _READS_PER_PIPELINE)
        pipeline = client.pipeline(transaction=False)
        for key in keys[some]:
            pipeline.hmget(key, [stored_format.time_field])
        lost += sum(_differs(stored, at, latest) for (stored,), at in zip(pipeline.execute(), times[some], strict=True))
    return lost


def _differs(stored: bytes | None, expected: bytes, latest: tuple[int, int]) -> bool:
    if stored is None or stored == expected:
        return stored is None
    try:
        return _seconds_and_nanos(stored) <= latest
    except DecodeError:
        return True


def _seconds_and_nanos(stored: bytes) -> tuple[int, int]:
    found = Timestamp.FromString(stored)
    return found.seconds, found.nanos


def some_rows(source: ViewSource, until: datetime, most: int) -> pa.Table:
    """The latest rows at `until` of up to `most` entities, drawn at random.

    Raises:
        JobError: files cannot be read.
    """
    with connect() as connection:
        rows = latest_rows(connection, source, until, _some_range(connection, source, most))
    if rows.num_rows <= most:
        return rows
    return rows.take(pa.array(np.sort(np.random.default_rng().choice(rows.num_rows, most, replace=False))))


def _some_range(connection: duckdb.DuckDBPyConnection, source: ViewSource, entities: int) -> KeyRange:
    """A random range of about so many entities; all if the view has few rows."""
    try:
        rows = sum(pq.read_metadata(file).num_rows for file in source.files())
    except (pa.ArrowInvalid, OSError) as error:
        raise JobError(f"{source.path}: is not readable as Parquet ({str(error).splitlines()[0]})") from None
    if rows <= _FEW_ROWS:
        return KeyRange()
    ranges = key_ranges(connection, [source], entities)
    return ranges[np.random.default_rng().integers(len(ranges))]


def eviction(client: Any) -> str | None:
    """Warn if Redis may evict rows when its memory is full, or if that is unknown; None if it evicts none."""
    try:
        info = client.info(
            "memory", **({"target_nodes": "primaries"} if isinstance(client, redis.RedisCluster) else {})
        )
    except redis.ResponseError:
        return "unknown whether Redis drops rows when its memory is full: this user lacks the right +info"
    nodes = [info] if "maxmemory_policy" in info else [node for node in info.values() if isinstance(node, dict)]
    policies = sorted({str(node.get("maxmemory_policy", "noeviction")) for node in nodes} - {"noeviction"})
    if not policies:
        return None
    return (
        f"warning: Redis may drop rows when its memory is full: maxmemory-policy is {', '.join(policies)}; "
        "set it to noeviction"
    )
