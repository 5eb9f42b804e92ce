"""The server that stands in for Redis where none is given: started once, ours alone, its data kept."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from artefacts.addresses import Artefacts, embedded_redis_url_file
from jobs.local import embedded_redis
from tests.loop import free_port


@pytest.fixture
def roots(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Two projects; whatever they started is stopped at the end."""
    both = tmp_path / "ours", tmp_path / "theirs"
    yield both
    for root in both:
        with suppress(ValueError):  # a damaged address; the test that wrote it has failed already
            embedded_redis.stop(root)


@pytest.fixture
def root(roots: tuple[Path, Path]) -> Path:
    return roots[0]


def client(url: str) -> Any:
    return redis.Redis.from_url(url, socket_timeout=5, decode_responses=True)


def answers(url: str) -> bool:
    try:
        with client(url) as connection:
            return bool(connection.ping())
    except redis.RedisError:
        return False


def gone(url: str) -> bool:
    """True as soon as nothing answers any more."""
    deadline = time.monotonic() + 10
    while answers(url):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_it_starts_and_its_url_is_recorded_where_every_plane_looks(root: Path) -> None:
    url = embedded_redis.start(root)

    assert answers(url)
    assert url == embedded_redis_url_file(root).read_text().strip()
    assert url == Artefacts.of({}, root=root).redis_url


def test_it_is_reused_while_it_is_up(root: Path) -> None:
    url = embedded_redis.start(root)
    with client(url) as connection:
        before = connection.info("server")["run_id"]

    assert url == embedded_redis.start(root)
    with client(url) as connection:
        assert before == connection.info("server")["run_id"]


def test_its_data_is_kept_over_stop_and_start(root: Path) -> None:
    with client(embedded_redis.start(root)) as connection:
        connection.hset("customer", mapping={"orders": "4", "name": "Zoë"})

    assert embedded_redis.stop(root)
    with client(embedded_redis.start(root)) as connection:
        assert {"orders": "4", "name": "Zoë"} == connection.hgetall("customer")


def test_stopping_ends_it_and_forgets_its_url(root: Path) -> None:
    url = embedded_redis.start(root)

    assert embedded_redis.stop(root)

    assert gone(url)
    assert Artefacts.of({}, root=root).redis_url is None


@pytest.mark.parametrize("killed", [False, True])
def test_it_comes_back_where_a_running_service_asks(root: Path, killed: bool) -> None:
    url = embedded_redis.start(root)
    with client(url) as asking:
        if killed:
            os.kill(asking.info("server")["process_id"], signal.SIGKILL)
        else:
            embedded_redis.stop(root)
        assert gone(url)

        assert url == embedded_redis.start(root)
        assert asking.ping()


def test_a_port_that_somebody_took_meanwhile_is_left_to_them(root: Path) -> None:
    url = embedded_redis.start(root)
    embedded_redis.stop(root)
    assert gone(url)

    with socket.create_server(("127.0.0.1", int(urlsplit(url).port or 0))):
        elsewhere = embedded_redis.start(root)
        assert url != elsewhere
        assert answers(elsewhere)


@pytest.mark.parametrize("content", ["", "none", "-1", "70000"])
def test_a_damaged_record_of_the_port_is_replaced(root: Path, content: str) -> None:
    file = embedded_redis_url_file(root).with_name("port")
    file.parent.mkdir(parents=True)
    file.write_text(content)

    url = embedded_redis.start(root)

    assert answers(url)
    assert str(urlsplit(url).port) == file.read_text().strip()


def test_stopping_what_is_not_up_says_so(root: Path) -> None:
    assert not embedded_redis.stop(root)

    embedded_redis.start(root)
    assert [True, False] == [embedded_redis.stop(root), embedded_redis.stop(root)]


def test_the_url_of_a_dead_server_is_replaced(root: Path) -> None:
    dead = f"redis://127.0.0.1:{free_port()}/0"
    record(root, dead)

    url = embedded_redis.start(root)

    assert dead != url
    assert answers(url)
    assert url == embedded_redis_url_file(root).read_text().strip()


def test_stopping_a_dead_server_forgets_its_url(root: Path) -> None:
    record(root, f"redis://127.0.0.1:{free_port()}/0")

    assert not embedded_redis.stop(root)
    assert not embedded_redis_url_file(root).exists()


def test_someone_elses_server_at_the_recorded_port_is_not_taken_for_ours(roots: tuple[Path, Path]) -> None:
    ours, theirs = roots
    their_url = embedded_redis.start(theirs)
    record(ours, their_url)

    url = embedded_redis.start(ours)

    assert their_url != url
    with client(url) as connection:
        connection.set("whose", "ours")
    with client(their_url) as connection:
        assert connection.get("whose") is None


def test_someone_elses_server_at_the_recorded_port_is_not_stopped(roots: tuple[Path, Path]) -> None:
    ours, theirs = roots
    their_url = embedded_redis.start(theirs)
    record(ours, their_url)

    assert not embedded_redis.stop(ours)

    assert answers(their_url)


DAMAGED = ["", "\n", "redis://", "not a url", "http://127.0.0.1:1/"]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_url_file_is_replaced_on_starting(root: Path, content: str) -> None:
    record(root, content)

    assert answers(embedded_redis.start(root))


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_url_file_is_removed_on_stopping(root: Path, content: str) -> None:
    record(root, content)

    assert not embedded_redis.stop(root)
    assert not embedded_redis_url_file(root).exists()


def test_something_that_is_no_redis_at_the_recorded_port_is_not_taken_for_ours(root: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        record(root, f"redis://127.0.0.1:{silent.getsockname()[1]}/0")

        assert answers(embedded_redis.start(root))


def test_it_listens_on_loopback_only(root: Path) -> None:
    url = embedded_redis.start(root)
    with client(url) as connection:
        bound = connection.config_get("bind")["bind"]

    assert "127.0.0.1" == urlsplit(url).hostname == bound
    for family, address in addresses_of_this_machine():
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.settimeout(2)
            assert 0 != probe.connect_ex((address, urlsplit(url).port)), f"it answers at {address}"


def addresses_of_this_machine() -> list[tuple[socket.AddressFamily, str]]:
    """The IPv4 addresses of this machine that are not loopback; none on a machine without a network."""
    found = socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)
    return sorted({(family, str(where[0])) for family, *_, where in found if not str(where[0]).startswith("127.")})


def record(root: Path, url: str) -> None:
    file = embedded_redis_url_file(root)
    file.parent.mkdir(parents=True)
    file.write_text(url)
