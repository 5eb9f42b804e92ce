"""Two replicas behind the proxy of `deploy/proxy/haproxy.cfg`, and the words in which that proxy is told what to do."""

import csv
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.faults.machine import children
from tests.loop import SOURCE, Loop, listens
from tests.servers.redis_servers import free_port
from tests.servers.serving import START_SECONDS, Service, started, wait_until

needs_haproxy = pytest.mark.skipif(
    shutil.which("haproxy") is None and os.environ.get("CI") != "true", reason="haproxy is not installed"
)


@dataclass
class Replica:
    """One of the two: `bentoml serve` on a port that it keeps, with a BentoML home of its own at every start.

    name: the proxy's word for it.
    environment: what it has beyond the loop's.
    """

    name: str
    loop: Loop
    folder: Path
    environment: dict[str, str]
    port: int = field(default_factory=free_port)
    _starts: int = 0
    _running: ExitStack = field(default_factory=ExitStack)
    service: Service = field(init=False)

    def start(self, tag: str) -> None:
        """Begin to start it with this model; it may not answer yet."""
        self._starts += 1
        folder = self.folder / f"{self.name}-{self._starts}"
        self._running = ExitStack()
        environment = {**self.environment, "BENTOML_PORT": str(self.port), "SERVICE_MODEL_TAG": tag}
        self.service = self._running.enter_context(started(self.loop, folder, **environment))

    def ready(self) -> None:
        wait_until(lambda: self.service.health() == (200, 200), START_SECONDS)

    def stop(self) -> None:
        """As `docker stop` and Kubernetes do it."""
        self.service.stop()
        self._running.close()

    def kill(self) -> None:
        """As a machine that is gone does it: nobody is told, parent and worker die at once."""
        for process in [*self.workers(), self.service.process.pid]:
            os.kill(process, signal.SIGKILL)
        self._running.close()

    def workers(self) -> list[int]:
        return children(self.service.process.pid)

    def end(self) -> None:
        """Whatever has become of it, nothing of it runs on."""
        with suppress(psutil.Error):
            for process in psutil.Process(self.service.process.pid).children(recursive=True):
                process.kill()
        self._running.close()


@dataclass(frozen=True)
class Proxy:
    """A running HAProxy in front of two replicas."""

    port: int
    admin: int
    process: "subprocess.Popen[bytes]"

    def say(self, command: str) -> str:
        """One line to its command socket; what it answers."""
        with socket.create_connection(("127.0.0.1", self.admin), timeout=5) as connection:
            connection.sendall(command.encode() + b"\n")
            return b"".join(iter(lambda: connection.recv(65_536), b"")).decode()

    def of(self, replica: Replica) -> dict[str, str]:
        """What it says of a replica: `status`, `scur` requests in flight, `econ`, `wretr`, …"""
        table = self.say("show stat").removeprefix("# ").splitlines()
        (row,) = [r for r in csv.DictReader(table) if (r["pxname"], r["svname"]) == ("ready", replica.name)]
        return row

    def drain(self, replica: Replica) -> None:
        """Give it nothing new and wait until it has answered what it has."""
        self.say(f"set server ready/{replica.name} state drain")
        wait_until(lambda: self.of(replica)["scur"] == "0")

    def take_back(self, replica: Replica) -> None:
        self.say(f"set server ready/{replica.name} state ready")
        wait_until(lambda: self.of(replica)["status"] == "UP")


@contextmanager
def proxied(first: Replica, second: Replica, folder: Path) -> Iterator[Proxy]:
    """The proxy in front of two replicas, ended with the block."""
    port, admin = free_port(), free_port()
    where = {
        "PROXY_BIND": f"127.0.0.1:{port}",
        "PROXY_ADMIN": f"127.0.0.1:{admin}",
        "REPLICA_1": f"127.0.0.1:{first.port}",
        "REPLICA_2": f"127.0.0.1:{second.port}",
    }
    log = folder / "haproxy.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            ["haproxy", "-db", "-f", str(SOURCE / "deploy" / "proxy" / "haproxy.cfg")],
            env={**os.environ, **where},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    proxy = Proxy(port, admin, process)
    try:
        wait_until(lambda: process.poll() is not None or listens(admin))
        assert process.poll() is None, log.read_text()
        yield proxy
    finally:
        process.kill()
        process.wait(timeout=10)
