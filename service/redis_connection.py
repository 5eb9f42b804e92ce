"""One pipelined connection to Redis: many requests share it, none waits for another's answer.

redis-py gives each request a connection of its own and awaits every reply; with this, commands of all
requests go out as they come and one `feed` of the C parser serves them all. docs/adr/0008 has the figures.
"""

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import hiredis

from contract.redis_address import RedisAddress
from service.errors import OnlineStoreUnavailableError, StartupError

logger = logging.getLogger(__name__)

_FAILURES = (OSError, hiredis.HiredisError)
"""Whatever a network, TLS or Redis may do; anything else is a fault of ours."""

_LASTING = {"NOAUTH", "MASTERDOWN"}
"""Codes of replies after which the same connection would go on failing: it must log in, or find the master, anew."""

_TOO_MANY = "ERR max number of clients"
"""A reply whose code alone would not tell an operator what to do."""


def pack(*words: bytes) -> bytes:
    """One command in the Redis protocol."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


class _Expected:
    """The replies that one write is owed, in the order in which Redis sends them."""

    __slots__ = ("future", "replies", "sent", "wanted")

    def __init__(self, future: "asyncio.Future[list[Any]]", wanted: int, sent: float) -> None:
        self.future, self.wanted, self.sent = future, wanted, sent
        self.replies: list[Any] = []


class _Pipe(asyncio.Protocol):
    """The socket's side: hands replies to whoever is owed them.

    lost: why nothing more will be answered, once that is so.
    """

    def __init__(self) -> None:
        self.lost: Exception | None = None
        self._loop = asyncio.get_running_loop()
        self._owed: deque[_Expected] = deque()
        self._reader = hiredis.Reader()
        self._heard = 0.0
        self._transport: asyncio.Transport
        self._gone = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
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

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc if isinstance(exc, _FAILURES) else ConnectionError("closed by the server"))
        self._gone.set_result(None)

    def send(self, data: bytes, replies: int) -> "asyncio.Future[list[Any]]":
        """Write commands; the future is done when `replies` ≥ 1 replies have come, or fails with the connection."""
        if self.lost is not None:
            raise self.lost.with_traceback(None)
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError("a RedisConnection belongs to the event loop that first used it")
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

    async def aborted(self, reason: Exception) -> None:
        """As `abort`, and the socket is closed on return."""
        self.abort(reason)
        await asyncio.wait((self._gone,))

    def _fail(self, reason: Exception) -> None:
        # What the server said last, e.g. that it takes no more clients, tells more than that it hung up.
        if self._owed and self._owed[0].replies and isinstance(self._owed[0].replies[-1], hiredis.ReplyError):
            reason = self._owed[0].replies[-1]
        self.lost = self.lost or reason
        while self._owed:
            future = self._owed.popleft().future
            if not future.done():
                future.set_exception(reason)
                future.exception()  # nobody may be waiting any more; asyncio would log that


class RedisConnection:
    """Connects when first used and again when it broke; every failure is `OnlineStoreUnavailableError`.

    It belongs to the event loop that first uses it.

    Args:
        address: of a server, or of the Sentinels that know it.
        connect_seconds: bound on finding the master, connecting, TLS and login together.
        stall_seconds: silence while replies are owed that means that the server hangs; the connection is given up
            when it is next used. Who waits for such a reply needs a deadline of their own.

    Raises:
        StartupError: the address' TLS files cannot be used.
    """

    def __init__(self, address: RedisAddress, connect_seconds: float, stall_seconds: float) -> None:
        if address.kind == "redis_cluster":
            raise ValueError("a cluster's keys lie on several servers; this connects to one")
        self._address = address
        self._tls = _tls_context(address) if address.tls else None
        self._connect_seconds = connect_seconds
        self._stall_seconds = stall_seconds
        self._pipe: _Pipe | None = None
        self._connecting: asyncio.Task[_Pipe] | None = None
        self._closed = False

    async def execute(self, commands: bytes, replies: int) -> list[Any]:
        """Send packed commands and give their replies, as hiredis decodes them.

        May be cancelled at any time; the replies are then thrown away when they come.

        Raises:
            OnlineStoreUnavailableError: no connection, it broke, or Redis answered a command with an error.
        """
        try:
            pipe = await self._connected()
            answers = await pipe.send(commands, replies)
        except _FAILURES as error:
            raise _unavailable(error) from (None if isinstance(error, hiredis.ReplyError) else error)
        for answer in answers:
            if isinstance(answer, hiredis.ReplyError):
                if _code(answer) in _LASTING:
                    pipe.abort(answer)
                raise _unavailable(answer) from None
        return answers

    async def _connected(self) -> _Pipe:
        if self._closed:
            raise ConnectionError("closed")
        pipe = self._pipe
        if pipe is not None and pipe.lost is None:
            if pipe.silent_seconds() < self._stall_seconds:
                return pipe
            pipe.abort(TimeoutError("the server stopped answering"))
        connecting = self._connecting
        if connecting is None or connecting.done():
            connecting = self._connecting = asyncio.create_task(self._connect())
            connecting.add_done_callback(_look_at_the_outcome)
        # Not awaited itself: one request's deadline must not undo the connecting that others wait for.
        await asyncio.wait((connecting,))
        if connecting.cancelled():
            raise ConnectionError("closed")
        return connecting.result()

    async def _connect(self) -> _Pipe:
        async with asyncio.timeout(self._connect_seconds):
            host, port = await _locate(self._address)
            pipe = await _open(host, port, self._tls)
            try:
                await _log_in(pipe, self._address)
            except BaseException as error:
                pipe.abort(error if isinstance(error, Exception) else ConnectionError("cancelled"))
                raise
        self._pipe = pipe
        return pipe

    async def close(self) -> None:
        """Close the connection for good; what is still owed fails."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait((self._connecting,))
        if self._pipe is not None:
            await self._pipe.aborted(ConnectionError("closed"))


