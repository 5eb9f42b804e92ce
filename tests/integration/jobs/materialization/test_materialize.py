"""`make materialize` against a real Redis, and what Feast's SDK then reads."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import redis

from jobs.errors import JobError
from jobs.feature_store import open_feature_store
from jobs.materialization import view_runs
from jobs.materialization.locks import LockedError, RunLock, online_writer
from jobs.materialization.materialize import materialize
from jobs.materialization.redis_store.redis_writer import OnlineRows
from jobs.materialization.run_records import PartlyError, UnverifiedError
from tests.integration.jobs.materialized_shop import NOW, VIEWS, Shop, every
from tests.loop import SOURCE
from tests.servers.redis_servers import RunningServer, free_port, valkey

DAY = timedelta(days=1)
LIFETIME, WINDOWED = VIEWS


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with valkey(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def applied(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """The registry names the folder of the offline store, so the module's tests share both."""
    return Shop.in_folder(
        tmp_path_factory.mktemp("shop"),
        server.url,
        materialize_chunk_rows=100,
        materialize_verify_rows=50,
    )


@pytest.fixture
def shop(server: RunningServer, applied: Shop) -> Shop:
    """No build is in place yet, Redis is empty, no run is recorded."""
    applied.reset(server)
    return applied


def two_views(*parts: tuple[str, list[str], datetime, int]) -> dict[str, dict[str, tuple[list[str], datetime, int]]]:
    """The same partitions in both views."""
    return {view: {name: (customers, at, version) for name, customers, at, version in parts} for view in VIEWS}


def test_what_is_stored_is_what_feasts_own_run_stores(shop: Shop) -> None:
    shop.build("b1", two_views(("jan", every(250), NOW - 40 * DAY, 1), ("feb", every(300)[100:], NOW - 10 * DAY, 2)))
    store = open_feature_store(shop.artefacts)
    store.materialize(datetime(1970, 1, 1, tzinfo=UTC), NOW)
    expected = shop.everything()
    before = len(open_feature_store(shop.artefacts).get_feature_view(LIFETIME).materialization_intervals)

    record = shop.materialize(full=True, replace=True)

    assert expected == shop.everything()
    assert 300 == len(expected)
    assert ["done", 0, [300, 300]] == [
        record["outcome"],
        record["exit_code"],
        [view["written"] for view in record["views"]],
    ]
    intervals = open_feature_store(shop.artefacts).get_feature_view(LIFETIME).materialization_intervals
    assert before + 1 == len(intervals)


def test_only_what_changed_is_written_again(shop: Shop) -> None:
    old, new = ("jan", every(250), NOW - 40 * DAY, 1), ("feb", every(300)[200:], NOW - 10 * DAY, 2)
    shop.build("b1", two_views(old, new))
    shop.materialize()

    again = shop.materialize()
    shop.build("b2", two_views(old, new, ("mar", every(300)[280:], NOW - 9 * DAY, 3)))
    late = shop.materialize()

    assert [0, 0] == [view["written"] for view in again["views"]]
    assert [20, 20] == [view["written"] for view in late["views"]]
    assert {"00000": 1, "00279": 2, "00280": 3} == shop.online(["00000", "00279", "00280"])
    assert [300, 300] == [view["written"] for view in shop.materialize(full=True)["views"]]


@pytest.mark.usefixtures("printed_logs")
@pytest.mark.parametrize("meanwhile", ["nothing", "a new build"])
@pytest.mark.parametrize("lost", [1, 90, 300])
def test_rows_that_redis_has_dropped_are_written_again_also_where_nothing_changed(
    shop: Shop, server: RunningServer, capsys: pytest.CaptureFixture[str], lost: int, meanwhile: str
) -> None:
    old = ("jan", every(300), NOW - 40 * DAY, 1)
    shop.build("b1", two_views(old))
    shop.materialize()
    with redis.Redis.from_url(server.url) as client:
        client.delete(*sorted(client.scan_iter(b"*churn"))[:lost])
    if meanwhile == "a new build":
        shop.build("b2", two_views(old, ("feb", ["new"], NOW - 9 * DAY, 2)))

    record = shop.materialize()

    assert ("done", 0) == (record["outcome"], record["exit_code"])
    assert f"entities {lost:,} are missing in Redis; writing all" in capsys.readouterr().out
    assert {1} == set(shop.online(every(300)).values()) == set(shop.online(every(300), WINDOWED).values())
    assert [0, 0] == [view["written"] for view in shop.materialize()["views"]]


@pytest.mark.parametrize("tamper", ["older", "no time", "another value", "only the other view"])
def test_rows_that_are_stored_otherwise_than_they_were_written_are_written_again(
    shop: Shop, server: RunningServer, tamper: str
) -> None:
    shop.build("b1", two_views(("jan", every(40), NOW - 40 * DAY, 1)))
    shop.materialize()
    expected = shop.everything()
    field = f"_ts:{LIFETIME}"
    with redis.Redis.from_url(server.url) as client:
        for key in sorted(client.scan_iter(b"*churn")):
            if tamper == "another value":
                client.hset(
                    key, mapping={name: b"\x20\x07" for name in client.hkeys(key) if not name.startswith(b"_ts")}
                )
            elif tamper == "only the other view":
                client.hdel(key, field)
            else:
                client.hset(key, field, b"\x08\x01" if tamper == "older" else b"junk")

    shop.materialize()

    assert expected == shop.everything()


