"""Markers from the path, and no sockets in unit tests."""

import os
from collections.abc import Iterator
from pathlib import Path

import prometheus_client  # noqa: F401  # before feast, which would have it share its values with other processes
import pytest
from pytest_socket import disable_socket, enable_socket

from artefacts.process.logs import command_logs
from artefacts.process.loopback import keep_loopback_direct
from tests.loop import Loop, bare_environment, copy_source, make, make_run

_TIERS = ("unit", "integration", "e2e", "faults")

keep_loopback_direct(os.environ)  # all servers of the tests are on this machine


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    tests = Path(__file__).parent
    for item in items:
        tier = item.path.relative_to(tests).parts[0]
        if tier in _TIERS:
            item.add_marker(tier)
        if tier == "faults":
            item.add_marker(pytest.mark.timeout(1500))  # the first of them waits until the other processes are done


@pytest.fixture(autouse=True)
def _sockets_only_beyond_unit(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("unit"):
        disable_socket(allow_unix_socket=True)  # asyncio's own wake-up pipe is a unix socket
    else:
        enable_socket()


@pytest.fixture
def printed_logs() -> Iterator[None]:
    """Progress is printed, as while a command runs."""
    with command_logs(("jobs", "training", "scoring", "artefacts"), "text"):
        yield


@pytest.fixture(scope="session")
def source_copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """A copy of the source tree and a bare environment for it; its embedded Redis is stopped at the end.

    Its folder is called as nobody would call one, because make, a shell, YAML, SQL, a pattern or a URL reads something
    else into each of these characters: whatever is tested here works there.
    """
    home = tmp_path_factory.mktemp("loop")
    root = home / "it's [1] 100% #2 {a,b} $HOME ü"
    copy_source(root)
    environment = bare_environment(home)
    yield root, environment
    make(root, environment, "down")


@pytest.fixture(scope="session")
def loop(source_copy: tuple[Path, dict[str, str]]) -> Iterator[Loop]:
    """The first prediction: data, features, model and a running service, made by `make run`."""
    enable_socket()
    with make_run(*source_copy) as running:
        yield running
