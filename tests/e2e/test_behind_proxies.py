"""A service behind nginx and HAProxy: nobody gets a stranger's answer, whatever somebody without a key sends.

A proxy shares few connections to the service among all its clients. Whoever makes the service see another request than
the proxy does shifts the answers on such a connection.
"""

import asyncio
import itertools
import json
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.faults.load import read_answer
from tests.faults.replicas import Replica, needs_haproxy, proxied
from tests.loop import Loop
from tests.servers.nginx import needs_nginx, nginx
from tests.servers.serving import Service, serving

SECONDS = 3.0
VICTIMS, ATTACKERS = 8, 8
HEAD = "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@dataclass(frozen=True)
class Guarded:
    """A service that asks for a key, and the key of one client."""

    service: Service
    key: str


@pytest.fixture(scope="module")
def guarded(loop: Loop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    made = loop.make("api-key", "NAME=shop", f"KEYS_FILE={folder / 'keys'}")
    assert 0 == made.returncode, made.stderr
    # The deadline is not what is tested, and this machine may be busy.
    patient = {"SERVICE_API_KEYS_FILE": str(folder / "keys"), "SERVICE_DEADLINE_MS": "2500"}
    with serving(loop, folder / "service", **patient) as service:
        yield Guarded(service, made.stdout.strip())


@pytest.fixture
def behind_nginx(guarded: Guarded, tmp_path: Path) -> Iterator[int]:
    with nginx(tmp_path / "nginx", guarded.service.port) as port:
        yield port


@pytest.fixture
def behind_haproxy(loop: Loop, guarded: Guarded, tmp_path: Path) -> Iterator[int]:
    """Both of its replicas are the one service, so that the attacker shares connections with more victims."""
    replica = Replica("one", loop, tmp_path, {}, port=guarded.service.port)
    with proxied(replica, replica, tmp_path) as proxy:
        time.sleep(1)  # it asks a server for its health before it uses it
        yield proxy.port


def asking(body: str, *headers: str) -> bytes:
    return (HEAD + "".join(f"{line}\r\n" for line in headers) + f"Content-Length: {len(body)}\r\n\r\n{body}").encode()


def attacks() -> list[bytes]:
    """Requests whose bodies are requests.

    Empty lines before those are skipped by whoever takes them for requests, wherever the server's reads divide them. A
    small body comes in one packet with its head or not as it happens; nginx sends one of 24 kB apart from it.
    """
    offers = [
        ("Connection: Upgrade", "Upgrade: foo"),
        ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c"),
        ("Connection: Upgrade", "Upgrade: websocket"),
        ("Connection: keep-alive, Upgrade", "Upgrade: TLS/1.0"),
    ]
    smuggled = asking('{"customer_id": "00007"}', "X-Request-ID: smuggled").decode()
    # What a victim sends next on the connection becomes headers and body of these.
    swallowing = [f"{HEAD}X-Request-ID: smuggled\r\nX-Swallowed: ", "GET /model HTTP/1.1\r\nHost: a\r\nX-Swallowed: "]
    found = []
    for padding in ("\r\n" * 12_000, "\r\n" * 50_000, ""):
        for body in (padding + what for what in (*swallowing, smuggled * 3)):
            chunked = f"Transfer-Encoding: chunked\r\n\r\n{len(body):x}\r\n{body}\r\n0\r\n\r\n"
            found += [asking(body, *offer) for offer in offers]
            found += [(HEAD + "".join(f"{line}\r\n" for line in offer) + chunked).encode() for offer in offers]
            found += [
                asking(body, "Expect: 100-continue"),
                asking(body, "Transfer-Encoding: chunked"),
                asking(body, "Transfer-Encoding: identity, chunked"),
                asking(body, "Content-Length: 0"),
                asking(body, "Connection: Content-Length"),
                asking(body).replace(b"POST", b"GET", 1),
            ]
    return found


@dataclass
class Outcome:
    """What came of a load.

    own: answers of victims that were theirs.
    strangers: those with 200 that were not, and everything an attacker was answered with 200.
    failed: other answers of victims, and connections that broke.
    attacks, refused: attacks that were sent, and those that the service, rather than the proxy, refused.
    """

    own: int = 0
    strangers: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    attacks: int = 0
    refused: int = 0


async def under_attack(port: int, key: str) -> Outcome:
    """Victims ask for themselves, each over one connection, while attackers without a key send what they can."""
    outcome, over, until = Outcome(), asyncio.Event(), time.monotonic() + SECONDS

    async def victim(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        asked = 0
        while not over.is_set():
            customer, request_id = f"{42 + 469 * number:05d}", f"victim-{number}-{asked}"
            asked += 1
            body = json.dumps({"customer_id": customer})
            writer.write(asking(body, f"Authorization: Bearer {key}", f"X-Request-ID: {request_id}"))
            try:
                status, headers, raw = await asyncio.wait_for(read_answer(reader), 20)
            except EOFError as error:
                outcome.failed.append(str(error))
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                continue
            told = json.loads(raw) if raw.startswith(b"{") else {}
            if status == 200 and (told.get("customer_id"), headers.get("x-request-id")) == (customer, request_id):
                outcome.own += 1
            elif status == 200:
                outcome.strangers.append(f"{request_id} was told {status} {raw[:300]!r}")
            else:
                outcome.failed.append(f"{status} {raw[:300]!r}")
            await asyncio.sleep(0)
        writer.close()

    async def attacker(number: int) -> None:
        for attack in itertools.islice(itertools.cycle(attacks()), number, None):
            if time.monotonic() > until and outcome.attacks > len(attacks()):
                return
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            head, end, body = attack.partition(b"\r\n\r\n")
            told = b""
            with suppress(OSError, TimeoutError):
                writer.write(head + end)
                await asyncio.sleep(0.002)
                writer.write(body)
                async with asyncio.timeout(0.3):
                    told = await reader.read(65_536)
            outcome.attacks += 1
            outcome.refused += b"unauthenticated" in told
            if b"HTTP/1.1 200" in told or b"churn_probability" in told:
                outcome.strangers.append(f"an attacker was told {told[:300]!r}")
            writer.transport.abort()

    victims = [asyncio.create_task(victim(number)) for number in range(VICTIMS)]
    await asyncio.gather(*map(attacker, range(ATTACKERS)))
    over.set()
    await asyncio.gather(*victims)
    return outcome


def nobody_got_a_strangers_answer(port: int, key: str) -> None:
    outcome = asyncio.run(under_attack(port, key))

    assert [] == outcome.strangers[:3]
    assert [] == outcome.failed[:3]
    assert outcome.own > 200
    assert outcome.attacks > len(attacks())
    assert outcome.refused > len(attacks()) / 4


@needs_nginx
def test_behind_nginx_nobody_gets_a_strangers_answer(guarded: Guarded, behind_nginx: int) -> None:
    nobody_got_a_strangers_answer(behind_nginx, guarded.key)


@needs_haproxy
def test_behind_haproxy_nobody_gets_a_strangers_answer(guarded: Guarded, behind_haproxy: int) -> None:
    nobody_got_a_strangers_answer(behind_haproxy, guarded.key)


@needs_nginx
def test_of_a_thousand_requests_with_6_s_between_two_none_fails_behind_nginx(
    guarded: Guarded, behind_nginx: int
) -> None:
    """Where the service closed idle connections after 5 s, one that nginx had just taken up again was lost with it."""

    async def client(number: int) -> list[int]:
        await asyncio.sleep(number / 100)
        reader, writer = await asyncio.open_connection("127.0.0.1", behind_nginx)
        statuses = []
        for again in (True, False):
            writer.write(asking('{"customer_id": "00042"}', f"Authorization: Bearer {guarded.key}"))
            status, _, _ = await asyncio.wait_for(read_answer(reader), 20)
            statuses.append(status)
            if again:
                await asyncio.sleep(6)
        writer.close()
        return statuses

    async def clients() -> list[list[int]]:
        return await asyncio.gather(*map(client, range(500)))

    assert [[200, 200]] * 500 == asyncio.run(clients())
