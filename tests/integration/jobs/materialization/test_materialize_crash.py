"""A materialization that is killed at random points while customers are being read."""

import os
import random
import signal
import threading
import time
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import redis

from jobs.errors import JobError
from jobs.feature_store import open_feature_store
from jobs.materialization import view_runs
from jobs.materialization.locks import LockedError
from jobs.materialization.redis_store.encoding import StoredFormat, StoredHashes, encode_values
from jobs.materialization.redis_store.redis_writer import OnlineRows
from tests.integration.jobs.materialized_shop import NOW, VIEWS, Shop, every
from tests.servers import forked
from tests.servers.forked import Forked
from tests.servers.redis_servers import valkey

KILLS = 10
CUSTOMERS = every(2_000)
SETTINGS = {"materialize_chunk_rows": 100, "materialize_verify_rows": 20}


class Reader(threading.Thread):
    """Asks for customers all the time; says what was wrong with the answers."""

    def __init__(self, shop: Shop, versions: int) -> None:
        super().__init__(daemon=True)
        store = open_feature_store(shop.artefacts)
        self._formats = [StoredFormat.of(store, store.get_feature_view(view)) for view in VIEWS]
        self._keys = dict(
            zip(CUSTOMERS, self._formats[0].encode_keys(pa.table({"customer_id": CUSTOMERS})).to_pylist(), strict=True)
        )
        whole = encode_values(pa.array(range(versions), pa.int64()), "int64").to_pylist()
        money = encode_values(pa.array(range(versions), pa.float64()), "float64").to_pylist()
        self._version = {stored: n for column in (whole, money) for n, stored in enumerate(column)}
        self._seen: dict[tuple[str, str], int] = defaultdict(int)
        self._url = str(shop.artefacts.redis_url)
        self.reads, self.ended = 0, threading.Event()
        self.wrong: list[str] = []

    def run(self) -> None:
        asked = random.Random(11)
        with redis.Redis.from_url(self._url, socket_timeout=5) as client:
            while not self.ended.is_set():
                some = asked.sample(CUSTOMERS, 20)
                pipe = client.pipeline(transaction=False)
                for customer in some:
                    pipe.hgetall(self._keys[customer])
                try:
                    answers = pipe.execute()
                except redis.RedisError as error:
                    self.wrong.append(repr(error))
                    continue
                for customer, stored in zip(some, answers, strict=True):
                    self._look(customer, stored)
                self.reads += len(some)
                time.sleep(0.002)  # the run under test has this machine's other core only

    def _look(self, customer: str, stored: dict[bytes, bytes]) -> None:
        for of_view in self._formats:
            view = of_view.source.name
            versions = {self._version.get(stored.get(field, b""), -1) for field in of_view.fields}
            if len(versions) > 1 or of_view.time_field not in stored:
                self.wrong.append(f"{customer} {view}: half-written: {versions}")
                continue
            (version,) = versions
            if version < self._seen[customer, view]:
                self.wrong.append(f"{customer} {view}: {version} after {self._seen[customer, view]}")
            self._seen[customer, view] = version


def script_calls(client: Any) -> int:
    """How much has been written, as Redis counts it."""
    return int(client.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0))


def started(shop: Shop) -> Forked:
    """The command."""
    environment = {
        **os.environ,
        "REDIS_URL": str(shop.artefacts.redis_url),
        "FEAST_REGISTRY": shop.artefacts.feast_registry,
        "OFFLINE_STORE_DIR": str(shop.artefacts.offline_store),
        "MATERIALIZE_RUNS_PATH": str(shop.artefacts.materialize_runs),
        **{f"JOBS_{name.upper()}": str(value) for name, value in SETTINGS.items()},
    }
    return forked.jobs(["materialize"], environment)


def end_locks(client: Any) -> None:
    """As if their time were over: what counts is that they are gone, not how busy this machine is meanwhile."""
    assert client.delete("churn:materialize", "churn:online_writer")


def has_written(running: Forked, client: Any, calls: int) -> None:
    """Wait until Redis has run so many more scripts, or the command has ended."""
    until = script_calls(client) + calls
    while running.poll() is None and script_calls(client) < until:
        time.sleep(0.002)


