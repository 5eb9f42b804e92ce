"""The supervisor of a served process takes commands from nobody."""

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import zmq

from tests.loop import Loop, free_port
from tests.servers.serving import Service, serving, wait_until

OPEN_SUPERVISOR = """
import sys
from circus.arbiter import Arbiter
from circus.watcher import Watcher

watcher = Watcher("service", sys.executable, args=["-c", "import time; time.sleep(60)"], copy_env=True)
Arbiter([watcher], f"tcp://127.0.0.1:{sys.argv[1]}", f"tcp://127.0.0.1:{sys.argv[2]}", check_delay=1).start()
"""
SECRET = "a-password-that-nobody-is-told"  # noqa: S105


@pytest.fixture(scope="module")
def served(loop: Loop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(loop, tmp_path_factory.mktemp("served"), MADE_UP_PASSWORD=SECRET) as service:
        yield service


def ask(port: int, command: str, seconds: float = 2, **properties: Any) -> bytes | None:
    """What a supervisor on this port answers; None if nothing."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        socket.setsockopt(zmq.IDENTITY, uuid.uuid4().hex.encode())
        socket.connect(f"tcp://127.0.0.1:{port}")
        socket.send(json.dumps({"id": uuid.uuid4().hex, "command": command, "properties": properties}).encode())
        return socket.recv() if socket.poll(int(seconds * 1000)) else None


def overhear(ports: list[int], seconds: float) -> list[bytes]:
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.linger = 0
        socket.setsockopt(zmq.SUBSCRIBE, b"")
        for port in ports:
            socket.connect(f"tcp://127.0.0.1:{port}")
        return socket.recv_multipart() if socket.poll(int(seconds * 1000)) else []


def further_ports(service: Service) -> list[int]:
    """What the supervisor and all it started listen on beside the service's own port."""
    supervisor = psutil.Process(service.process.pid)
    listening = [
        connection.laddr.port
        for process in [supervisor, *supervisor.children(recursive=True)]
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    return sorted({port for port in listening if port != service.port})


def test_nobody_is_told_the_workers_environment(served: Service) -> None:
    ports = further_ports(served)

    assert ports, "circus opens none any more: service/supervisor.py can go"
    for port in ports:
        for command in ("list", "options", "get", "stats", "dstats", "globaloptions", "status"):
            assert ask(port, command, name="service", keys=["env"]) is None


def test_nobody_can_have_a_command_run_or_the_service_stopped(served: Service, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    workers = sorted(child.pid for child in psutil.Process(served.process.pid).children())

    for port in further_ports(served):
        for cast in ({}, {"waiting": False}):
            said = ask(port, "add", name="evil", cmd=f"touch {ran}", start=True, **cast)
            assert said is None
        for command in ("quit", "stop", "kill", "signal", "set", "reload", "restart"):
            assert ask(port, command, 0.5, name="service", signum="KILL", options={"numprocesses": 0}) is None

    assert not ran.exists()
    assert workers == sorted(child.pid for child in psutil.Process(served.process.pid).children())
    assert (200, 200) == served.health()


def test_nobody_can_overhear_what_becomes_of_the_workers(served: Service) -> None:
    worker, *_ = psutil.Process(served.process.pid).children()
    ports = further_ports(served)
    worker.terminate()

    assert [] == overhear(ports, 3)
    wait_until(lambda: served.health() == (200, 200), 60)


def test_a_supervisor_that_is_left_open_answers_everybody(tmp_path: Path) -> None:
    control, events = free_port(), free_port()
    log = (tmp_path / "log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-c", OPEN_SUPERVISOR, str(control), str(events)],
        env={"MADE_UP_PASSWORD": SECRET, "PATH": "/usr/bin:/bin"},
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        said = ask(control, "options", seconds=30, name="service")
        assert said is not None
        assert SECRET in said.decode()
    finally:
        process.terminate()
        process.wait(timeout=30)
        log.close()
