"""Refuses to start a service without API keys that other machines can reach.

In BentoML's supervisor the address is the one that `bentoml serve` will bind; in a worker it is that of the inherited
socket. Both are read from the running click command.
"""

import ipaddress
import socket

import click

from service.errors import StartupError


def refuse_exposure(*, keys_configured: bool, allow_anonymous: bool) -> None:
    """Pass if there are keys, if anonymous clients are allowed, or if only this machine can connect.

    Raises:
        StartupError: none of these holds; the message says what to do.
    """
    if keys_configured or allow_anonymous:
        return
    host = bound_host()
    if host is None or not is_loopback(host):
        found = "it cannot be told which address is bound" if host is None else f"{host} is open to other machines"
        raise StartupError(
            f"{found} and there are no API keys, so anybody could ask. Make one (`make api-key NAME=…`) and set "
            "SERVICE_API_KEYS_FILE, or serve your own machine alone (`--host 127.0.0.1`), or set "
            "SERVICE_ALLOW_ANONYMOUS=true if everybody may ask"
        )


def bound_host() -> str | None:
    """Return the address that this process binds; `localhost` for a unix socket; None if it is not known."""
    context = click.get_current_context(silent=True)
    options = {} if context is None else context.params
    if "fd" in options:
        return _host_of(options["fd"])
    if "host" not in options:
        return None
    if options["host"] is not None:
        return str(options["host"])
    # Neither --host nor BENTOML_HOST: BentoML's own default, 0.0.0.0 unless its configuration says otherwise.
    from bentoml._internal.configuration.containers import BentoMLContainer

    return str(BentoMLContainer.http.host.get())


def is_loopback(host: str) -> bool:
    """True if only this machine reaches the address. Names other than `localhost` may resolve to any address."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _host_of(descriptor: int) -> str:
    handed = socket.socket(fileno=descriptor)
    try:
        return "localhost" if handed.family == socket.AF_UNIX else str(handed.getsockname()[0])
    finally:
        handed.detach()  # the socket belongs to BentoML