def kill_after(shop: Shop, client: Any, calls: int) -> bool:
    """Start the command, and kill it when Redis has run so many more scripts; False if it came to its end before."""
    with started(shop) as running:
        has_written(running, client, calls)
        running.kill()
    end_locks(client)
    return running.returncode is not None and running.returncode < 0


@pytest.mark.parametrize("calls", [3, 60])
def test_a_run_that_stood_still_for_longer_than_its_lock_writes_nothing_over_a_newer_run(
    tmp_path: Path, calls: int
) -> None:
    """Values of the same event times: nothing but the lock tells which are newer."""
    with valkey(tmp_path / "redis") as server, redis.Redis.from_url(server.url) as client:
        shop = Shop.in_folder(tmp_path / "shop", server.url, **SETTINGS)
        build(shop, 2)
        with started(shop) as stopped:
            has_written(stopped, client, calls)
            stopped.send_signal(signal.SIGSTOP)
            end_locks(client)
            build(shop, 3)
            shop.materialize()
            stopped.send_signal(signal.SIGCONT)
            said = stopped.communicate(timeout=120)

        assert {3} == set(shop.online(CUSTOMERS).values()) == set(shop.online(CUSTOMERS, VIEWS[1]).values()), said
        assert LockedError.exit_code == stopped.returncode, said
        assert [0, 0] == [view["written"] for view in shop.materialize()["views"]]


def test_kills_at_random_points_lose_nothing_and_show_nothing_half_written(tmp_path: Path) -> None:
    points = random.Random(17)
    with (
        valkey(tmp_path / "redis") as server,
        valkey(tmp_path / "clean") as clean_server,
        redis.Redis.from_url(server.url) as client,
    ):
        shop = Shop.in_folder(tmp_path / "shop", server.url, **SETTINGS)
        clean = Shop(shop.artefacts.model_copy(update={"redis_url": clean_server.url}), shop.settings)
        build(shop, 1)
        before = script_calls(client)
        shop.materialize(datetime.now(UTC))
        calls_of_a_run = script_calls(client) - before
        reader = Reader(shop, KILLS + 3)
        reader.start()
        killed = resumed = 0
        for version in range(2, KILLS + 2):
            build(shop, version)
            killed += kill_after(shop, client, points.randrange(1, calls_of_a_run * 9 // 10))
            record = shop.materialize(datetime.now(UTC))
            resumed += any(view["resumed"] for view in record["views"])
            clean_server.command("FLUSHALL")
            clean.materialize(datetime.now(UTC))
            assert clean.everything() == shop.everything()
        reader.ended.set()
        reader.join()

    assert [] == reader.wrong
    assert reader.reads > 10_000
    assert KILLS == killed
    assert resumed > KILLS // 2


def build(shop: Shop, version: int) -> None:
    """Every row is new: each second time under the event time that it has, as after a late order."""
    at = NOW - timedelta(days=40) + timedelta(days=version // 2)
    shop.build(f"b{version}", {view: {"all": (CUSTOMERS, at, version)} for view in VIEWS})


def test_a_redis_that_goes_away_ends_the_run_and_the_next_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with valkey(tmp_path / "redis", "--appendonly", "yes") as server:
        shop = Shop.in_folder(tmp_path / "shop", server.url, **SETTINGS)
        build(shop, 1)
        chunks = 0

        class Dying(OnlineRows):
            def write(self, rows: StoredHashes) -> int:
                nonlocal chunks
                chunks += 1
                if chunks == 3:
                    server.kill()
                return super().write(rows)

        with monkeypatch.context() as patched:
            patched.setattr(view_runs, "OnlineRows", Dying)
            with pytest.raises(JobError, match="Redis did not answer: ") as ended:
                shop.materialize()
        assert 1 == ended.value.exit_code
        server.restart()

        record = shop.materialize()

        for view in VIEWS:
            assert {1} == set(shop.online(CUSTOMERS, view).values())
        assert any(view["resumed"] and 0 < view["written"] < len(CUSTOMERS) for view in record["views"])
