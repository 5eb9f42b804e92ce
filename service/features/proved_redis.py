"""redis-py's connections, as Feast's SDK uses them, made to prove whose replies they hand over.

redis-py matches replies to commands by their order, and lends one connection to caller after caller: a reply too many
gives every later one somebody else's. Here each `HMGET` is asked as a transaction that ends with a number of its own,
as in `compiled/pipe.py`. It costs three short replies a customer, on a path that takes many times as long.
"""

import itertools
import secrets
from collections import deque
from collections.abc import Iterable
from typing import Any

import hiredis
from redis.asyncio.connection import Connection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, NoPermissionError, ResponseError

from service.features.compiled.reply_stream import LONGEST_REPLY_BYTES, WholeReplies

_NUMBERS = itertools.count(secrets.randbits(62))


class MixedUpRepliesError(RedisConnectionError):
    """A reply came that cannot be the one that is owed; the connection is closed."""


class ProofNotAllowedError(NoPermissionError):
    """The user may not run the commands that prove whose replies come."""


class _Packed(list[bytes]):
    """Commands as they are sent, and for each the number that proves its reply; None where nothing does."""

    def __init__(self, chunks: Iterable[bytes], proofs: Iterable[bytes | None]) -> None:
        super().__init__(chunks)
        self.proofs = list(proofs)


class _WholeReplies:
    """A stream that hands over whole replies, each looked at before hiredis sets memory aside for it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._held, self._whole = bytearray(), WholeReplies()

    async def read(self, size: int) -> bytes:
        """At least one reply; nothing at the end of the stream."""
        while True:
            data = await self._stream.read(size)
            if not data:
                return b""
            self._held += data
            try:
                end = self._whole.end(self._held)
            except hiredis.ProtocolError as error:
                raise InvalidResponse(str(error)) from None
            if end:
                whole = bytes(self._held[:end])
                del self._held[:end]
                return whole
            if len(self._held) > LONGEST_REPLY_BYTES:
                raise InvalidResponse("a reply without end")


class _Proved:
    """What is put before a class of connections."""

    def __init__(self, **kwargs: Any) -> None:
        self._proofs: deque[bytes | None] = deque()
        super().__init__(**kwargs)

    def set_parser(self, parser_class: Any) -> None:
        """See redis-py."""
        super().set_parser(_careful(parser_class))  # type: ignore[misc]

    def pack_command(self, *args: Any) -> list[bytes]:
        """See redis-py."""
        pack = super().pack_command  # type: ignore[misc]
        if args[0] not in ("HMGET", b"HMGET"):
            return _Packed(pack(*args), [None])
        proof = b"%016x" % next(_NUMBERS)
        return _Packed([*pack("MULTI"), *pack(*args), *pack("ECHO", proof), *pack("EXEC")], [proof])

    def pack_commands(self, commands: Iterable[Iterable[Any]]) -> list[bytes]:
        """See redis-py."""
        packed = [self.pack_command(*command) for command in commands]
        chunks = b"".join([chunk for each in packed for chunk in each])
        return _Packed([chunks], [proof for each in packed for proof in getattr(each, "proofs", [None])])

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """See redis-py."""
        connection: Any = super()
        if not self.is_connected:  # type: ignore[attr-defined]
            await self.connect_check_health(check_health=False)  # type: ignore[attr-defined]
        if check_health:
            await self.check_health()  # type: ignore[attr-defined]
        self._proofs += getattr(command, "proofs", [None])  # what connecting says and hears is done with by now
        await connection.send_packed_command(command, check_health=False)

    async def read_response(self, *args: Any, **options: Any) -> Any:
        """See redis-py."""
        read = super().read_response  # type: ignore[misc]
        proof = self._proofs.popleft() if self._proofs else None
        if proof is None:
            return await read(*args, **options)
        replies: list[Any] = []
        refused: ResponseError | None = None
        for _ in range(4):
            try:
                replies.append(await read(*args, **options))
            except ResponseError as error:
                if isinstance(error, NoPermissionError) and len(replies) != 1:
                    error = ProofNotAllowedError(*error.args)
                refused = refused or error
                replies.append(None)
        if refused is not None:
            raise refused
        answer = replies.pop()
        if replies != [b"OK", b"QUEUED", b"QUEUED"] or not (type(answer) is list and answer[1:] == [proof]):
            await self.disconnect(nowait=True)
            raise MixedUpRepliesError("replies to something else")
        if isinstance(answer[0], Exception):
            raise answer[0]
        return answer[0]

    async def disconnect(self, *args: Any, **options: Any) -> None:
        """See redis-py."""
        self._proofs.clear()
        await super().disconnect(*args, **options)  # type: ignore[misc]


def _careful(parser_class: Any) -> Any:
    """A parser of the same kind that hiredis sees whole replies through."""

    class Careful(parser_class):  # type: ignore[misc]
        def on_connect(self, connection: Any) -> None:
            super().on_connect(connection)
            self._stream: Any = _WholeReplies(self._stream)

    return Careful


def _proved(connection_class: Any) -> Any:
    if issubclass(connection_class, _Proved):
        return connection_class
    return type(f"Proved{connection_class.__name__}", (_Proved, connection_class), {})


def prove_replies(client: Any) -> None:
    """Have every connection that a client of redis-py makes from now on prove its replies.

    Args:
        client: of a server, of servers watched by Sentinels, or of a cluster; it has not connected yet.
    """
    pool = getattr(client, "connection_pool", None)
    if pool is not None:
        pool.connection_class = _proved(pool.connection_class)
        for sentinel in getattr(getattr(pool, "sentinel_manager", None), "sentinels", ()):
            prove_replies(sentinel)
        return
    made = _proved(client.connection_kwargs.get("connection_class", Connection))
    for options in (client.connection_kwargs, client.nodes_manager.connection_kwargs):
        options["connection_class"] = made
    for node in client.startup_nodes:
        node.connection_class = made
