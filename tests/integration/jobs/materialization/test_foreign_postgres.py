"""`make materialize` from tables in PostgreSQL, into Redis and into PostgreSQL."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobs.errors import JobError
from tests.integration.jobs.foreign_tables import DEFINITIONS, NOW, Tables, stored
from tests.servers.postgres import PostgresServer, needs_postgres, postgres
from tests.servers.redis_servers import RunningServer, valkey

pytestmark = [
    needs_postgres,
    # Feast never closes the connection of its PostgreSQL store.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning"),
]
CREATE = (
    "CREATE TABLE profile (household_id bigint, income text, size bigint, is_owner boolean, joined_at timestamptz,"
    " at timestamptz)",
    "CREATE TABLE spend (household_id bigint, department text, spend double precision, at timestamptz)",
)
FILL = (
    "INSERT INTO profile SELECT n, CASE WHEN n % 5 > 0 THEN '35-49K' END, CASE WHEN n % 5 > 0 THEN 3 END, n % 2 = 0,"
    " timestamptz '2025-01-01 00:00+00', timestamptz '2026-02-01 00:00+00' FROM generate_series(0, 99) n",
    "INSERT INTO spend SELECT n, d, 1.5, timestamptz '2026-02-01 00:00+00' FROM generate_series(0, 99) n,"
    " unnest(ARRAY['MEAT', 'GROCERY']) d",
)


@pytest.fixture(scope="module")
def database() -> Iterator[PostgresServer]:
    with postgres() as server:
        yield server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with valkey(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def applied(server: RunningServer, database: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """Rows of PostgreSQL go to Redis."""
    fill(database)
    return tables_in(database, tmp_path_factory.mktemp("tables"), server.url)


@pytest.fixture
def tables(applied: Tables, server: RunningServer, database: PostgresServer) -> Tables:
    """Both tables have rows; Redis is empty."""
    server.command("FLUSHALL")
    fill(database)
    return applied


def fill(database: PostgresServer) -> None:
    for statement in ("DROP TABLE IF EXISTS profile, spend", *CREATE, *FILL):
        database.execute(statement)


def tables_in(database: PostgresServer, folder: Path, redis_url: str | None, **parts: object) -> Tables:
    sources = {
        name: f"PostgreSQLSource(name={name!r}, table={name!r}, timestamp_field='at')" for name in ("profile", "spend")
    }
    module = "feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source"
    definitions = DEFINITIONS.format(imports=f"from {module} import PostgreSQLSource", **sources)
    stores = {"offline_store": database.feast_store(), **parts}
    return Tables.of(folder, "spend", redis_url, definitions, stores)


def test_rows_go_to_redis_by_feasts_own_run_and_are_read_back(tables: Tables, server: RunningServer) -> None:
    record = tables.materialize()

    assert [("feast", 200), ("feast", 100)] == [(view["written_by"], view["verified"]) for view in record["views"]]
    assert "PostgreSQLSource spend, PostgreSQLSource profile" == record["source"]
    assert 200 + 100 == len(stored(server, "spend"))
    keys = [{"household_id": number} for number in (1, 5, 100)]
    expected = [("35-49K", 3, False), (None, None, False), (None, None, None)]
    assert expected == tables.online("household_profile", ["income", "size", "is_owner"], keys)
    pair = {"household_id": 99, "department": "MEAT"}
    assert [(1.5,)] == tables.online("department_spend", ["spend"], [pair])


def test_rows_go_to_postgresql_without_a_redis(database: PostgresServer, tmp_path: Path) -> None:
    fill(database)
    online = database.feast_store(database.create_database("online"))
    tables = tables_in(database, tmp_path, None, online_store=online)

    record = tables.materialize()

    assert [("feast", 200), ("feast", 100)] == [(view["written_by"], view["verified"]) for view in record["views"]]
    assert ("done", 0) == (record["outcome"], record["exit_code"])
    assert [("35-49K",)] == tables.online("household_profile", ["income"], [{"household_id": 1}])


def statement(*statements: str) -> Callable[[PostgresServer], None]:
    def run(database: PostgresServer) -> None:
        for each in statements:
            database.execute(each)

    return run


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (statement("DROP TABLE profile"), r'cannot be read: UndefinedTable: relation "profile" does not exist'),
        (statement("DELETE FROM profile"), r"has no rows, so the online rows of the view household_profile stay as"),
        (
            statement("ALTER TABLE profile DROP COLUMN household_id"),
            r"has no column 'household_id', which the view declares",
        ),
        (
            statement("ALTER TABLE profile ALTER COLUMN at TYPE text"),
            r"column 'at' is text; the event time must be a timestamp",
        ),
    ],
)
def test_a_table_that_cannot_be_used_is_one_line_and_its_online_rows_stay(
    tables: Tables, server: RunningServer, database: PostgresServer, spoil: Callable[[PostgresServer], None], said: str
) -> None:
    tables.materialize()
    before = stored(server, "spend")
    spoil(database)

    with pytest.raises(JobError, match=rf"^household_profile: [^\n]*PostgreSQLSource profile:? {said}[^\n]*$"):
        tables.materialize(full=True)

    after = stored(server, "spend")
    assert before == after


@pytest.mark.usefixtures("printed_logs")
def test_times_without_zone_are_told(
    tables: Tables, database: PostgresServer, capsys: pytest.CaptureFixture[str]
) -> None:
    database.execute("ALTER TABLE profile ALTER COLUMN at TYPE timestamp")

    record = tables.materialize()

    assert "household_profile: the times in 'at' have no zone; they are taken as UTC" in capsys.readouterr().out
    assert [200, 100] == [view["verified"] for view in record["views"]]


def test_rows_later_than_the_run_are_not_read(tables: Tables, database: PostgresServer) -> None:
    database.execute("INSERT INTO profile VALUES (1, 'later', 9, true, NULL, timestamptz '2026-04-01 00:00+00')")

    tables.materialize(NOW)

    assert [("35-49K",)] == tables.online("household_profile", ["income"], [{"household_id": 1}])


def test_a_server_that_is_down_is_one_line_for_each_view(tables: Tables, database: PostgresServer) -> None:
    database.kill()
    try:
        with pytest.raises(JobError) as error:
            tables.materialize()
    finally:
        database.restart()

    said = str(error.value)
    assert "\n" not in said
    assert "secret" not in said
    assert "household_profile: PostgreSQLSource profile cannot be read: " in said
    assert "department_spend: PostgreSQLSource spend cannot be read: " in said
