"""A real PostgreSQL server on loopback (Debian's), for tests of what it holds and of what it can do to its clients."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from tests.servers.redis_servers import free_port

START_SECONDS = 30.0
USER = "feast"
PASSWORD = "secret"  # noqa: S105  # of a server that lasts as long as a test
DATABASE = "postgres"
"""The database that every server has."""


def _program(name: str) -> str | None:
    """The newest version's; Debian keeps them out of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda file: float(file.parts[4]))
    return str(found[-1]) if found else shutil.which(name)


needs_postgres = pytest.mark.skipif(
    (_program("initdb") is None or _program("postgres") is None) and os.environ.get("CI") != "true",
    reason="PostgreSQL's server is not installed (Debian: apt-get install postgresql)",
)


@dataclass
class PostgresServer:
    """A server process of this test's own. Its only user owns everything and has a password."""

    folder: Path
    port: int
    run_as: dict[str, Any]
    process: "subprocess.Popen[bytes]" = field(init=False)

    def url(self, database: str = DATABASE) -> str:
        """For SQLAlchemy, psycopg and psql."""
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def feast_store(self, database: str = DATABASE, **more: Any) -> dict[str, Any]:
        """`online_store` or `offline_store` of a feature_store.yaml."""
        address = {"host": "127.0.0.1", "port": self.port, "database": database, "db_schema": "public"}
        return {"type": "postgres", **address, "user": USER, "password": PASSWORD, "sslmode": "disable", **more}

    def execute(self, statement: str, values: Sequence[Any] = (), database: str = DATABASE) -> list[tuple[Any, ...]]:
        """Rows of one statement, committed; empty for a statement without rows."""
        with psycopg.connect(self.url(database), autocommit=True, connect_timeout=5) as connection:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def create_database(self, name: str) -> str:
        """A new, empty database; its name."""
        self.execute(f'CREATE DATABASE "{name}"')
        return name

    def kill(self) -> None:
        """End it and all its connections without a word to anyone."""
        self._signal(signal.SIGKILL)
        self.process.wait(timeout=10)

    def stop_signal(self) -> None:
        """Make it hang: its port still takes connections, nothing answers."""
        self._signal(signal.SIGSTOP)

    def cont_signal(self) -> None:
        """Let it go on where `stop_signal` halted it."""
        self._signal(signal.SIGCONT)

    def restart(self) -> None:
        """Start it again on the same port after `kill`; what was committed is still there."""
        self._start()

    def end(self) -> None:
        if self.process.poll() is None:
            self.cont_signal()
            self.process.send_signal(signal.SIGQUIT)  # at once; it reaps its children
            self.process.wait(timeout=10)

    def _signal(self, number: int) -> None:
        # Each connection has a process and a session of its own. The parent first: then no child can be added. And the
        # children are asked for before, too: those of a killed parent are nobody's.
        parent = psutil.Process(self.process.pid)
        children = set(parent.children(recursive=True))
        parent.send_signal(number)
        with suppress(psutil.NoSuchProcess):
            children.update(parent.children(recursive=True))
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.send_signal(number)

    def _start(self) -> None:
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "fsync": "off",
            "timezone": "UTC",
        }
        command = [_program("postgres") or "postgres", "-D", str(self.folder / "data")]
        command += [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, stdout=log, stderr=subprocess.STDOUT, **self.run_as
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.execute("SELECT 1")
                return
            except psycopg.OperationalError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.end()
                    raise AssertionError((self.folder / "server.log").read_text()) from None
            time.sleep(0.05)


@contextmanager
def postgres() -> Iterator[PostgresServer]:
    """A server that lasts as long as the block, without any table.

    It takes about two seconds to make: share it among the tests of a module, and give each a database of its own.
    """
    # Not in pytest's folder: PostgreSQL refuses to run as root, and nobody else may enter that.
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    run_as: dict[str, Any] = {}
    if os.geteuid() == 0:
        other = pwd.getpwnam("nobody")
        os.chown(folder, other.pw_uid, other.pw_gid)
        run_as = {"user": other.pw_uid, "group": other.pw_gid, "extra_groups": []}
    password = folder / "password"
    password.write_text(PASSWORD)
    password.chmod(0o644)
    command = [_program("initdb") or "initdb", "-D", str(folder / "data"), "-U", USER, "--pwfile", str(password)]
    command += ["--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-sync"]
    server = PostgresServer(folder, free_port(), run_as)
    try:
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, **run_as)
        server.restart()
        yield server
    finally:
        if hasattr(server, "process"):
            server.end()
        shutil.rmtree(folder)
