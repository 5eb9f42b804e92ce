"""One pipelined connection to Redis that many requests share; none waits for another's answer.

redis-py gives each request its own connection and awaits every reply. Here the commands of all requests are sent at
once, and one `feed` of the C parser serves many. docs/adr/0008 has the figures.
"""

import asyncio
import logging
import ssl
from collections.abc import Sequence
from typing import Any

import hiredis

from artefacts.process.small_files import read_small_file
from artefacts.redis_address import RedisAddress
from service.errors import OnlineStoreUnavailableError, StartupError
from service.features.compiled.pipe import (
    FAILURES,
    MixedUpRepliesError,
    RedisPipe,
    SuspiciousReplyError,
    open_pipe,
    pack,
)
from service.features.compiled.reply_stream import HOW_TO_ALLOW_PROOFS

logger = logging.getLogger(__name__)

_MASTER_LOST = "MASTERDOWN"
"""Error code after which this connection would go on failing: another server is the master now; look it up again."""

_OF_ONE_KEY = "WRONGTYPE"
"""Another type is stored under one key. The error stays among the replies, because the others are valid."""

_LARGEST_TLS_FILE_BYTES = 16 * 1024 * 1024

_TOO_MANY = "ERR max number of clients"
"""An error whose code alone does not tell an operator what to do."""


_NOT_ALLOWED = f"NOPERM ({HOW_TO_ALLOW_PROOFS})"
"""The rights that a user of an older ACL lacks. Without a proof nothing is read: it might be somebody else's."""


class ProofNotAllowedError(ConnectionError):
    """The Redis user may not run the commands that prove replies."""


class MasterNotFoundError(ConnectionError):
    """A Sentinel answered, but watches no master of that name."""


class RedisConnection:
    """Connects on first use and again after a failure; every failure is `OnlineStoreUnavailableError`.

    It belongs to the event loop that first uses it.

    Args:
        address: of a server, or of the Sentinels that know it.
        connect_seconds: bound on finding the master, connecting, TLS and login together.
        stall_seconds: silence while replies are due, after which the server counts as hanging. The connection is
            dropped at its next use; callers that wait for a reply need their own deadline.

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
        self._pipe: RedisPipe | None = None
        self._connecting: asyncio.Task[RedisPipe] | None = None
        self._closed = False
        self._careful = False

    async def execute(self, commands: bytes, replies: int) -> list[Any]:
        """Send packed commands and return their replies as hiredis decodes them, `WRONGTYPE` errors included.

        The replies are proved to belong to these commands. If others came, the commands are sent once more on a new
        connection.

        May be cancelled at any time; late replies are then dropped.

        Raises:
            OnlineStoreUnavailableError: no connection, a broken one, or Redis answered a command with an error.
        """
        try:
            try:
                answers = await self._asked(commands, replies)
            except MixedUpRepliesError as mixed_up:
                self._careful = self._careful or isinstance(mixed_up, SuspiciousReplyError)
                answers = await self._asked(commands, replies)
        except FAILURES as error:
            raise _unavailable(error) from (None if isinstance(error, hiredis.ReplyError) else error)
        for answer in answers:
            if isinstance(answer, hiredis.ReplyError) and _code(answer) != _OF_ONE_KEY:
                raise _unavailable(answer) from None
        return answers

    async def _asked(self, commands: bytes, replies: int) -> list[Any]:
        pipe = await self._connected()
        try:
            return await pipe.ask(commands, replies)
        except hiredis.ReplyError as error:
            if _code(error) == _MASTER_LOST:
                pipe.abort(error)
            raise

    async def _connected(self) -> RedisPipe:
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
        # Not awaited itself: one request's deadline must not cancel the connecting that others wait for.
        await asyncio.wait((connecting,))
        if connecting.cancelled():
            raise ConnectionError("closed")
        return connecting.result()

    async def _connect(self) -> RedisPipe:
        async with asyncio.timeout(self._connect_seconds):
            host, port = await _locate(self._address)
            pipe = await open_pipe(host, port, self._tls, self._careful)
            try:
                await _log_in(pipe, self._address)
            except BaseException as error:
                pipe.abort(error if isinstance(error, Exception) else ConnectionError("cancelled"))
                raise
        self._pipe = pipe
        return pipe

    async def close(self) -> None:
        """Close the connection for good. Reads under way fail."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait((self._connecting,))
        if self._pipe is not None:
            self._pipe.abort(ConnectionError("closed"))


