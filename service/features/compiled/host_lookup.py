"""Looks up host names without waiting for a resolver that does not answer.

`getaddrinfo` cannot be cancelled and blocks for ten seconds or more while queries are dropped. An event loop's few
threads are then all stuck, and stay stuck after the resolver works again.
"""

import asyncio
import ipaddress
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future

Addresses = tuple[str, ...]
Outcome = Addresses | OSError

_NEXT_LOOKUP_SECONDS = 0.5
"""After this time a look-up counts as stuck, and another begins if the address is still wanted."""

_STUCK_PER_HOST = 12
"""They begin within six seconds and each asks the resolver again after five, so one is always about to ask."""

_STUCK_IN_ALL = 48
_PATIENCE_SECONDS = 0.05
"""How long to wait for a look-up if an earlier address is known."""

_KNOWN_HOSTS = 64
_NO_SUCH_NAME = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))


def look_up(host: str) -> Addresses:
    """The addresses of a name, as the operating system ranks them.

    Raises:
        OSError: the name has none, or the resolver does not answer.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except UnicodeError:  # a label that is empty or too long
        raise OSError(f"{host!r} is no host name") from None
    return tuple(dict.fromkeys(str(each[4][0]) for each in found))


class HostAddresses:
    """Addresses of hosts. Each look-up has its own thread, and none keeps the process from ending."""

    def __init__(
        self, look_up: Callable[[str], Addresses] = look_up, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._look_up = look_up
        self._clock = clock
        self._lock = threading.Lock()
        self._known: OrderedDict[str, Addresses] = OrderedDict()
        self._pending: dict[str, list[tuple[float, Future[Outcome]]]] = {}

    async def of(self, host: str) -> Addresses:
        """The addresses of a host, at least one. While the resolver does not answer, the last known ones.

        May be cancelled; the look-up goes on for the next caller.

        Raises:
            OSError: the name does not exist, or the resolver does not answer and no address is known.
        """
        if _is_address(host):
            return (host,)
        pending = {asyncio.wrap_future(future) for future in self._looking_up(host)}
        known = self._known.get(host)
        failed: OSError = OSError(f"too many look-ups of names are stuck to begin that of {host!r}")
        while pending:
            patience = None if known is None else _PATIENCE_SECONDS
            done, pending = await asyncio.wait(pending, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            for outcome in (each.result() for each in done):
                if not isinstance(outcome, OSError):
                    return outcome
                if isinstance(outcome, socket.gaierror) and outcome.errno in _NO_SUCH_NAME:
                    raise outcome
                failed = outcome
            if not done:
                break
        if known is None:
            raise failed
        return known

    def _looking_up(self, host: str) -> list[Future[Outcome]]:
        """The look-ups under way. Starts a new one, unless the last has just begun or too many are stuck."""
        with self._lock:
            under_way = self._pending.setdefault(host, [])
            now = self._clock()
            fresh = bool(under_way) and now - under_way[-1][0] < _NEXT_LOOKUP_SECONDS
            in_all = sum(map(len, self._pending.values()))
            if not fresh and len(under_way) < _STUCK_PER_HOST and in_all < _STUCK_IN_ALL:
                begun = (now, Future[Outcome]())
                under_way.append(begun)
                try:
                    threading.Thread(target=self._run, args=(host, begun), name="look-up", daemon=True).start()
                except RuntimeError:  # no more threads
                    under_way.remove(begun)
            found = [future for _, future in under_way]
            if not under_way:
                del self._pending[host]
            return found

    def _run(self, host: str, begun: "tuple[float, Future[Outcome]]") -> None:
        outcome: Outcome
        try:
            outcome = self._look_up(host) or OSError(f"{host!r} has no address")
        except OSError as error:
            outcome = error
        except Exception as error:
            outcome = OSError(f"{type(error).__name__}: {error}")
        with self._lock:
            self._pending[host].remove(begun)
            if not self._pending[host]:
                del self._pending[host]
            if not isinstance(outcome, OSError):
                self._known[host] = outcome
                self._known.move_to_end(host)
                while len(self._known) > _KNOWN_HOSTS:
                    self._known.popitem(last=False)
        begun[1].set_result(outcome)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


HOSTS = HostAddresses()
"""Of this process."""
