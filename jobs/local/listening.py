"""Where `make serve` is to listen: HOST as an IP address, and a port that nobody has taken.

Run as a file, with nothing but the standard library: it is asked before the environment is installed.
"""

import argparse
import ipaddress
import socket
import sys


def address_of(host: str) -> str:
    """The IP address that a host is, which is all that BentoML takes: `[::1]` → `::1`, `localhost` → `127.0.0.1`.

    Raises:
        ValueError: it is none; the message says so in one line.
    """
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        pass
    try:
        found = [str(each[4][0]) for each in socket.getaddrinfo(bare, None, type=socket.SOCK_STREAM)] if bare else []
    except (OSError, UnicodeError):
        found = []
    if not found:
        raise ValueError(f"HOST={host} is no address of this machine; an IP address is, as 127.0.0.1 or ::1")
    return next((address for address in found if "." in address), found[0])


def asked_at(address: str) -> str:
    """The address at which a process that listens on `address` is asked from this machine."""
    parsed = ipaddress.ip_address(address)
    if not parsed.is_unspecified:
        return address
    return "127.0.0.1" if parsed.version == 4 else "::1"


def url_of(address: str, port: int) -> str:
    """Where a process that listens there is asked from this machine."""
    host = asked_at(address)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_taken(address: str, port: int) -> bool:
    """True if somebody listens there already.

    Raises:
        ValueError: nobody can listen there; the message says so in one line.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.settimeout(2)
            if probe.connect_ex((asked_at(address), port)) == 0:
                return True
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
    except OSError as error:
        raise ValueError(f"{address} port {port} cannot be listened on: {error.strerror or error}") from None
    return False


def main(arguments: list[str] | None = None) -> int:
    """Print the address, or say in one line why not and return 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", required=True)
    parser.add_argument("--target", default="serve", help="what is made, for the advice")
    chosen = parser.parse_args(arguments)
    try:
        if not (chosen.port.isascii() and chosen.port.isdigit() and 0 < int(chosen.port) < 65536):
            raise ValueError(f"PORT={chosen.port} is no port; it is a number from 1 to 65535")
        address = address_of(chosen.host)
        if is_taken(address, int(chosen.port)):
            free = f"make {chosen.target or 'serve'} PORT=3001"
            raise ValueError(f"{chosen.host}:{chosen.port} is taken; choose another: {free}")
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(address)
    return 0


if __name__ == "__main__":
    sys.exit(main())
