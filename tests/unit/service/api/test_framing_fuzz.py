"""Made-up connections against a strict reader (h11): the same requests up to the first violation, and none after."""

import random
import re
from collections.abc import Iterable

import h11

from tests.unit.service.api.connections import Asked, Connection
from tests.unit.service.api.test_framing import BAD_CHUNKS, CHUNKED, HOST, OFFERS, REFUSED, SMUGGLED, chunks

CONNECTIONS = 6_000
DAMAGED = 12_000
BYTES = [
    b"\r",
    b"\n",
    b"\r\n",
    b" ",
    b"\t",
    b":",
    b",",
    b"0",
    b"1",
    b"f",
    b"\0",
    b"chunked",
    b"Upgrade",
    b";a=b",
    SMUGGLED,
]
OTHER_HEADERS = [b"Accept: */*\r\n", b"X-Long: %s\r\n" % (b"a" * 300), b"Expect: 100-continue\r\n", b"TE: trailers\r\n"]


def strictly_read(sent: bytes) -> list[Asked]:
    """The whole requests in this, as far as it is one request after the other."""
    asked: list[Asked] = []
    while sent:
        reader = h11.Connection(h11.SERVER, max_incomplete_event_size=1_000_000)
        reader.receive_data(_as_everybody_reads_it(sent))
        try:
            head, body = reader.next_event(), b""
            while isinstance(event := reader.next_event(), h11.Data):
                body += bytes(event.data)
        except h11.RemoteProtocolError:
            return asked
        if not isinstance(head, h11.Request) or not isinstance(event, h11.EndOfMessage):
            return asked
        asked.append((head.method.decode(), head.target.decode(), body))
        reader.send(h11.Response(status_code=200, headers=[(b"content-length", b"0")]))
        reader.send(h11.EndOfMessage())
        if reader.our_state is not h11.DONE:
            return asked
        sent, _ = reader.trailing_data
    return asked


def _as_everybody_reads_it(sent: bytes) -> bytes:
    """Without empty lines before a request, and more than one space in its first line, which some readers refuse."""
    line, end, rest = sent.lstrip(b"\r\n").partition(b"\r\n")
    return re.sub(rb" +", b" ", line) + end + rest


def request(chance: random.Random, number: int) -> bytes:
    """A request that everybody reads alike; its body may look like another one."""
    method = chance.choice([b"GET", b"POST", b"POST", b"HEAD"])
    body = chance.choice([b"", b"abc", SMUGGLED, b"0\r\n\r\n" + SMUGGLED, b"\r\n\r\n", b"x" * chance.randint(1, 2000)])
    headers = [HOST, *chance.sample(OTHER_HEADERS, chance.randint(0, 2))]
    if chance.random() < 0.4:
        headers.append(chance.choice(OFFERS))
    if chance.random() < 0.5:
        headers.append(CHUNKED)
        cut = chance.randint(0, len(body))
        body = chunks(*(part for part in (body[:cut], body[cut:]) if part))
        if chance.random() < 0.3:
            body = body[:-2] + b"X-Trailer: a\r\nAuthorization: x\r\n\r\n"
    elif body or method == b"POST":
        headers.append(b"Content-Length: %d\r\n" % len(body))
    chance.shuffle(headers)
    return b"%s /%d HTTP/1.1\r\n%s\r\n%s" % (method, number, b"".join(headers), body)


def violation(chance: random.Random) -> bytes:
    """What must not be read; the body that follows some of it looks like a request."""
    bad = chance.choice([*REFUSED.values(), post_with(chance.choice([*BAD_CHUNKS.values()]))])
    return bad.replace(HOST, HOST + chance.choice(OFFERS), 1) if chance.random() < 0.3 else bad


def post_with(body: bytes) -> bytes:
    return b"POST /bad HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n" + body


def pieces(chance: random.Random, sent: bytes) -> list[bytes]:
    cuts = sorted(chance.sample(range(1, len(sent)), min(chance.randint(0, 6), len(sent) - 1)))
    return [sent[start:end] for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True)]


async def read(sent: Iterable[bytes], turns: int) -> tuple[list[Asked], list[int], bool]:
    connection = Connection()
    await connection.sends(sent, turns)
    closed, statuses = connection.wire.is_closing(), [status for status in connection.statuses if status != 100]
    connection.end()
    return connection.recorder.asked, statuses, closed


async def test_the_application_sees_what_a_strict_reader_sees_up_to_the_first_violation() -> None:
    chance = random.Random(12)
    violations = 0
    for _ in range(CONNECTIONS):
        good = b"".join(request(chance, number) for number in range(chance.randint(0, 3)))
        bad = violation(chance) if chance.random() < 0.6 else b""
        sent = good + bad + (SMUGGLED * chance.randint(0, 2) if bad else b"")
        expected = strictly_read(good)
        if not sent:
            continue

        asked, statuses, closed = await read(pieces(chance, sent), chance.choice([0, 1, 5]))

        assert expected == asked, sent
        assert [200] * len(expected) + [400] * bool(bad) == statuses, sent
        assert bool(bad) == closed, sent
        violations += bool(bad)

    assert violations > CONNECTIONS // 2


async def test_of_a_damaged_connection_nothing_is_read_that_a_strict_reader_does_not_read() -> None:
    """What h11 takes and we refuse is a loss for whoever sends it; the reverse would be a way in."""
    chance = random.Random(21)
    refused = 0
    for _ in range(DAMAGED):
        damaged = bytearray(b"".join(request(chance, number) for number in range(2)))
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(damaged))
            damaged[at : at + chance.randint(0, 2)] = chance.choice(BYTES)
        sent = bytes(damaged)

        asked, _, closed = await read(pieces(chance, sent), chance.choice([0, 1, 5]))
        whole, *_ = await read([sent], 1)

        assert asked == whole, sent
        assert strictly_read(sent)[: len(asked)] == asked, sent
        refused += closed

    assert refused > DAMAGED // 4
