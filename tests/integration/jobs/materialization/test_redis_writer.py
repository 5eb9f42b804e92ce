"""The script that writes a customer's row in Redis: all of it, or nothing where a newer one is stored."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import redis
from feast.infra.online_stores.helpers import _redis_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value

from jobs.errors import JobError
from jobs.materialization.locks import online_writer
from jobs.materialization.redis_store.encoding import StoredHashes, encode_times
from jobs.materialization.redis_store.redis_writer import ANY_TIME, Fence, FencedError, OnlineRows, stored_keys
from tests.servers.redis_servers import RunningServer, valkey, valkey_cluster

T = datetime(2026, 3, 1, 12, tzinfo=UTC)
US = timedelta(microseconds=1)
DAY = timedelta(days=1)
FIELDS = (b"_ts:view", b"\x00\r\n$")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with valkey(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def client(server: RunningServer) -> Iterator[Any]:
    server.command("FLUSHALL")
    with redis.Redis.from_url(server.url) as client:
        yield client


def hashes(keys: list[bytes], times: list[datetime], value: bytes) -> StoredHashes:
    stamps = encode_times(pa.array(times, pa.timestamp("us", tz="UTC")))
    values = pa.array([value] * len(keys), pa.binary())
    return StoredHashes(pa.array(keys, pa.binary()), {b"_ts:view": stamps, b"\x00\r\n$": values})


def values(client: Any, keys: list[bytes]) -> list[bytes | None]:
    return [client.hget(key, b"\x00\r\n$") for key in keys]


@pytest.mark.parametrize(
    ("stored", "given", "written"),
    [
        (T, T + US, True),
        (T, T, True),
        (T, T - US, False),
        (T, T - timedelta(days=1), False),
        (T.replace(microsecond=0), T.replace(microsecond=500_000), True),
        (T.replace(microsecond=500_000), T.replace(microsecond=0), False),
        (datetime(1970, 1, 1, tzinfo=UTC), T, True),
        (T, datetime(1970, 1, 1, tzinfo=UTC), False),
        (datetime(1969, 7, 20, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC), True),
        (datetime(1970, 1, 1, tzinfo=UTC), datetime(1969, 7, 20, tzinfo=UTC), False),
        (datetime(1, 1, 2, tzinfo=UTC), datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC), True),
        (datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC), datetime(1969, 12, 31, 23, 59, 59, 999_998, UTC), False),
        (datetime(9999, 12, 31, tzinfo=UTC), T, False),
    ],
)
def test_a_newer_row_stays(client: Any, stored: datetime, given: datetime, written: bool) -> None:
    rows = OnlineRows(client)
    rows.write(hashes([b"k"], [stored], b"old"))

    assert int(written) == rows.write(hashes([b"k"], [given], b"new"))
    assert [b"new" if written else b"old"] == values(client, [b"k"])


@pytest.mark.parametrize("junk", [b"", b"\x00", b"\x08", b"\x08\xff\xff", b"junk", b"\x08" + b"\xff" * 20])
def test_a_time_that_is_none_is_written_over(client: Any, junk: bytes) -> None:
    client.hset("k", mapping={b"_ts:view": junk})

    assert 1 == OnlineRows(client).write(hashes([b"k"], [T], b"new"))
    assert [b"new"] == values(client, [b"k"])


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 4_000, 4_001, 9_999])
def test_every_row_is_written_whatever_their_number(client: Any, count: int) -> None:
    keys = [b"k%d" % n for n in range(count)]

    assert count == OnlineRows(client).write(hashes(keys, [T] * count, b"v"))
    assert count == client.dbsize()
    assert {b"v"} >= set(values(client, keys[::500]))


def test_other_fields_of_a_customer_stay(client: Any) -> None:
    client.hset("k", mapping={"_ts:other": b"1", "of_other": b"2"})

    OnlineRows(client).write(hashes([b"k"], [T], b"v"))

    assert 4 == client.hlen("k")


def test_a_script_that_redis_has_forgotten_is_loaded_again(client: Any) -> None:
    rows = OnlineRows(client)
    rows.write(hashes([b"k"], [T], b"old"))
    client.script_flush()

    assert 1 == rows.write(hashes([b"k"], [T], b"new"))


def test_an_error_is_told_and_the_connection_not_used_again(client: Any) -> None:
    client.set("text", "no hash")

    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        OnlineRows(client).write(hashes([b"a", b"text", b"b"] * 50, [T] * 150, b"v"))

    assert client.ping()


def test_only_the_rows_of_a_project_and_an_entity_are_removed(client: Any) -> None:
    def key(project: str, **entity: str) -> bytes:
        names, ids = list(entity), [Value(string_val=value) for value in entity.values()]
        return bytes(_redis_key(project, EntityKey(join_keys=names, entity_values=ids)))

    ours = [key("tiny", customer_id=f"{n}") for n in range(2_500)]
    others = {
        key("tiny", shop_id="1"),
        key("tiny", customer_id="1", shop_id="1"),
        key("large", customer_id="1"),
        key("notreallytiny", customer_id="1"),
        b"tiny:materialized",
    }
    for one in (*ours, *others):
        client.hset(one, "f", "v")

    found = {key for some in stored_keys(client, "tiny", ["customer_id"]) for key in some}

    assert found == set(client.keys()) - others


@pytest.mark.parametrize(
    ("stored", "given", "upto", "written"),
    [
        (T, T - US, T, True),
        (T, T - US, T + US, True),
        (T, T - US, T - US, False),
        (T + US, T - US, T, False),
        (T, T + US, T - US, True),
        (T + US, T - US, None, True),
    ],
)
def test_rows_up_to_a_time_go_although_they_are_newer_than_what_is_written(
    client: Any, stored: datetime, given: datetime, upto: datetime | None, written: bool
) -> None:
    OnlineRows(client).write(hashes([b"k"], [stored], b"old"))

    assert int(written) == OnlineRows(client, upto=stamp(upto)).write(hashes([b"k"], [given], b"new"))
    assert [b"new" if written else b"old"] == values(client, [b"k"])


@pytest.mark.parametrize(("stored", "stays"), [(T + US, True), (T + DAY, True), (T + DAY + US, False)])
def test_a_row_beyond_a_time_goes_although_it_is_newer(client: Any, stored: datetime, stays: bool) -> None:
    OnlineRows(client).write(hashes([b"k", b"gone"], [stored] * 2, b"old"))
    rows = OnlineRows(client, upto=stamp(T), beyond=stamp(T + DAY))

    assert int(not stays) == rows.write(hashes([b"k"], [T], b"new"))
    assert int(not stays) == rows.remove(pa.array([b"gone"], pa.binary()), FIELDS)
    assert ([b"old", b"old"] if stays else [b"new", None]) == values(client, [b"k", b"gone"])


@pytest.mark.parametrize("count", [0, 1, 17, 4_001])
@pytest.mark.parametrize("upto", [T, None])
def test_rows_are_removed_up_to_a_time_with_nothing_of_other_views(
    client: Any, count: int, upto: datetime | None
) -> None:
    keys = [b"k%d" % n for n in range(count)]
    OnlineRows(client).write(hashes(keys, [T] * count, b"v"))
    OnlineRows(client).write(hashes([b"newer"], [T + US], b"v"))
    client.hset("k0", mapping={"_ts:other": b"1"})

    rows = OnlineRows(client, upto=stamp(upto))
    removed = rows.remove(pa.array([*keys, b"newer", b"nobody"], pa.binary()), FIELDS)

    assert count + (upto is None) == removed
    assert {b"k0"} | ({b"newer"} if upto else set()) == set(client.keys())
    assert [b"_ts:other"] == client.hkeys("k0")


def test_rows_are_removed_by_nobody_who_has_lost_the_right(client: Any) -> None:
    OnlineRows(client).write(hashes([b"k"], [T], b"v"))

    with pytest.raises(FencedError):
        OnlineRows(client, Fence(b"tiny:online_writer", b"gone"), ANY_TIME).remove(
            pa.array([b"k"], pa.binary()), FIELDS
        )

    assert [b"v"] == values(client, [b"k"])


def stamp(upto: datetime | None) -> bytes:
    stamped: bytes = encode_times(pa.array([upto], pa.timestamp("us", tz="UTC"))).to_pylist()[0] if upto else ANY_TIME
    return stamped


def test_rows_are_written_to_the_nodes_of_a_cluster_that_own_them(tmp_path: Path) -> None:
    keys = [b"k%d" % n for n in range(500)]
    with valkey_cluster(tmp_path) as nodes:
        cluster: Any = redis.RedisCluster(host="127.0.0.1", port=nodes[0].port)
        rows = OnlineRows(cluster)

        assert 500 == rows.write(hashes(keys, [T] * 500, b"old"))
        assert 250 == rows.write(hashes(keys, [T + US, T - US] * 250, b"new"))
        assert [b"new", b"old"] * 250 == [cluster.hget(key, b"\x00\r\n$") for key in keys]
        upto = OnlineRows(cluster, upto=stamp(T))
        assert 250 == upto.remove(pa.array(keys, pa.binary()), FIELDS)
        assert [b"new", None] * 250 == [cluster.hget(key, b"\x00\r\n$") for key in keys]
        cluster.close()


@contextmanager
def _lost(writer: AbstractContextManager[Fence]) -> Iterator[Fence]:
    """The right of a writer, who finds out at the end that it was gone."""
    with pytest.raises(JobError, match="took longer than JOBS_LOCK_SECONDS"), writer as fence:
        yield fence


@pytest.mark.parametrize("rows", [1, 16, 9_000])
def test_a_writer_that_lost_its_lock_is_refused_by_redis_also_where_the_event_times_are_equal(
    client: Any, rows: int
) -> None:
    keys = [b"k%d" % n for n in range(rows)]
    with _lost(online_writer(client, "tiny", 0.5)) as stopped:
        time.sleep(0.7)
        with online_writer(client, "tiny", 30) as fence:
            assert rows == OnlineRows(client, fence).write(hashes(keys, [T] * rows, b"new"))
        with pytest.raises(FencedError, match="JOBS_LOCK_SECONDS"):
            OnlineRows(client, stopped).write(hashes(keys, [T] * rows, b"old"))

    assert {b"new"} == set(values(client, keys))
    with online_writer(client, "tiny", 30) as fence:
        assert rows == OnlineRows(client, fence).write(hashes(keys, [T] * rows, b"newest"))


def test_a_writer_whose_lock_another_took_meanwhile_does_not_take_it_away(client: Any) -> None:
    with online_writer(client, "tiny", 0.5) as stopped:
        client.set("tiny:online_writer", b"another's", px=30_000)
        with pytest.raises(FencedError):
            OnlineRows(client, stopped).write(hashes([b"k"], [T], b"old"))
        client.set("tiny:online_writer", stopped.token, px=30_000)

    assert 0 == client.dbsize()


def test_a_writer_that_lost_its_lock_is_refused_by_every_node_of_a_cluster(tmp_path: Path) -> None:
    keys = [b"k%d" % n for n in range(200)]
    with valkey_cluster(tmp_path) as nodes:
        cluster: Any = redis.RedisCluster(host="127.0.0.1", port=nodes[0].port)
        with _lost(online_writer(cluster, "tiny", 0.5)) as stopped:
            time.sleep(0.7)
            with online_writer(cluster, "tiny", 30) as fence:
                assert 200 == OnlineRows(cluster, fence).write(hashes(keys, [T] * 200, b"new"))
            for key in keys:
                with pytest.raises(FencedError):
                    OnlineRows(cluster, stopped).write(hashes([key], [T], b"old"))
        assert [b"new"] * 200 == [cluster.hget(key, b"\x00\r\n$") for key in keys]
        cluster.close()