def _code(error: Exception) -> str:
    """What went wrong, in words that hold neither a user's name nor a key: the first of a reply is its code."""
    if not isinstance(error, hiredis.ReplyError):
        return type(error).__name__
    said = str(error)
    return _TOO_MANY if said.startswith(_TOO_MANY) else said.partition(" ")[0]


def _unavailable(error: Exception) -> OnlineStoreUnavailableError:
    logger.warning("online store unavailable: %s", _code(error))
    return OnlineStoreUnavailableError("the online store is not available")


def _look_at_the_outcome(task: "asyncio.Task[Any]") -> None:
    """Every waiter may have run into its deadline; asyncio would then log the exception as never retrieved."""
    if not task.cancelled():
        task.exception()


async def _open(host: str, port: int, tls: ssl.SSLContext | None = None) -> _Pipe:
    loop = asyncio.get_running_loop()
    server_hostname = host if tls else None
    _, pipe = await loop.create_connection(_Pipe, host, port, ssl=tls, server_hostname=server_hostname)
    return pipe


async def _log_in(pipe: _Pipe, address: RedisAddress) -> None:
    steps = []
    if address.username or address.password:
        user = [address.username.encode()] if address.username else []
        steps.append(pack(b"AUTH", *user, address.password.encode()))
    if address.database:
        steps.append(pack(b"SELECT", str(address.database).encode()))
    if steps:
        _first_error(await pipe.send(b"".join(steps), len(steps)))


def _first_error(answers: Sequence[Any]) -> None:
    for answer in answers:
        if isinstance(answer, hiredis.ReplyError):
            raise answer


async def _locate(address: RedisAddress) -> tuple[str, int]:
    """Where to connect now: with Sentinels asked anew each time, because after a failover the master is another."""
    if address.kind == "redis":
        return address.hosts[0]
    # All at once: asked in turn, two that are gone would use up the time in which to connect.
    asking = [asyncio.create_task(_ask_sentinel(host, port, address.master)) for host, port in address.hosts]
    failure: Exception = ConnectionError("no Sentinel answered")
    try:
        for answer in asyncio.as_completed(asking):
            try:
                return await answer
            except _FAILURES as error:
                failure = error
        raise failure
    finally:
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)


async def _ask_sentinel(host: str, port: int, master: str) -> tuple[str, int]:
    pipe = await _open(host, port)
    try:
        answers = await pipe.send(pack(b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", master.encode()), 1)
        _first_error(answers)
        if answers[0] is None:
            raise ConnectionError("the Sentinel knows no master of this name")
        found, at = answers[0]
        return found.decode(), int(at)
    finally:
        pipe.abort(ConnectionError("asked and answered"))


def _tls_context(address: RedisAddress) -> ssl.SSLContext:
    for name, path in address.tls_files.items():
        if not Path(path).is_file():
            raise StartupError(f"REDIS_URL: {name}: there is no file {path}")
    files = address.tls_files
    try:
        context = ssl.create_default_context(cafile=files.get("ssl_ca_certs"))
        if "ssl_certfile" in files:
            # With a password, even an empty one, OpenSSL does not ask the terminal for that of an encrypted key.
            context.load_cert_chain(files["ssl_certfile"], files.get("ssl_keyfile"), password="")
    except OSError as error:
        raise StartupError(f"REDIS_URL: {', '.join(files)}: {error}") from None
    return context
