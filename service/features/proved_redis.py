"""Makes redis-py's connections, which Feast's SDK uses, prove that each reply belongs to its command.

redis-py matches replies to commands by order and reuses one connection for many callers. One surplus reply would give
every later caller somebody else's data. Here each `HMGET` is sent as a transaction that ends with a unique number, as
in `compiled/pipe.py`. It costs three short replies per entity, on a path that takes many times as long.
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
    """A reply does not belong to the command that was sent; the connection is closed."""


class ProofNotAllowedError(NoPermissionError):
    """The Redis user may not run the commands that prove replies."""


class _Packed(list[bytes]):
    """Packed commands, and for each the number that proves its reply; None for those without a proof."""

    def __init__(self, chunks: Iterable[bytes], proofs: Iterable[bytes | None]) -> None:
        super().__init__(chunks)
        self.proofs = list(proofs)


class _WholeReplies:
    """A stream that returns whole replies, each checked before hiredis allocates memory for it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._held, self._whole = bytearray(), WholeReplies()

    async def read(self, size: int) -> bytes:
        """At least one reply; empty at the end of the stream."""
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
    """Mixin that is put before a class of connections."""

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
        self._proofs += getattr(command, "proofs", [None])  # all commands and replies of connecting are done by now
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
    """A subclass of a parser that passes only whole replies to hiredis."""

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
    """Make every future connection of a redis-py client prove its replies.

    Args:
        client: of a server, of a master behind Sentinels, or of a cluster; not connected yet.
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
