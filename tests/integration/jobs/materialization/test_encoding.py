"""What this project writes to Redis is, byte for byte, what Feast's own materialization writes of the same rows."""

import os
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis

from jobs.errors import JobError
from jobs.materialization.redis_store.encoding import StoredFormat
from jobs.materialization.redis_store.read_back import mismatches
from jobs.materialization.redis_store.redis_client import client_beside
from jobs.materialization.redis_store.redis_writer import OnlineRows
from jobs.offline_store.latest_rows import connect, latest_rows
from tests.integration.service.conftest import TinyFeast, tiny_feast
from tests.integration.service.features.typed_values import DEFINITIONS
from tests.servers.redis_servers import RunningServer, valkey

NOW = datetime(2026, 3, 1, 12, 30, 15, 123456, UTC)
TIMESTAMP = pa.timestamp("us", tz="UTC")
IDS = ["", "0", "00042", "Zoë Ωμέγα", "客户", "🙂" * 40, "a:b c", "x" * 300, "line\nfeed\r\n", "nul\0byte"]
TIMES = [
    NOW,
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(1970, 1, 1, 0, 0, 0, 1, UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999999, UTC),
    datetime(2026, 1, 1, tzinfo=UTC),
    datetime(1, 1, 1, tzinfo=UTC) + timedelta(days=400),
]
NAN, INF = float("nan"), float("inf")
# Whole numbers beside a null: Feast makes floats of them on its way, so none here needs more than 53 bits.
NUMBERS: dict[str, tuple[pa.DataType, list[Any]]] = {
    "flag": (pa.bool_(), [True, False, None]),
    "small": (pa.int32(), [0, 1, 127, 128, -1, 2**31 - 1, -(2**31), None]),
    "big": (pa.int64(), [0, 127, 128, 16_383, 16_384, 2**62, -1, 2**63 - 1, -(2**63), 2**53 + 1]),
    "single": (pa.float32(), [0.0, -0.0, 1.5, NAN, INF, -INF, 3.4028234663852886e38, 1e-45, None]),
    "double": (pa.float64(), [0.0, -0.0, 0.1, NAN, INF, -INF, 1.7976931348623157e308, 5e-324, None]),
}
DAILY = {f"day_{name}": column for name, column in NUMBERS.items()} | {
    "day_big": (pa.int64(), [0, 1, -1, 2**53, -(2**53), None]),
}
EXTRAS: dict[str, tuple[pa.DataType, list[Any]]] = {
    "count": (pa.int64(), [None, 7]),
    "yes": (pa.bool_(), [True, None]),
    "ratio": (pa.float32(), [0.5, None]),
    "amount": (pa.float64(), [None]),
    "text": (pa.string(), ["", "Zoë", "客" * 100, "a\r\nb", None]),
    "raw": (pa.binary(), [b"", b"\x00\xff\r\n", b"x" * 200, None]),
    "seen_at": (TIMESTAMP, [NOW, datetime(1969, 1, 1, 0, 0, 0, 1, UTC), datetime(2026, 1, 1, tzinfo=UTC), None]),
    "amounts": (pa.list_(pa.float64()), [[1.5, -2.5], [0.0], None, [], [NAN, None, -0.0], [0.1] * 768]),
    "ratios": (pa.list_(pa.float32()), [[1.5], [0.25, 8.0], None, [], [None, INF], [0.1] * 768]),
    "smalls": (pa.list_(pa.int32()), [[1, -1], [2**31 - 1]]),
    "bigs": (pa.list_(pa.int64()), [[1], [2**63 - 1, -(2**63)]]),
    "words": (pa.list_(pa.string()), [["a", "Ω"], [""]]),
    "blobs": (pa.list_(pa.binary()), [[b"\x00"], [b"x", b""]]),
    "flags": (pa.list_(pa.bool_()), [[True, False]]),
    "visits": (pa.list_(TIMESTAMP), [[NOW], [NOW, NOW - timedelta(days=1)]]),
    "tags": (pa.list_(pa.string()), [["one"], ["other"]]),
    "numbers_seen": (pa.list_(pa.int64()), [[5], [-7]]),
}
VIEWS = {"numbers": NUMBERS, "daily": DAILY, "extras": EXTRAS}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningServer, RunningServer]]:
    """One for this project's rows, one for Feast's."""
    folder = tmp_path_factory.mktemp("redis")
    with valkey(folder / "ours") as ours, valkey(folder / "feasts") as feasts:
        yield ours, feasts


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory) -> TinyFeast:
    """A view of every type, applied, with rows."""
    feast = tiny_feast(tmp_path_factory.mktemp("typed"), None, DEFINITIONS)
    folder = feast.artefacts.offline_store
    folder.mkdir(parents=True)
    for view, columns in VIEWS.items():
        pq.write_table(rows_of(columns, 60), folder / f"{view}.parquet")
    feast.apply()
    return feast