@pytest.mark.usefixtures("printed_logs")
def test_a_redis_that_drops_rows_is_warned_of_and_a_run_that_loses_them_does_not_end_well(
    shop: Shop, server: RunningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.build("b1", two_views(("jan", every(3_000), NOW - 40 * DAY, 1)))
    with redis.Redis.from_url(server.url) as client:
        client.config_set("maxmemory-policy", "allkeys-random")
        client.config_set("maxmemory", client.info("memory")["used_memory"] + 400_000)
        try:
            with pytest.raises(JobError):
                shop.materialize()
        finally:
            client.config_set("maxmemory", 0)
            client.config_set("maxmemory-policy", "noeviction")

    assert "warning: Redis may drop rows" in capsys.readouterr().out
    assert "done" != shop.records()[-1]["outcome"]
    shop.materialize()
    assert {1} == set(shop.online(every(3_000)).values())
    assert "drop rows" not in capsys.readouterr().out


@pytest.mark.usefixtures("printed_logs")
def test_where_redis_does_not_say_whether_it_drops_rows_that_is_said(
    shop: Shop, server: RunningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.build("b1", two_views(("jan", every(5), NOW - 40 * DAY, 1)))
    server.command("ACL", "SETUSER", "asks-not", "on", "nopass", "~*", "+@all", "-info")
    url = server.url.replace("redis://", "redis://asks-not:x@")

    materialize(shop.artefacts.model_copy(update={"redis_url": url}), NOW, settings=shop.settings)

    assert "unknown whether Redis drops rows when its memory is full" in capsys.readouterr().out


def test_a_late_order_changes_a_value_under_the_time_that_it_has(shop: Shop) -> None:
    shop.build("b1", two_views(("jan", every(20), NOW - 40 * DAY, 1)))
    shop.materialize()
    shop.build("b2", two_views(("jan", every(20), NOW - 40 * DAY, 2)))

    shop.materialize()

    assert {2} == set(shop.online(every(20)).values())


def test_a_newer_row_is_never_replaced_by_an_older_one(shop: Shop) -> None:
    shop.build("b1", two_views(("jan", every(20), NOW - 40 * DAY, 1), ("feb", every(20)[:5], NOW - DAY, 2)))
    shop.materialize()

    record = shop.materialize(NOW - 20 * DAY, full=True)

    assert [(15, 5)] * 2 == [(view["written"], view["skipped"]) for view in record["views"]]
    assert {"00004": 2, "00005": 1} == shop.online(["00004", "00005"])


def test_with_replace_an_earlier_time_is_served(shop: Shop) -> None:
    shop.build("b1", two_views(("jan", every(20)[2:], NOW - 40 * DAY, 1), ("feb", every(20), NOW - DAY, 2)))
    shop.materialize()

    shop.materialize(NOW - 20 * DAY, replace=True)
    assert {"00001": None, "00004": 1} == shop.online(["00001", "00004"])

    shop.materialize()
    assert {"00001": 2, "00004": 2} == shop.online(["00001", "00004"])


def test_orders_of_another_source_remove_the_customers_of_the_old_one(shop: Shop) -> None:
    shop.build("b1", two_views(("jan", every(20), NOW - 40 * DAY, 1)))
    shop.materialize()
    shop.build("b2", two_views(("jan", every(20)[:3], NOW - 60 * DAY, 7)), source="other")

    shop.materialize()

    assert {"00002": 7, "00003": None} == shop.online(["00002", "00003"])


def test_rows_that_the_stream_added_are_the_latest(shop: Shop) -> None:
    shop.build("b1", two_views(("jan", every(20), NOW - 40 * DAY, 1)))
    shop.materialize()
    shop.stream(LIFETIME, 1, ["00003", "new"], NOW - 40 * DAY, 5)

    record = shop.materialize()

    assert {"00002": 1, "00003": 5, "new": 5} == shop.online(["00002", "00003", "new"])
    assert [2, 0] == [view["written"] for view in sorted(record["views"], key=lambda v: str(v["view"]))]


def test_a_flushed_redis_is_filled_again(shop: Shop, server: RunningServer) -> None:
    shop.build("b1", two_views(("jan", every(20), NOW - 40 * DAY, 1)))
    shop.materialize()
    server.command("FLUSHALL")

    shop.materialize()

    assert {1} == set(shop.online(every(20)).values())


def test_a_future_end_is_now(shop: Shop) -> None:
    shop.build("b1", two_views(("jan", every(5), NOW - DAY, 1), ("feb", every(5), NOW + DAY, 2)))

    record = shop.materialize(NOW + 300 * DAY)

    assert {1} == set(shop.online(every(5)).values())
    assert record["until"] == record["started"]
    assert NOW - DAY == datetime.fromisoformat(record["views"][0]["watermark"])


def test_a_view_that_fails_does_not_stop_the_others(shop: Shop) -> None:
    shop.build("b1", two_views(("jan", every(20), NOW - 40 * DAY, 1)))
    damaged = shop.artefacts.offline_store / "current" / WINDOWED / "jan" / "part-0.parquet"
    damaged.write_bytes(b"PAR1 no more")

    with pytest.raises(PartlyError, match=f"^{WINDOWED}: .*jan/part-0.parquet: is not readable as Parquet"):
        shop.materialize()

    assert {1} == set(shop.online(every(20)).values())
    record = shop.records()[-1]
    assert ("partly", 4) == (record["outcome"], record["exit_code"])
    failures = {view["view"]: view["failure"] is None for view in record["views"]}
    assert {LIFETIME: True, WINDOWED: False} == failures


def test_a_schema_that_changed_is_named(shop: Shop) -> None:
    shop.build("b1", two_views(("jan", every(20), NOW - 40 * DAY, 1)))
    for view, column in ((LIFETIME, "total_spend"), (WINDOWED, "spend_7d")):
        file = shop.artefacts.offline_store / "current" / view / "jan" / "part-0.parquet"
        pq.write_table(pq.read_table(file).drop_columns([column]), file)

    with pytest.raises(JobError, match=r"has no column 'total_spend'.*; .*|has no column 'spend_7d'.*; .*") as failed:
        shop.materialize()

    assert 1 == failed.value.exit_code
    assert {} == shop.everything()


def test_rows_that_are_not_as_written_are_found_and_written_again(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.build("b1", two_views(("jan", every(20), NOW - 40 * DAY, 1)))

    class Lossy(OnlineRows):
        def write(self, rows: Any) -> int:
            written = super().write(rows)
            for key in rows.keys.to_pylist()[:10]:
                self._client.delete(key)
            return written

    with monkeypatch.context() as patched:
        patched.setattr(view_runs, "OnlineRows", Lossy)
        with pytest.raises(UnverifiedError, match="of 20 entities read back differ"):
            shop.materialize()
    assert ("unverified", 5) == (shop.records()[-1]["outcome"], shop.records()[-1]["exit_code"])

    shop.materialize()
    assert {1} == set(shop.online(every(20)).values())


def test_two_runs_do_not_overlap(shop: Shop, server: RunningServer) -> None:
    impatient = Shop(shop.artefacts, shop.settings.model_copy(update={"lock_seconds": 0.5}))
    shop.build("b1", two_views(("jan", every(20), NOW - 40 * DAY, 1)))
    with (
        redis.Redis.from_url(server.url) as client,
        RunLock(client, "churn:materialize", "materialization", 30),
        pytest.raises(LockedError, match="another materialization is running"),
    ):
        impatient.materialize()

    assert ("locked", 3) == (shop.records()[-1]["outcome"], shop.records()[-1]["exit_code"])
    shop.materialize()


def test_it_takes_turns_with_another_writer_and_writes_what_that_left(shop: Shop, server: RunningServer) -> None:
    """Rows that were read before the other wrote are read again."""
    shop.build("b1", two_views(("jan", every(20), NOW - 40 * DAY, 1)))
    with redis.Redis.from_url(server.url) as client:
        run = threading.Thread(target=shop.materialize)
        with online_writer(client, "churn", 30):
            run.start()
            until_held = time.monotonic() + 20
            while client.hget("churn:materialized", f"{LIFETIME}:begun") is None and time.monotonic() < until_held:
                if client.hget("churn:materialized", f"{WINDOWED}:begun") is not None:
                    break
                time.sleep(0.02)
            for view in VIEWS:
                shop.stream(view, 1, ["00003"], NOW - 40 * DAY, 5)
        run.join()

    assert {"00002": 1, "00003": 5} == shop.online(["00002", "00003"])
    assert {"00002": 1, "00003": 5} == shop.online(["00002", "00003"], WINDOWED)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--until", "tomorrow"], 2, "'tomorrow' is not an ISO date or time"),
        ([], 1, "error: Redis did not answer: ConnectionError"),
    ],
)
def test_the_command_ends_with_the_documented_code(
    shop: Shop, tmp_path: Path, arguments: list[str], code: int, says: str
) -> None:
    shop.build("b1", two_views(("jan", every(5), NOW - 40 * DAY, 1)))
    environment = {
        **os.environ,
        **shop.artefacts.feast_environment(),
        "REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
        "MATERIALIZE_RUNS_PATH": str(tmp_path / "runs.jsonl"),
    }
    done = subprocess.run(
        [sys.executable, "-m", "jobs", "materialize", *arguments],
        cwd=SOURCE,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert (code, True) == (done.returncode, says in done.stderr), done.stderr