def _code(error: Exception) -> str:
    """The error without a user's name or a key: the first word of an error reply is its code."""
    if isinstance(error, ProofNotAllowedError):
        return _NOT_ALLOWED
    if not isinstance(error, hiredis.ReplyError):
        return type(error).__name__
    said = str(error)
    return _TOO_MANY if said.startswith(_TOO_MANY) else said.partition(" ")[0]


def _unavailable(error: Exception) -> OnlineStoreUnavailableError:
    logger.warning("online store unavailable: %s", _code(error))
    return OnlineStoreUnavailableError("the online store is not available")


def _look_at_the_outcome(task: "asyncio.Task[Any]") -> None:
    """Retrieve the exception. If every waiter has timed out, asyncio would log it as never retrieved."""
    if not task.cancelled():
        task.exception()


async def _log_in(pipe: RedisPipe, address: RedisAddress) -> None:
    steps = []
    if address.username or address.password:
        user = [address.username.encode()] if address.username else []
        steps.append(pack(b"AUTH", *user, address.password.encode()))
    if address.database:
        steps.append(pack(b"SELECT", str(address.database).encode()))
    outcomes = await asyncio.gather(*pipe.log_in(b"".join(steps), len(steps)), return_exceptions=True)
    *answers, proved = outcomes
    for outcome in answers:
        if isinstance(outcome, BaseException):
            raise outcome
        _first_error(outcome)
    if isinstance(proved, hiredis.ReplyError) and _code(proved) == "NOPERM":
        raise ProofNotAllowedError
    if isinstance(proved, BaseException):
        raise proved


def _first_error(answers: Sequence[Any]) -> None:
    for answer in answers:
        if isinstance(answer, hiredis.ReplyError):
            raise answer


async def _locate(address: RedisAddress) -> tuple[str, int]:
    """The address to connect to. Sentinels are asked each time, because a failover changes the master."""
    if address.kind == "redis":
        return address.hosts[0]
    # All at once: in turn, two dead Sentinels would use up the time for connecting.
    asking = [asyncio.create_task(_ask_sentinel(host, port, address.master)) for host, port in address.hosts]
    failure: Exception = ConnectionError("no Sentinel answered")
    try:
        for answer in asyncio.as_completed(asking):
            try:
                return await answer
            except FAILURES as error:
                failure = error
        raise failure
    finally:
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)


async def _ask_sentinel(host: str, port: int, master: str) -> tuple[str, int]:
    pipe = await open_pipe(host, port)
    try:
        answers = await pipe.send(pack(b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", master.encode()), 1)
        _first_error(answers)
        if answers[0] is None:
            raise MasterNotFoundError("the Sentinel knows no master of this name")
        try:
            found, at = answers[0]
            return found.decode(), int(at)
        except (AttributeError, TypeError, ValueError):
            raise ConnectionError("what answers is no Sentinel") from None
    finally:
        pipe.abort(ConnectionError("asked and answered"))


def refuse_unreadable_tls_files(address: RedisAddress) -> None:
    """Refuse TLS files on which OpenSSL would block, such as pipes and devices.

    Raises:
        StartupError: a file cannot be read or is too large; the first is named.
    """
    for name, path in address.tls_files.items():
        try:
            read_small_file(path, _LARGEST_TLS_FILE_BYTES)
        except FileNotFoundError:
            raise StartupError(f"REDIS_URL: {name}: there is no file {path}") from None
        except OSError as error:
            raise StartupError(f"REDIS_URL: {name}: {path} cannot be read: {error.strerror}") from None


def _tls_context(address: RedisAddress) -> ssl.SSLContext:
    refuse_unreadable_tls_files(address)
    files = address.tls_files
    try:
        context = ssl.create_default_context(cafile=files.get("ssl_ca_certs"))
        if "ssl_certfile" in files:
            # With any password, even an empty one, OpenSSL does not ask the terminal for one.
            context.load_cert_chain(files["ssl_certfile"], files.get("ssl_keyfile"), password="")
    except OSError as error:
        raise StartupError(f"REDIS_URL: {', '.join(files)}: {error}") from None
    return context
