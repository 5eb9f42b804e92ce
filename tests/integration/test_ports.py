import socket

import click
import pytest

from artefacts.process.command_line import loopback_port


def test_a_page_is_not_started_on_a_port_that_is_taken_or_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(click.BadParameter, match=f"127.0.0.1:{port} cannot be used: Address already in use"):
            loopback_port(str(port))
    assert port == loopback_port(str(port))
    for wrong in ("0", "-1", "70000", "http"):
        with pytest.raises(click.BadParameter, match=f"'{wrong}' is no port from 1 to 65535"):
            loopback_port(wrong)
