"""The socket's side of a connection to Redis: commands go out as they come, replies go to whoever is owed them."""

import asyncio
import ssl
from collections import deque
from typing import Any, cast

import hiredis

from service.addresses import HOSTS

FAILURES = (OSError, hiredis.HiredisError)
"""Whatever a network, TLS or Redis may do; anything else is a fault of ours."""

_LONGEST_REPLY_BYTES = 16 * 1024 * 1024
"""Of one command, a thousand times what the features of a customer take; only something that is no Redis goes on."""


def pack(*words: bytes) -> bytes:
    """One command in the Redis protocol."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


class _Expected:
    """The replies that one write is owed, in the order in which Redis sends them."""

    __slots__ = ("future", "replies", "sent", "wanted")

    def __init__(self, future: "asyncio.Future[list[Any]]", wanted: int, sent: float) -> None:
        self.future, self.wanted, self.sent = future, wanted, sent
        self.replies: list[Any] = []


class RedisPipe(asyncio.Protocol):
    """The socket's side: hands replies to whoever is owed them.

    lost: why nothing more will be answered, once that is so.
    """

    def __init__(self) -> None:
        self.lost: Exception | None = None
        self._loop = asyncio.get_running_loop()
        self._owed: deque[_Expected] = deque()
        self._reader = hiredis.Reader()
        self._heard = 0.0
        self._unfinished_bytes = 0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        self._unfinished_bytes += len(data)
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                self._unfinished_bytes = 0
                if not self._owed:
                    # Redis says what nobody asked for only before it hangs up. Kept for the next command, it would
                    # shift every answer by one, and one customer would get another's features.
                    self.abort(reply if isinstance(reply, hiredis.ReplyError) else ConnectionError("unasked reply"))
                    return
                first = self._owed[0]
                first.replies.append(reply)
                if len(first.replies) == first.wanted:
                    self._owed.popleft()
                    if not first.future.done():
                        first.future.set_result(first.replies)
        except hiredis.ProtocolError as error:
            self.abort(error)
        if self._unfinished_bytes > _LONGEST_REPLY_BYTES:
            self.abort(ConnectionError("a reply without end"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc if isinstance(exc, FAILURES) else ConnectionError("closed by the server"))

    def send(self, data: bytes, replies: int) -> "asyncio.Future[list[Any]]":
        """Write commands; the future is done when `replies` ≥ 1 replies have come, or fails with the connection."""
        if self.lost is not None:
            raise self.lost.with_traceback(None)
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError("a connection to Redis belongs to the event loop that made it")
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        self._owed.append(_Expected(future, replies, self._loop.time()))
        self._transport.write(data)
        return future

    def silent_seconds(self) -> float:
        """For how long replies are owed and nothing has come; a server that is slow but answers is not silent."""
        return self._loop.time() - max(self._owed[0].sent, self._heard) if self._owed else 0.0

    def abort(self, reason: Exception) -> None:
        """Hang up now; everybody who is owed an answer gets `reason`."""
        self._fail(reason)
        self._transport.abort()

    def _fail(self, reason: Exception) -> None:
        # What the server said last, e.g. that it takes no more clients, tells more than that it hung up.
        if self._owed and self._owed[0].replies and isinstance(self._owed[0].replies[-1], hiredis.ReplyError):
            reason = self._owed[0].replies[-1]
        self.lost = self.lost or reason
        while self._owed:
            future = self._owed.popleft().future
            if not future.done():  # one whose caller has gone is cancelled, so each of these is awaited
                future.set_exception(reason)


async def open_pipe(host: str, port: int, tls: ssl.SSLContext | None = None) -> RedisPipe:
    """Connect, with TLS if a context is given; nothing is said yet."""
    loop = asyncio.get_running_loop()
    failed: OSError = ConnectionError(f"{host} has no address")
    for address in await HOSTS.of(host):
        try:
            _, pipe = await loop.create_connection(
                RedisPipe, address, port, ssl=tls, server_hostname=host if tls else None
            )
        except OSError as error:
            failed = error
        else:
            return pipe
    raise failed