def rows_of(columns: dict[str, tuple[pa.DataType, list[Any]]], count: int) -> pa.Table:
    """Every value of every column, some customers with an older row beside."""
    ids = [IDS[n] if n < len(IDS) else f"c{n}" for n in range(count)]
    table = {
        "customer_id": pa.array(ids + ids[:5]),
        "event_timestamp": pa.array(
            [TIMES[n % len(TIMES)] for n in range(count)] + [datetime(1, 1, 2, tzinfo=UTC)] * 5, TIMESTAMP
        ),
    }
    for name, (dtype, values) in columns.items():
        table[name] = pa.array([values[n % len(values)] for n in range(count + 5)], dtype)
    return pa.table(table)


def opened(feast: TinyFeast, server: RunningServer) -> Any:
    from feast import FeatureStore

    os.environ.update(feast.artefacts.model_copy(update={"redis_url": server.url}).feast_environment())
    return FeatureStore(repo_path=str(feast.repo))


def everything(server: RunningServer) -> dict[bytes, dict[bytes, bytes]]:
    with redis.Redis.from_url(server.url) as client:
        return {key: client.hgetall(key) for key in client.scan_iter(b"*tiny")}


@pytest.mark.parametrize("view", sorted(VIEWS))
def test_every_type_null_and_extreme_is_stored_as_feast_stores_it(
    typed: TinyFeast, servers: tuple[RunningServer, RunningServer], view: str
) -> None:
    ours, feasts = servers
    for server in servers:
        server.command("FLUSHALL")
    stock = opened(typed, feasts)
    stock.config.online_store.skip_dedup = True
    stock.materialize(datetime(1, 1, 1, tzinfo=UTC), NOW, feature_views=[view])
    store = opened(typed, ours)
    stored_format = StoredFormat.of(store, store.get_feature_view(view))
    with connect() as connection:
        rows = latest_rows(connection, stored_format.source, NOW)

    written = OnlineRows(client_beside(store, ours.url)).write(stored_format.encode(rows))

    expected = everything(feasts)
    assert 60 == written == len(expected)
    assert expected == everything(ours)
    assert (60, 0) == mismatches(store, stored_format, rows, 100)


def test_a_row_that_is_stored_otherwise_is_found(
    typed: TinyFeast, servers: tuple[RunningServer, RunningServer]
) -> None:
    ours, _ = servers
    ours.command("FLUSHALL")
    store = opened(typed, ours)
    stored_format = StoredFormat.of(store, store.get_feature_view("numbers"))
    with connect() as connection:
        rows = latest_rows(connection, stored_format.source, NOW)
    stored = stored_format.encode(rows)
    with redis.Redis.from_url(ours.url) as client:
        OnlineRows(client).write(stored)
        key = stored.keys[7].as_py()
        client.hset(key, stored_format.fields[2], b"\x20\x05")
        assert (60, 1) == mismatches(store, stored_format, rows, 100)
        client.delete(key)
        assert (60, 1) == mismatches(store, stored_format, rows, 100)


def test_a_whole_number_beside_a_null_keeps_all_its_digits(
    typed: TinyFeast, servers: tuple[RunningServer, RunningServer]
) -> None:
    """Where Feast's own run, on its way through pandas, loses the last ones."""
    store = opened(typed, servers[0])
    stored_format = StoredFormat.of(store, store.get_feature_view("numbers"))
    columns = NUMBERS | {"big": (pa.int64(), [2**53 + 1, None])}
    rows = rows_of(columns, 10).slice(0, 2)

    stored = stored_format.encode(rows).fields[stored_format.fields[2]]

    from feast.protos.feast.types.Value_pb2 import Value

    assert 2**53 + 1 == Value.FromString(stored[0].as_py()).int64_val
    assert b"" == stored[1].as_py()


def test_a_value_that_feast_refuses_is_named_by_view_and_column_and_not_shown(
    typed: TinyFeast, servers: tuple[RunningServer, RunningServer]
) -> None:
    store = opened(typed, servers[0])
    stored_format = StoredFormat.of(store, store.get_feature_view("extras"))
    columns = EXTRAS | {"raw": (pa.date32(), [date(2026, 1, 1)])}

    with pytest.raises(JobError, match=r"^view extras: feast cannot store column 'raw' as bytes \(AssertionError\)$"):
        stored_format.encode(rows_of(columns, 10))


def test_no_rows_are_nothing(typed: TinyFeast, servers: tuple[RunningServer, RunningServer]) -> None:
    store = opened(typed, servers[0])
    stored_format = StoredFormat.of(store, store.get_feature_view("numbers"))
    with connect() as connection:
        rows = latest_rows(connection, stored_format.source, datetime(1, 1, 1, tzinfo=UTC))
    with redis.Redis.from_url(servers[0].url) as client:
        assert 0 == OnlineRows(client).write(stored_format.encode(rows))
    assert (0, 0) == mismatches(store, stored_format, rows, 10)
