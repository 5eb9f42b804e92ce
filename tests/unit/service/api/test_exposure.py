"""Which addresses only this machine reaches, and what a service without keys does when others reach it."""

from typing import Any

import click
import pytest

from service.api.exposure import bound_host, is_loopback, refuse_exposure
from service.errors import StartupError


def running(**options: Any) -> click.Context:
    """A click command at work, as `bentoml serve` is while its supervisor runs the service's hook."""
    context = click.Context(click.Command("serve"))
    context.params = options
    return context


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.2", "127.255.255.254", "::1", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1", "localhost"]
)
def test_only_this_machine_reaches_a_loopback_address(host: str) -> None:
    assert is_loopback(host)
    with running(host=host):
        refuse_exposure(keys_configured=False, allow_anonymous=False)


EXPOSED = ["0.0.0.0", "::", "::ffff:0.0.0.0", "192.168.1.7", "10.0.0.1", "169.254.1.1", "8.8.8.8", "fe80::1", "fd00::1"]  # noqa: S104


@pytest.mark.parametrize("host", [*EXPOSED, "::ffff:10.0.0.1", "fe80::1%eth0", "128.0.0.1", "myhost", "127.1", ""])
def test_an_address_that_others_reach_needs_keys_or_a_plain_word(host: str) -> None:
    assert not is_loopback(host)
    with running(host=host):
        with pytest.raises(StartupError) as raised:
            refuse_exposure(keys_configured=False, allow_anonymous=False)
        refuse_exposure(keys_configured=True, allow_anonymous=False)
        refuse_exposure(keys_configured=False, allow_anonymous=True)

    message = str(raised.value)
    assert message.startswith(f"{host} is open to other machines and there are no API keys")
    for way_out in ("make api-key", "SERVICE_API_KEYS_FILE", "--host 127.0.0.1", "SERVICE_ALLOW_ANONYMOUS=true"):
        assert way_out in message


def test_without_a_host_option_bentomls_own_default_counts() -> None:
    from bentoml._internal.configuration.containers import BentoMLContainer

    configured = BentoMLContainer.http.host
    before = configured.get()
    with running(host=None):
        assert before == bound_host()
        try:
            configured.set("127.0.0.9")
            assert "127.0.0.9" == bound_host()
        finally:
            configured.set(before)


def test_an_address_that_cannot_be_told_counts_as_exposed() -> None:
    for context in (running(), running(port=3000)):
        with context:
            assert bound_host() is None
            with pytest.raises(StartupError, match="it cannot be told which address is bound"):
                refuse_exposure(keys_configured=False, allow_anonymous=False)
    assert bound_host() is None
