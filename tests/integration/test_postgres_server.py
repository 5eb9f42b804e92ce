"""The PostgreSQL server of the tests starts as any user, hangs, dies and comes back as a real one does."""

import psycopg
import pytest

from tests.servers.postgres import needs_postgres, postgres

pytestmark = needs_postgres


def test_keeps_what_was_committed_through_a_hang_and_a_kill() -> None:
    with postgres() as server:
        database = server.create_database("shop")
        server.execute("CREATE TABLE seen (value integer)", database=database)
        server.execute("INSERT INTO seen VALUES (%s)", (7,), database=database)

        server.stop_signal()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(server.url(database), connect_timeout=2)
        server.cont_signal()
        assert server.execute("SELECT value FROM seen", database=database) == [(7,)]

        server.kill()
        with pytest.raises(psycopg.OperationalError):
            server.execute("SELECT 1", database=database)
        server.restart()
        assert server.execute("SELECT value FROM seen", database=database) == [(7,)]


def test_leaves_nothing_behind() -> None:
    with postgres() as server:
        folder, process = server.folder, server.process
        assert process.poll() is None

    assert process.poll() is not None
    assert not folder.exists()
