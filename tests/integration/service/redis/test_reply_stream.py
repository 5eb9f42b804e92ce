"""Whatever becomes of the replies between Redis and the connection, nobody gets another customer's answer.

The replies are those of a real server; a transport in memory spoils them on their way, tens of thousands of times.
"""

import asyncio
import logging
import random
import socket
import time
from collections.abc import Iterator, Sequence
from typing import Any

import hiredis
import pytest

from service.features.compiled.pipe import FAILURES, RedisPipe, pack
from service.features.compiled.reply_stream import HugeReplyCheck, WholeReplies, whole_replies
from tests.servers.redis_servers import RunningServer

FIELDS = (b"a", b"b", b"c")
CUSTOMERS = 12
CASES = 60_000


class InMemory(asyncio.Transport):
    """Keeps what is written; the test answers."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def abort(self) -> None:
        pass


def row(customer: int) -> list[bytes | None]:
    """What is stored; some fields are null, and one value looks like a reply."""
    return [b"%d" % customer, None if customer % 3 else b"+OK\r\n*2\r\n$1\r\n%d" % customer, b"\x29%08d" % customer]


def asked(customers: Sequence[int]) -> bytes:
    return b"".join(pack(b"HMGET", b"customer-%d" % customer, *FIELDS) for customer in customers)


def ask_all(pipe: RedisPipe, requests: Sequence[Sequence[int]]) -> "list[asyncio.Future[list[Any]]]":
    return [pipe.ask(asked(request), len(request)) for request in requests]


def replies_of(stream: bytes) -> list[bytes]:
    """The stream cut into its replies."""
    found = []
    while stream:
        end = next(end for end in range(1, len(stream) + 1) if whole_replies(stream[:end]) == end)
        found.append(stream[:end])
        stream = stream[end:]
    return found


def answered_by(server: RunningServer, commands: bytes, replies: int) -> bytes:
    """What a real server says."""
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(commands)
        said, reader, whole = b"", hiredis.Reader(), 0
        while whole < replies:
            data = connection.recv(65536)
            said += data
            reader.feed(data)
            while reader.gets() is not False:
                whole += 1
    return said


STRAY = [
    b"+OK\r\n", b"+QUEUED\r\n", b":1\r\n", b"$-1\r\n", b"*-1\r\n", b"*0\r\n", b"-ERR stray\r\n", b"_\r\n", b"#t\r\n",
    b"*3\r\n$1\r\n7\r\n$-1\r\n$1\r\n7\r\n", b">2\r\n+invalidate\r\n*1\r\n$1\r\nx\r\n", b"|1\r\n+ttl\r\n:1\r\n",
    b",1.5\r\n", b"%1\r\n+a\r\n+b\r\n", b"~1\r\n+a\r\n", b"(12345678901234567890\r\n", b"=5\r\ntxt:x\r\n",
]  # fmt: skip


def spoilt(replies: list[bytes], chance: random.Random) -> list[bytes]:
    """Replies repeated, dropped, swapped, inserted, cut or altered: once, or several in one stream."""
    replies = list(replies)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        at, other = chance.randrange(len(replies)), chance.randrange(len(replies))
        match chance.randrange(7):
            case 0:
                replies.insert(other, replies[at])
            case 1:
                del replies[at]
            case 2:
                replies[at], replies[other] = replies[other], replies[at]
            case 3:
                replies.insert(at, chance.choice(STRAY))
            case 4:
                replies[at] = replies[at][: chance.randrange(len(replies[at]) or 1)]
            case 5:
                replies.insert(other, replies.pop(at))
            case _:
                replies[at] = replies[other]
        if not replies:
            break
    return replies


def in_pieces(stream: bytes, chance: random.Random) -> Iterator[bytes]:
    """One piece, single bytes, or a few of any length."""
    cuts = sorted(chance.randrange(len(stream) + 1) for _ in range(chance.choice((0, 1, 3))))
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        if start < end:
            yield stream[start:end]


def pipe_in_memory() -> tuple[RedisPipe, InMemory]:
    pipe, transport = RedisPipe(), InMemory()
    pipe.connection_made(transport)
    return pipe, transport


class Recorded:
    """Requests, and what a real server said to them; the proofs are filled in for each connection anew."""

    def __init__(self, server: RunningServer, requests: Sequence[Sequence[int]]) -> None:
        self.requests = requests
        pipe, transport = pipe_in_memory()
        waiting = ask_all(pipe, requests)
        self._proofs = proofs_of(transport)
        replies = sum(len(request) + 3 for request in requests)
        self._replies = replies_of(answered_by(server, b"".join(transport.written), replies))
        pipe.abort(ConnectionError("recorded"))
        for future in waiting:
            future.exception()

    def replies(self, transport: InMemory) -> list[bytes]:
        proofs = dict(zip(self._proofs, proofs_of(transport), strict=True))
        return [self._with(reply, proofs) for reply in self._replies]

    @staticmethod
    def _with(reply: bytes, proofs: dict[bytes, bytes]) -> bytes:
        if not reply.startswith(b"*"):
            return reply
        return reply[:-18] + proofs[reply[-18:-2]] + b"\r\n"


def proofs_of(transport: InMemory) -> list[bytes]:
    return [data.rpartition(b"$4\r\nECHO\r\n$16\r\n")[2][:16] for data in transport.written]


def own_answers(waiting: "Sequence[asyncio.Future[list[Any]]]", requests: Sequence[Sequence[int]]) -> int:
    """How many were answered, each with what is stored of those whom it asked for; the others failed or wait."""
    right = 0
    for future, request in zip(waiting, requests, strict=True):
        if not future.done():
            future.cancel()
        elif isinstance(error := future.exception(), BaseException):
            assert isinstance(error, FAILURES), error
        else:
            assert [row(customer) for customer in request] == future.result()
            right += 1
    return right


@pytest.fixture
def filled(server: RunningServer) -> RunningServer:
    for customer in range(CUSTOMERS):
        for field, value in zip(FIELDS, row(customer), strict=True):
            if value is not None:
                hset(server, customer, field, value)
    return server


def hset(server: RunningServer, customer: int, field: bytes, value: bytes) -> None:
    answered_by(server, pack(b"HSET", b"customer-%d" % customer, field, value), 1)


async def test_whatever_becomes_of_the_replies_nobody_gets_another_customers(
    filled: RunningServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)  # tens of thousands of warnings
    chance = random.Random(12)
    recorded = [
        Recorded(filled, [[chance.randrange(CUSTOMERS) for _ in range(size)] for size in sizes])
        for sizes in ((1, 1, 1), (1, 2, 1), (5, 1), (1,), (12,), (3, 3, 3, 1))
    ]
    right = failed = 0
    for _ in range(CASES):
        record = chance.choice(recorded)
        pipe, transport = pipe_in_memory()
        waiting = ask_all(pipe, record.requests)
        stream = b"".join(spoilt(record.replies(transport), chance))
        for piece in in_pieces(stream, chance):
            pipe.data_received(piece)
        if chance.random() < 0.5:
            pipe.connection_lost(None)
        answered = own_answers(waiting, record.requests)
        right, failed = right + answered, failed + len(record.requests) - answered

    assert right > CASES // 20, "too few were answered to say anything"
    assert failed > CASES // 2, "too few were spoilt to say anything"


async def test_replies_that_are_whole_are_handed_over_wherever_they_are_cut(filled: RunningServer) -> None:
    record = Recorded(filled, [[1, 2, 3], [4]])
    length = len(b"".join(record.replies(_asked_again(record))))
    for cut in range(length + 1):
        pipe, transport = pipe_in_memory()
        waiting = ask_all(pipe, record.requests)
        stream = b"".join(record.replies(transport))
        pipe.data_received(stream[:cut])
        pipe.data_received(stream[cut:])

        assert 2 == own_answers(waiting, record.requests)


def _asked_again(record: Recorded) -> InMemory:
    pipe, transport = pipe_in_memory()
    ask_all(pipe, record.requests)
    return transport


async def test_a_reply_dropped_in_one_request_and_one_too_many_in_the_next_are_noticed_at_once(
    filled: RunningServer,
) -> None:
    record = Recorded(filled, [[1], [2], [3]])
    pipe, transport = pipe_in_memory()
    waiting = ask_all(pipe, record.requests)
    first, second, third = (record.replies(transport)[start : start + 4] for start in (0, 4, 8))

    pipe.data_received(b"".join([*first[:3], *second, second[3], *third]))

    assert 0 == own_answers(waiting, record.requests)
    assert pipe.lost is not None


@pytest.mark.parametrize("kind", [b"*", b"%", b"~", b">", b"|"])
@pytest.mark.parametrize("before", [b"", b"*2\r\n", b"+OK\r\n*2\r\n$1\r\nx\r\n", b"x" * 5000 + b"\r\n"])
def test_a_huge_length_is_suspected_however_it_is_split(kind: bytes, before: bytes) -> None:
    stream = before + kind + b"2147483647\r\n"
    for cut in range(len(stream) - 20 if before else 0, len(stream)):
        check = HugeReplyCheck()
        assert any([check.suspects(stream[:cut]), check.suspects(stream[cut:])])


@pytest.mark.parametrize("intruding", [b"*2\r\n", b"*2\r\n$1\r\na\r\n", b"*1\r\n"])
@pytest.mark.parametrize("cut", [0, 4])
async def test_an_array_that_begins_in_a_piece_of_its_own_is_noticed_with_the_next_reply(
    filled: RunningServer, intruding: bytes, cut: int
) -> None:
    """The parser waits for its elements then, and takes what follows for them."""
    record = Recorded(filled, [[1], [2]])
    pipe, transport = pipe_in_memory()
    waiting = ask_all(pipe, record.requests)
    replies = record.replies(transport)

    pipe.data_received(b"".join([*replies[:cut], intruding]))
    pipe.data_received(b"".join(replies[cut:]))

    assert cut // 4 == own_answers(waiting, record.requests)
    assert pipe.lost is not None


@pytest.mark.parametrize("before", range(4))
@pytest.mark.parametrize("after", range(4))
def test_a_header_of_six_digits_in_much_data_is_suspected_wherever_it_lies(before: int, after: int) -> None:
    assert HugeReplyCheck().suspects(b"x" * (5000 + before) + b"\r\n*100000" + b"\r\n" + b"x" * after)
    assert not HugeReplyCheck().suspects(b"x" * (5000 + before) + b"\r\n*99999" + b"\r\n" + b"x" * after)


def _huge(kind: bytes) -> bytes:
    return kind + b"2147483647\r\n"


@pytest.mark.parametrize(
    "stream", [*map(_huge, (b"*", b"%", b"~", b">", b"|")), b"*1\r\n*100000\r\n", b"?\r\n", b"*x\r\n"]
)
def test_a_careful_look_refuses_what_no_reply_of_ours_is(stream: bytes) -> None:
    with pytest.raises(hiredis.ProtocolError):
        whole_replies(b"+OK\r\n" + stream)


@pytest.mark.parametrize(
    ("stream", "whole"),
    [
        (b"", 0),
        (b"+O", 0),
        (b"+OK\r\n$3\r\nab", 5),
        (b"$13\r\n\n*2147483647\r\n", 0),
        (b"$12\r\n\n*2147483647\r\n", 19),
        (b"*2\r\n$-1\r\n*1\r\n:1\r\n+", 17),
        (b"%1\r\n+a\r\n*0\r\n", 12),
        (b"|1\r\n+a\r\n+b\r\n", 0),
        (b"|1\r\n+a\r\n+b\r\n:1\r\n", 16),
    ],
)
def test_a_careful_look_finds_where_the_last_whole_reply_ends(stream: bytes, whole: int) -> None:
    assert whole == whole_replies(stream)
    for cut in range(len(stream)):
        found = WholeReplies()
        first = found.end(stream[:cut])
        assert whole == first + found.end(stream[first:])


async def test_a_careful_look_at_a_reply_in_many_pieces_takes_no_longer_than_at_one_in_one() -> None:
    stream = b"*99999\r\n" + (b"*99999\r\n" + b":1\r\n" * 99_999) * 4

    def seconds(size: int) -> float:
        pipe = RedisPipe(careful=True)
        pipe.connection_made(InMemory())
        started = time.thread_time()
        for start in range(0, len(stream), size):
            pipe.data_received(stream[start : start + size])
        assert pipe.lost is None
        return time.thread_time() - started

    assert seconds(32_768) < 4 * seconds(len(stream))


async def test_a_stored_text_that_looks_like_a_huge_reply_is_read_all_the_same(
    filled: RunningServer, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    text = b"note\n*2147483647\r\n" + b"1" * 5000
    hset(filled, 1, b"b", text)
    connection = connect(filled.url)

    for _ in range(3):
        answers = await asyncio.gather(*(connection.execute(asked([customer]), 1) for customer in range(4)))

        assert text == answers[1][0][1]
        assert [b"%d" % customer for customer in range(4)] == [answer[0][0] for answer in answers]
    assert 1 == sum("looks like one" in message for message in caplog.messages)
