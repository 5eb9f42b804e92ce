"""One pipelined connection to Redis: many requests share it, none waits for another's answer.

redis-py gives each request a connection of its own and awaits every reply; with this, commands of all
requests go out as they come and one `feed` of the C parser serves them all. docs/adr/0008 has the figures.
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
"""Code of a reply after which the same connection would go on failing: the master is elsewhere now, look it up anew."""

_OF_ONE_KEY = "WRONGTYPE"
"""Something else is stored under one key: left among the replies, because it says nothing of the others."""

_LARGEST_TLS_FILE_BYTES = 16 * 1024 * 1024

_TOO_MANY = "ERR max number of clients"
"""A reply whose code alone would not tell an operator what to do."""


_NOT_ALLOWED = f"NOPERM ({HOW_TO_ALLOW_PROOFS})"
"""What the user of an older ACL lacks. Without a proof nothing is read: it might be somebody else's."""


class ProofNotAllowedError(ConnectionError):
    """The user may not run the commands that prove whose replies come."""


class MasterNotFoundError(ConnectionError):
    """A Sentinel answered, but watches no master of that name."""


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
        self._pipe: RedisPipe | None = None
        self._connecting: asyncio.Task[RedisPipe] | None = None
        self._closed = False
        self._careful = False

    async def execute(self, commands: bytes, replies: int) -> list[Any]:
        """Send packed commands and give their replies, as hiredis decodes them; `WRONGTYPE` errors are among them.

        The replies are proved to be those of these commands. Where others came, the commands are sent once more, on a
        connection of which nothing is known yet.

        May be cancelled at any time; the replies are then thrown away when they come.

        Raises:
            OnlineStoreUnavailableError: no connection, it broke, or Redis answered a command with an error.
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
        # Not awaited itself: one request's deadline must not undo the connecting that others wait for.
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
        """Close the connection for good; what is still owed fails."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait((self._connecting,))
        if self._pipe is not None:
            self._pipe.abort(ConnectionError("closed"))


def _code(error: Exception) -> str:
    """What went wrong, in words that hold neither a user's name nor a key: the first of a reply is its code."""
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
    """Every waiter may have run into its deadline; asyncio would then log the exception as never retrieved."""
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
    """OpenSSL would wait for what a pipe says, or read a device for ever.

    Raises:
        StartupError: the first that is no readable file of a sensible size.
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
            # With a password, even an empty one, OpenSSL does not ask the terminal for that of an encrypted key.
            context.load_cert_chain(files["ssl_certfile"], files.get("ssl_keyfile"), password="")
    except OSError as error:
        raise StartupError(f"REDIS_URL: {', '.join(files)}: {error}") from None
    return context
