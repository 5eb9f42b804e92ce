"""HOST and PORT of `make serve`: what is an address, and whether somebody has it."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from jobs.local.listening import url_of
from tests.loop import SOURCE, free_port


def asked(host: str, port: object) -> "subprocess.CompletedProcess[str]":
    command = [
        sys.executable,
        "-I",
        "-S",
        "jobs/local/listening.py",
        "--host",
        host,
        "--port",
        str(port),
        "--target",
        "run",
    ]
    return subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, timeout=30, check=False)


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(os.environ.get("CI") != "true" and not has_ipv6(), reason="no IPv6 on this machine")


@contextmanager
def taken(family: socket.AddressFamily, address: str) -> Iterator[int]:
    with socket.socket(family) as listener:
        listener.bind((address, 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.mark.parametrize(
    ("host", "address", "url"),
    [
        ("127.0.0.1", "127.0.0.1", "http://127.0.0.1:7"),
        ("localhost", "127.0.0.1", "http://127.0.0.1:7"),
        ("0.0.0.0", "0.0.0.0", "http://127.0.0.1:7"),  # noqa: S104
        pytest.param("::1", "::1", "http://[::1]:7", marks=needs_ipv6),
        pytest.param("[::1]", "::1", "http://[::1]:7", marks=needs_ipv6),
        pytest.param("::", "::", "http://[::1]:7", marks=needs_ipv6),
    ],
)
def test_a_host_becomes_the_address_to_listen_on_and_the_url_to_ask_at(host: str, address: str, url: str) -> None:
    done = asked(host, free_port())

    assert (0, f"{address}\n", "") == (done.returncode, done.stdout, done.stderr)
    assert url == url_of(address, 7)


@pytest.mark.parametrize(
    ("family", "listens", "host"),
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1"),
        (socket.AF_INET, "127.0.0.1", "localhost"),
        (socket.AF_INET, "127.0.0.1", "0.0.0.0"),  # noqa: S104
        pytest.param(socket.AF_INET6, "::1", "::1", marks=needs_ipv6),
        pytest.param(socket.AF_INET6, "::1", "[::1]", marks=needs_ipv6),
    ],
)
def test_a_port_that_is_taken_is_said_in_one_line(family: socket.AddressFamily, listens: str, host: str) -> None:
    with taken(family, listens) as port:
        done = asked(host, port)

    assert 1 == done.returncode
    assert f"error: {host}:{port} is taken; choose another: make run PORT=3001\n" == done.stderr


@pytest.mark.parametrize("host", ["", "no.such.host.invalid", "[::1", "a b", "\u00e4" * 80, "203.0.113.7", "1.2.3"])
def test_a_host_that_is_not_this_machine_is_refused_in_one_line(host: str) -> None:
    done = asked(host, free_port())

    assert 1 == done.returncode
    assert 1 == done.stderr.count("\n"), done.stderr
    assert done.stderr.startswith("error: ")


@pytest.mark.parametrize("port", ["", "http", "0", "65536", "-1", "3000x", "3 000"])
def test_a_port_that_is_none_is_refused_in_one_line(port: str) -> None:
    done = asked("127.0.0.1", port)

    assert 1 == done.returncode
    assert "PORT=" in done.stderr
    assert 1 == done.stderr.count("\n"), done.stderr
