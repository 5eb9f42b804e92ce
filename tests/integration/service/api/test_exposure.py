"""What a worker makes of the socket that BentoML's supervisor handed it."""

import socket
from pathlib import Path
from typing import Any

import click
import pytest

from service.api.exposure import bound_host, refuse_exposure
from service.errors import StartupError


def worker(handed: socket.socket) -> click.Context:
    """The click command of a BentoML worker, which is given its listening socket as `--fd`."""
    context = click.Context(click.Command("worker"))
    context.params = {"fd": handed.fileno()}
    return context


def listening(family: socket.AddressFamily, address: Any) -> socket.socket:
    handed = socket.socket(family, socket.SOCK_STREAM)
    try:
        handed.bind(address)
    except OSError:
        handed.close()
        pytest.skip(f"this machine has no {address}")
    handed.listen()
    return handed


@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "127.0.0.2"), (socket.AF_INET6, "::1")]
)
def test_a_worker_on_a_loopback_socket_starts_without_keys(family: socket.AddressFamily, host: str) -> None:
    with listening(family, (host, 0)) as handed, worker(handed):
        assert host == bound_host()
        refuse_exposure(keys_configured=False, allow_anonymous=False)


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")])  # noqa: S104
def test_a_worker_on_a_socket_that_others_reach_does_not(family: socket.AddressFamily, host: str) -> None:
    with listening(family, (host, 0)) as handed, worker(handed):
        with pytest.raises(StartupError, match=f"{host} is open to other machines"):
            refuse_exposure(keys_configured=False, allow_anonymous=False)
        refuse_exposure(keys_configured=True, allow_anonymous=False)
        refuse_exposure(keys_configured=False, allow_anonymous=True)


def test_a_worker_on_a_unix_socket_starts_without_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path has to be short
    with listening(socket.AF_UNIX, "s") as handed, worker(handed):
        refuse_exposure(keys_configured=False, allow_anonymous=False)


def test_the_socket_still_serves_after_it_was_looked_at() -> None:
    with listening(socket.AF_INET, ("127.0.0.1", 0)) as handed, worker(handed):
        assert "127.0.0.1" == bound_host()
        with socket.create_connection(handed.getsockname()), handed.accept()[0] as accepted:
            assert "127.0.0.1" == accepted.getpeername()[0]
