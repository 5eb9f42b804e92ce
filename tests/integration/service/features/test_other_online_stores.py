"""Where the online store is PostgreSQL or SQLite, its faults cost the deadline, are told as such, and pass."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

from contract import ModelContract
from service.errors import DeadlineExceededError, OnlineStoreUnavailableError, StartupError
from service.features.guard import GuardedFeatures
from service.features.opening import OpenedFeast
from service.features.port import OnlineFeatures
from service.telemetry.metrics import ServiceMetrics
from tests.integration.service.conftest import (
    OTHER_STORES,
    TinyFeast,
    close_connection,
    on_postgres,
    on_sqlite,
    tiny_feast,
)
from tests.models.fakes import DEFAULTS, NOW_US, SPEND, customer
from tests.servers.postgres import PostgresServer, needs_postgres, postgres

pytestmark = pytest.mark.asyncio(loop_scope="module")

COLUMN = list(DEFAULTS).index(SPEND)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """One that these tests stop and kill."""
    with postgres() as server:
        yield server


@pytest.fixture(scope="module")
def repository(server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> TinyFeast:
    return on_postgres(tmp_path_factory.mktemp("postgres"), server, "online")


@pytest_asyncio.fixture(loop_scope="module")
async def opened(repository: TinyFeast) -> AsyncIterator[OpenedFeast]:
    repository.write({"00042": customer(spend=120.0)})
    opened = repository.open(repository.contract())
    yield opened
    await opened.features.close()


async def _spend(features: OnlineFeatures) -> float:
    return float((await features.read(["00042"], NOW_US)).values[0, COLUMN])


async def _patiently(features: OnlineFeatures) -> float:
    for _ in range(20):
        try:
            return await _spend(features)
        except (OnlineStoreUnavailableError, DeadlineExceededError):
            await asyncio.sleep(0.2)
    raise AssertionError("the store was not read again")


def _guarded(features: OnlineFeatures, deadline_seconds: float = 0.4) -> GuardedFeatures:
    return GuardedFeatures(features, deadline_seconds, ServiceMetrics("small_churn", CollectorRegistry()))


@needs_postgres
async def test_a_killed_postgresql_is_unavailable_and_read_again_when_it_is_back(
    opened: OpenedFeast, server: PostgresServer
) -> None:
    assert 120.0 == await _spend(opened.features)
    server.kill()
    started = time.monotonic()

    for _ in range(3):
        with pytest.raises(OnlineStoreUnavailableError) as caught:
            await opened.features.read(["00042"], NOW_US)
        assert "127.0.0.1" not in caught.value.message

    assert time.monotonic() - started < 3
    server.restart()
    assert 120.0 == await _spend(opened.features)


@needs_postgres
async def test_a_restart_between_two_reads_costs_no_read(opened: OpenedFeast, server: PostgresServer) -> None:
    assert 120.0 == await _spend(opened.features)
    server.kill()
    server.restart()

    assert 120.0 == await _spend(opened.features)


@needs_postgres
async def test_a_hung_postgresql_costs_the_deadline_and_leaves_no_connection_behind(
    opened: OpenedFeast, server: PostgresServer
) -> None:
    guarded = _guarded(opened.features)
    assert 120.0 == await _spend(guarded)
    server.stop_signal()
    started = time.monotonic()

    asked = [asyncio.ensure_future(_spend(guarded)) for _ in range(30)]
    answers = await asyncio.gather(*asked, return_exceptions=True)

    assert time.monotonic() - started < 2
    assert {DeadlineExceededError, OnlineStoreUnavailableError} >= {type(answer) for answer in answers}
    server.cont_signal()
    assert 120.0 == await _patiently(guarded)
    await opened.features.close()
    await _until_nobody_reads(server)


async def _until_nobody_reads(server: PostgresServer) -> None:
    for _ in range(50):
        ((connections,),) = server.execute("SELECT count(*) FROM pg_stat_activity WHERE datname LIKE 'online%'")
        if connections == 0:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{connections} connections are open")


@needs_postgres
async def test_many_readers_share_at_most_ten_connections(opened: OpenedFeast, server: PostgresServer) -> None:
    counted = "SELECT count(*) FROM pg_stat_activity WHERE datname LIKE 'online%'"

    assert [120.0] * 200 == await asyncio.gather(*[_spend(opened.features) for _ in range(200)])

    assert 10 == server.execute(counted)[0][0]


@needs_postgres
async def test_a_table_that_is_not_there_is_an_unavailable_store(server: PostgresServer, tmp_path: Path) -> None:
    mine = on_postgres(tmp_path, server, "renamed")
    mine.write({"00042": customer(spend=120.0)})
    features = mine.open(mine.contract()).features
    server.execute('ALTER TABLE "tiny_profile" RENAME TO "gone"', database="renamed")

    for _ in range(2):
        with pytest.raises(OnlineStoreUnavailableError):
            await features.read(["00042"], NOW_US)

    server.execute('ALTER TABLE "gone" RENAME TO "tiny_profile"', database="renamed")
    assert 120.0 == await _spend(features)
    await features.close()


@needs_postgres
async def test_event_times_are_right_where_the_databases_zone_is_not_utc(
    server: PostgresServer, tmp_path: Path
) -> None:
    """Feast leaves the zone to the session, so every plane of ours asks for UTC."""
    mine = on_postgres(tmp_path, server, "tokyo")
    server.execute("ALTER DATABASE tokyo SET timezone = 'Asia/Tokyo'")
    features = mine.open(mine.contract()).features
    mine.write({"00042": customer(spend=120.0)})

    raw = await features.read(["00042"], NOW_US)

    expected = {view: row.event_time for view, row in customer(spend=120.0).items()}
    assert raw.event_times is not None
    assert sorted(expected.values()) == pytest.approx(sorted(raw.event_times[0]), abs=1e-6)
    await features.close()


async def test_a_sqlite_file_without_tables_is_an_unavailable_store_until_the_real_one_is_there(tmp_path: Path) -> None:
    mine = on_sqlite(tmp_path)
    mine.write({"00042": customer(spend=120.0)})
    contract = mine.contract()
    shutil.move(tmp_path / "online.db", tmp_path / "elsewhere.db")
    features = mine.open(contract).features

    for _ in range(2):
        with pytest.raises(OnlineStoreUnavailableError):
            await features.read(["00042"], NOW_US)

    shutil.move(tmp_path / "elsewhere.db", tmp_path / "online.db")
    assert 120.0 == await _patiently(features)
    await features.close()


async def test_a_locked_sqlite_costs_the_deadline(tmp_path: Path) -> None:
    import sqlite3

    mine = on_sqlite(tmp_path)
    mine.write({"00042": customer(spend=120.0)})
    features = mine.open(mine.contract()).features
    guarded = _guarded(features)
    assert 120.0 == await _patiently(guarded)
    with sqlite3.connect(tmp_path / "online.db") as other:
        other.execute("BEGIN EXCLUSIVE")
        started = time.monotonic()

        with pytest.raises((DeadlineExceededError, OnlineStoreUnavailableError)):
            await guarded.read(["00042"], NOW_US)

        assert time.monotonic() - started < 2
        other.rollback()

    assert 120.0 == await _patiently(guarded)
    await features.close()


@pytest.mark.parametrize("kind", OTHER_STORES)
async def test_failed_reads_open_the_breaker(elsewhere: Callable[[str], TinyFeast], kind: str) -> None:
    mine = elsewhere(kind)
    registry = CollectorRegistry()
    features = mine.open(mine.contract()).features
    guarded = GuardedFeatures(features, 2.0, ServiceMetrics("small_churn", registry))
    _drop_tables(mine)

    for _ in range(5):
        with pytest.raises(OnlineStoreUnavailableError):
            await guarded.read(["00042"], NOW_US)

    assert 1.0 == registry.get_sample_value("model_service_breaker_open", {"model": "small_churn"})
    error = {"postgres": "UndefinedTable", "sqlite": "OperationalError"}[kind]
    labels = {"model": "small_churn", "error": error}
    assert 5.0 == registry.get_sample_value("model_service_online_store_errors_total", labels)
    await features.close()


def _drop_tables(feast: TinyFeast) -> None:
    from scoring.feast.store import open_store

    store = open_store(feast.repo, feast.artefacts)
    views = store.list_feature_views()
    store.provider.online_store.teardown(store.config, views, [])
    close_connection(store)


@pytest.mark.parametrize("kind", OTHER_STORES)
async def test_the_time_of_the_newest_snapshot_is_not_known(elsewhere: Callable[[str], TinyFeast], kind: str) -> None:
    mine = elsewhere(kind)
    opened = mine.open(mine.contract())

    assert await opened.newest_snapshot() is None
    await opened.features.close()


async def test_a_store_whose_package_is_missing_is_named(
    feast: TinyFeast, contract: ModelContract, tmp_path: Path
) -> None:
    configuration = (feast.repo / "feature_store.yaml").read_text()
    other = tiny_feast(tmp_path, None, configuration=configuration)
    text = (other.repo / "feature_store.yaml").read_text()
    assert "type: redis" in text
    (other.repo / "feature_store.yaml").write_text(text.replace("type: redis", "type: mysql", 1))

    with pytest.raises(StartupError, match="No module named 'pymysql'"):
        other.open(contract)


@pytest.fixture(scope="module")
def contract(feast: TinyFeast) -> ModelContract:
    return feast.contract()
