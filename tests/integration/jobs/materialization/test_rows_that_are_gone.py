"""What is online is what the offline store holds, also where it holds less than before; replacing leaves no hole."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
import redis

from jobs.errors import JobError
from jobs.materialization import view_runs
from jobs.materialization.redis_store.encoding import StoredHashes, encode_times
from jobs.materialization.redis_store.redis_writer import OnlineRows
from tests.integration.jobs.materialization.test_materialize import two_views
from tests.integration.jobs.materialization.test_materialize_crash import CUSTOMERS, Reader
from tests.integration.jobs.materialized_shop import NOW, VIEWS, Shop, every
from tests.servers.redis_servers import RunningServer, valkey

DAY = timedelta(days=1)
LIFETIME, WINDOWED = VIEWS
JAN = ("jan", every(20), NOW - 40 * DAY, 1)
FEB = ("feb", every(20)[:5], NOW - DAY, 2)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with valkey(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def clean_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with valkey(tmp_path_factory.mktemp("clean")) as server:
        yield server


@pytest.fixture(scope="module")
def applied(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("shop")
    return Shop.in_folder(folder, server.url, materialize_chunk_rows=100, materialize_verify_rows=50)


@pytest.fixture
def shop(server: RunningServer, applied: Shop) -> Shop:
    """No build is in place yet, Redis is empty, no run is recorded."""
    applied.reset(server)
    return applied


def from_nothing(shop: Shop, server: RunningServer) -> dict[bytes, dict[bytes, bytes]]:
    """What the same offline store puts into an empty Redis."""
    server.command("FLUSHALL")
    fresh = Shop(shop.artefacts.model_copy(update={"redis_url": server.url}), shop.settings)
    fresh.materialize()
    return fresh.everything()


LESS: dict[str, tuple[tuple[str, list[str], datetime, int], ...]] = {
    "the last order of some": (JAN, ("feb", every(20)[:3], NOW - DAY, 2)),
    "the newest file": (JAN,),
    "all orders of some": (("jan", every(20)[:-4], NOW - 40 * DAY, 1), FEB),
    "all orders but those of strangers": (("dec", ["x", "y"], NOW - 90 * DAY, 3),),
    "nothing": (JAN, FEB),
}


@pytest.mark.parametrize("gone", LESS)
def test_rows_of_orders_that_are_gone_are_put_right(shop: Shop, clean_server: RunningServer, gone: str) -> None:
    shop.build("b1", two_views(JAN, FEB))
    shop.materialize()
    shop.build("b2", two_views(*LESS[gone]))

    record = shop.materialize()

    assert from_nothing(shop, clean_server) == shop.everything()
    expected = {"all orders of some": 4, "all orders but those of strangers": 20}.get(gone, 0)
    assert [expected] * 2 == [view["removed"] for view in record["views"]]
    if gone == "nothing":
        assert [0, 0] == [view["written"] for view in record["views"]]
    assert [0, 0] == [view["written"] for view in shop.materialize()["views"]]


def test_only_customers_of_files_that_changed_are_looked_at(shop: Shop) -> None:
    shop.build("b1", two_views(JAN, FEB))
    shop.materialize()
    shop.build("b2", two_views(JAN, ("feb", every(20)[:3], NOW - DAY, 2)))

    assert [5, 5] == [view["written"] for view in shop.materialize()["views"]]


def test_a_customer_keeps_the_view_in_which_there_is_a_row(shop: Shop) -> None:
    shop.build("b1", two_views(JAN))
    shop.materialize()
    less = two_views(JAN)
    less[WINDOWED] = {"jan": (every(20)[1:], NOW - 40 * DAY, 1)}
    shop.build("b2", less)

    shop.materialize()

    assert {"00000": 1, "00001": 1} == shop.online(["00000", "00001"])
    assert {"00000": None, "00001": 1} == shop.online(["00000", "00001"], WINDOWED)
    assert 20 == len(shop.everything())


def test_where_the_files_of_old_are_nowhere_any_more_everybody_is_looked_at(
    shop: Shop, clean_server: RunningServer
) -> None:
    shop.build("b1", two_views(JAN, FEB))
    shop.materialize()
    shop.build("b2", two_views(("jan", every(20)[2:], NOW - 40 * DAY, 1)))
    shutil.rmtree(shop.artefacts.offline_store / "builds" / "b1")

    record = shop.materialize()

    assert from_nothing(shop, clean_server) == shop.everything()
    assert [(18, 2)] * 2 == [(view["written"], view["removed"]) for view in record["views"]]


def test_what_a_run_wrote_that_was_cut_off_is_put_right_too(
    shop: Shop, clean_server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.build("b1", two_views(JAN))
    shop.materialize()
    shop.build("b2", two_views(JAN, ("feb", [*every(20)[:5], "new"], NOW - DAY, 2)))

    class Dying(OnlineRows):
        def write(self, rows: StoredHashes) -> int:
            super().write(rows)
            raise JobError("cut off")

    with monkeypatch.context() as patched:
        patched.setattr(view_runs, "OnlineRows", Dying)
        with pytest.raises(JobError, match="cut off"):
            shop.materialize()
    assert {"new": 2} == shop.online(["new"])
    shop.build("b3", two_views(JAN))

    shop.materialize()

    assert from_nothing(shop, clean_server) == shop.everything()


def test_a_run_of_the_past_leaves_newer_rows_to_the_next_run_of_now(shop: Shop, clean_server: RunningServer) -> None:
    shop.build("b1", two_views(JAN, FEB))
    shop.materialize()
    shop.build("b2", two_views(("jan", every(20)[:-4], NOW - 40 * DAY, 1), ("feb", every(20)[:3], NOW - DAY, 2)))

    shop.materialize(NOW - 20 * DAY)
    assert {"00002": 2, "00004": 2, "00005": 1, "00019": None} == shop.online(["00002", "00004", "00005", "00019"])

    shop.materialize()
    assert from_nothing(shop, clean_server) == shop.everything()


@pytest.mark.parametrize("how", ["other data", "replace", "full"])
def test_a_row_that_nobody_knows_of_goes_where_everybody_is_looked_at(
    shop: Shop, server: RunningServer, clean_server: RunningServer, how: str
) -> None:
    shop.build("b1", two_views(JAN, ("feb", ["unknown"], NOW - DAY, 2)))
    shop.materialize()
    with redis.Redis.from_url(server.url) as client:
        client.hdel("churn:materialized", *[field for field in client.hkeys("churn:materialized") if b":" in field])
    shop.build("b2", two_views(("dec", ["x", *every(20)[:2]], NOW - 90 * DAY, 3) if how == "other data" else JAN))
    shutil.rmtree(shop.artefacts.offline_store / "builds" / "b1")

    shop.materialize(replace=how == "replace", full=how == "full")

    assert from_nothing(shop, clean_server) == shop.everything()


def test_rows_of_the_future_go_when_they_are_replaced_and_those_of_the_stream_stay(
    shop: Shop, server: RunningServer
) -> None:
    """What a clock that was wrong, or another writer, has left; the service answers such customers with 503."""
    now = datetime.now(UTC)
    shop.build("b1", two_views(JAN))
    shop.materialize()
    with redis.Redis.from_url(server.url) as client:
        keys = sorted(client.scan_iter(b"*churn"))
        later = encode_times(pa.array([now + DAY, now + timedelta(minutes=4)], pa.timestamp("us", tz="UTC")))
        for key, at in zip(keys[:2], later.to_pylist(), strict=True):
            client.hset(key, f"_ts:{LIFETIME}", at)
        client.hset(keys[0].replace(b"00000", b"nobod"), f"_ts:{LIFETIME}", later[0].as_py())

    assert 2 == shop.materialize(None, full=True)["views"][0]["skipped"]
    record = shop.materialize(None, replace=True)["views"][0]

    assert (19, 1, 1) == (record["written"], record["skipped"], record["removed"])
    assert 20 == len(shop.everything())


@pytest.mark.parametrize("how", ["other data", "replace", "take over"])
def test_while_data_are_replaced_nobody_who_is_in_both_is_missing_or_half_written(
    shop: Shop, server: RunningServer, clean_server: RunningServer, how: str
) -> None:
    """The new rows are older than those that they replace."""
    old_only, new_only = [f"old-{n}" for n in range(300)], [f"new-{n}" for n in range(300)]
    shop.build("b1", two_views(("jan", [*CUSTOMERS, *old_only], NOW - DAY, 1)))
    shop.materialize()
    shop.build("b2", two_views(("dec", [*CUSTOMERS, *new_only], NOW - 60 * DAY, 2)))
    if how == "take over":
        with redis.Redis.from_url(server.url) as client:
            other = '{"id": "other", "host": "h", "path": "/p", "declared": false, "at": ""}'
            client.hset("churn:materialized", "owner", other)
    reader = Reader(shop, 3)
    reader.start()
    while not reader.reads:
        assert reader.is_alive()
    before = reader.reads

    shop.materialize(replace=how == "replace", take_over=how == "take over")

    during = reader.reads - before
    reader.ended.set()
    reader.join()
    assert ([], True) == (reader.wrong, during > 0)
    assert from_nothing(shop, clean_server) == shop.everything()
    assert {"old-7": None, "new-7": 2, "00007": 2} == shop.online(["old-7", "new-7", "00007"])


def test_a_row_that_is_newer_than_the_offline_store_knows_is_found_although_nothing_changed(
    shop: Shop, server: RunningServer, clean_server: RunningServer
) -> None:
    shop.build("b1", two_views(JAN))
    shop.materialize()
    with redis.Redis.from_url(server.url) as client:
        for key in sorted(client.scan_iter(b"*churn"))[:3]:
            client.hset(key, f"_ts:{LIFETIME}", b"\x08\x80\x8e\xce\x1b")  # in 1971; and then one of last week
        week_ago = int((NOW - 7 * DAY).timestamp())
        stamp = b"\x08" + b"".join(
            bytes([week_ago >> shift & 127 | (128 if week_ago >> shift + 7 else 0)]) for shift in range(0, 35, 7)
        )
        client.hset(sorted(client.scan_iter(b"*churn"))[5], f"_ts:{WINDOWED}", stamp)

    shop.materialize()

    assert from_nothing(shop, clean_server) == shop.everything()
