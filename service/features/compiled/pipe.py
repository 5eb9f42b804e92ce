"""The socket side of a connection to Redis: sends commands at once and passes each reply to its caller.

Redis has no request ids. One surplus or missing reply would give every later caller somebody else's data. So commands
are sent as a transaction that ends with a unique number: Redis answers `+OK` and `+QUEUED`, then one reply with the
answers and that number. Nothing else is accepted.
"""

import asyncio
import functools
import itertools
import logging
import secrets
import ssl
from collections import deque
from typing import Any, cast

import hiredis

from service.features.compiled.host_lookup import HOSTS
from service.features.compiled.reply_stream import LONGEST_REPLY_BYTES, HugeReplyCheck, WholeReplies

logger = logging.getLogger(__name__)

FAILURES = (OSError, hiredis.HiredisError)
"""Errors of the network, TLS or Redis; any other error is a bug of ours."""

_LONGEST_FURTHER_BYTES = 256 * 1024
"""What each further command of a transaction may add to that; its answers come as one reply."""


_LETTERS = bytes.maketrans(b"0123456789", b"ghijklmnop")
"""Proofs have no digits: `HugeReplyCheck` has to look twice at what holds many in a row."""


def pack(*words: bytes) -> bytes:
    """One command in the Redis protocol."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


_BEGIN, _END = pack(b"MULTI"), pack(b"EXEC")


class MixedUpRepliesError(ConnectionError):
    """A reply does not belong to its command: nothing on this connection can be trusted any more."""


class SuspiciousReplyError(MixedUpRepliesError):
    """The data may be a huge reply, or a stored value that looks like one. A careful connection can tell."""


@functools.lru_cache(maxsize=256)
def _taken(replies: int) -> tuple[bytes, list[bytes]]:
    """The replies of an accepted transaction before the last, as bytes and as parsed."""
    return b"+OK\r\n" + b"+QUEUED\r\n" * (replies - 2), [b"OK", *[b"QUEUED"] * (replies - 2)]


class _Expected:
    """The replies due to one write, in the order in which Redis sends them.

    proof: the last answer of a transaction; None where the replies prove nothing.
    refused: the first error among the replies of a transaction, which then has no result.
    """

    __slots__ = ("future", "proof", "refused", "replies", "sent", "wanted")

    def __init__(
        self, future: "asyncio.Future[list[Any]]", wanted: int, sent: float, proof: bytes | None = None
    ) -> None:
        self.future, self.wanted, self.sent, self.proof = future, wanted, sent, proof
        self.refused: hiredis.ReplyError | None = None
        self.replies: list[Any] = []

    def take_beginning(self, data: bytes) -> int:
        """Take all replies before a transaction's last if `data` begins with them, and return their length in bytes.

        There is one per command, so comparing them at once costs less than parsing each.
        """
        if self.proof is None or self.replies:
            return 0
        as_sent, parsed = _taken(self.wanted)
        if not data.startswith(as_sent):
            return 0  # some are missing, or one differs
        self.replies += parsed
        return len(as_sent)

    def take(self, reply: Any) -> bool:
        """Take a reply; False if it cannot be one of these."""
        self.replies.append(reply)
        if self.proof is None or self.refused is not None:
            return True
        if isinstance(reply, hiredis.ReplyError):
            self.refused = reply
            return True
        place = len(self.replies)
        if place < self.wanted:
            return type(reply) is bytes and reply == (b"OK" if place == 1 else b"QUEUED")
        return type(reply) is list and len(reply) == self.wanted - 2 and reply[-1] == self.proof

    def answer(self) -> None:
        """Pass the replies to the caller, unless it has gone."""
        if self.future.done():
            return
        if self.refused is not None:
            self.future.set_exception(self.refused)
        else:
            self.future.set_result(self.replies if self.proof is None else self.replies[-1][:-1])


class RedisPipe(asyncio.Protocol):
    """The socket side: passes each reply to its caller.

    lost: why the connection has ended; None while it works.

    Args:
        careful: check every header before it is parsed, for a store whose values look like huge replies.
    """

    def __init__(self, careful: bool = False) -> None:
        self.lost: Exception | None = None
        self._loop = asyncio.get_running_loop()
        self._owed: deque[_Expected] = deque()
        self._reader = hiredis.Reader()
        self._heard = 0.0
        self._unfinished_bytes = 0
        self._between = True  # nothing of the next reply has come; of an array the reader does not tell
        self._check = HugeReplyCheck()
        self._held = bytearray() if careful else None  # what is not yet known to be whole
        self._whole = WholeReplies()
        self._numbers = itertools.count(secrets.randbits(62))  # no two connections use the same numbers
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self.lost is not None:
            return  # data that was under way when the connection was dropped
        self._heard = self._loop.time()
        self._unfinished_bytes += len(data)
        try:
            if self._held is not None:
                self._held += data
                end = self._whole.end(self._held)
                data = bytes(self._held[:end])
                del self._held[:end]
            elif self._check.suspects(data):
                raise SuspiciousReplyError("a huge reply, or a value that looks like one")
            begun = self._owed[0].take_beginning(data) if self._owed and self._between else 0
            self._between = self._between and not data
            self._reader.feed(data, begun)
            while (reply := self._reader.gets()) is not False:
                self._unfinished_bytes = 0
                if not self._owed:
                    # Redis sends an unasked reply only before it hangs up. Kept for the next command, it would shift
                    # every answer by one, and one entity would get another's features.
                    unasked = MixedUpRepliesError("unasked reply")
                    self.abort(reply if isinstance(reply, hiredis.ReplyError) else unasked)
                    return
                first = self._owed[0]
                if not first.take(reply):
                    raise MixedUpRepliesError("a reply to something else")
                if len(first.replies) == first.wanted:
                    self._owed.popleft()
                    self._between = not self._reader.has_data()
                    first.answer()
        except MixedUpRepliesError as mixed_up:
            logger.warning("online store: %s; what is owed is read again on another connection", mixed_up)
            self.abort(mixed_up)
        except Exception as error:  # hiredis fails in many ways on data that is not Redis'
            self.abort(error if isinstance(error, FAILURES) else hiredis.ProtocolError(type(error).__name__))
        further = self._owed[0].wanted if self._owed else 0
        if self._unfinished_bytes > LONGEST_REPLY_BYTES + further * _LONGEST_FURTHER_BYTES:
            self.abort(ConnectionError("a reply without end"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc if isinstance(exc, FAILURES) else ConnectionError("closed by the server"))

    def send(self, data: bytes, replies: int) -> "asyncio.Future[list[Any]]":
        """Write commands. The future ends with `replies` ≥ 1 replies, or fails with the connection.

        Nothing proves that the replies belong to these commands.
        """
        (future,) = self._write((data, replies, None))
        return future

    def ask(self, commands: bytes, answers: int) -> "asyncio.Future[list[Any]]":
        """Write commands as one transaction. The future ends with their proved answers.

        It fails with the error of the first command that Redis refuses, with `MixedUpRepliesError` if any other reply
        came, and with the connection.
        """
        (future,) = self._write(self._transaction(commands, answers))
        return future

    def log_in(self, commands: bytes, replies: int) -> "list[asyncio.Future[list[Any]]]":
        """As `send`, with an empty transaction after it, which proves that only the replies to the commands came.

        All in one write, because a server that is full hangs up on the second.
        """
        first = [(commands, replies, None)] if replies else []
        return self._write(*first, self._transaction(b"", 0))

    def _transaction(self, commands: bytes, answers: int) -> tuple[bytes, int, bytes]:
        proof = (b"%016x" % next(self._numbers)).translate(_LETTERS)
        return b"%b%b%b%b" % (_BEGIN, commands, pack(b"ECHO", proof), _END), answers + 3, proof

    def _write(self, *asked: tuple[bytes, int, bytes | None]) -> "list[asyncio.Future[list[Any]]]":
        if self.lost is not None:
            raise self.lost.with_traceback(None)
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError("a connection to Redis belongs to the event loop that made it")
        now = self._loop.time()
        owed = [_Expected(self._loop.create_future(), replies, now, proof) for _, replies, proof in asked]
        self._owed += owed
        self._transport.write(b"".join([data for data, _, _ in asked]))
        return [each.future for each in owed]

    def silent_seconds(self) -> float:
        """How long nothing has come while replies are due. A slow server that answers is not silent."""
        return self._loop.time() - max(self._owed[0].sent, self._heard) if self._owed else 0.0

    def abort(self, reason: Exception) -> None:
        """Hang up now. Every waiting caller gets `reason`."""
        self._fail(reason)
        self._transport.abort()

    def _fail(self, reason: Exception) -> None:
        # The server's last words, e.g. that it is full, tell more than that it hung up.
        if self._owed and self._owed[0].replies and isinstance(self._owed[0].replies[-1], hiredis.ReplyError):
            reason = self._owed[0].replies[-1]
        self.lost = self.lost or reason
        while self._owed:
            future = self._owed.popleft().future
            if not future.done():  # a future whose caller has gone is cancelled; the others are awaited
                future.set_exception(reason)


async def open_pipe(host: str, port: int, tls: ssl.SSLContext | None = None, careful: bool = False) -> RedisPipe:
    """Connect, with TLS if a context is given; nothing is sent yet. Args as of `RedisPipe`."""
    loop = asyncio.get_running_loop()
    failed: OSError = ConnectionError(f"{host} has no address")
    for address in await HOSTS.of(host):
        try:
            _, pipe = await loop.create_connection(
                lambda: RedisPipe(careful), address, port, ssl=tls, server_hostname=host if tls else None
            )
        except OSError as error:
            failed = error
        else:
            return pipe
    raise failed
