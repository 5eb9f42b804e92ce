"""Names of hosts are looked up; a resolver that hangs holds up nobody longer than it hangs."""

import asyncio
import socket
import threading

import pytest

from service.features.compiled.host_lookup import Addresses, HostAddresses

FIRST, SECOND = ("10.0.0.1",), ("10.0.0.2",)


class Resolver:
    """Answers what it is told to; without an answer it hangs, and look-ups that hang do so until they are freed."""

    def __init__(self) -> None:
        self.answer: Addresses | OSError | None = None
        self.asked = 0
        self.free = threading.Event()

    def __call__(self, _: str) -> Addresses:
        self.asked += 1
        answer = self.answer
        if answer is None:
            self.free.wait(30)
            raise socket.gaierror(socket.EAI_AGAIN, "nobody says")
        if isinstance(answer, OSError):
            raise answer
        return answer


@pytest.fixture
def resolver() -> Resolver:
    return Resolver()


@pytest.fixture
def now() -> list[float]:
    return [0.0]


@pytest.fixture
def hosts(resolver: Resolver, now: list[float]) -> HostAddresses:
    return HostAddresses(resolver, clock=lambda: now[0])


async def asked_and_given_up(hosts: HostAddresses) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await hosts.of("redis")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "fe80::1%lo"])
async def test_an_address_is_not_looked_up(hosts: HostAddresses, resolver: Resolver, address: str) -> None:
    assert (address,) == await hosts.of(address)
    assert 0 == resolver.asked


async def test_a_name_is_looked_up_whenever_it_is_wanted(hosts: HostAddresses, resolver: Resolver) -> None:
    resolver.answer = FIRST
    assert await hosts.of("redis") == FIRST
    resolver.answer = SECOND
    assert await hosts.of("redis") == SECOND


async def test_a_resolver_that_works_again_is_heard_though_earlier_look_ups_are_stuck(
    hosts: HostAddresses, resolver: Resolver, now: list[float]
) -> None:
    for _ in range(5):
        await asked_and_given_up(hosts)
        now[0] += 1

    resolver.answer = FIRST

    assert await hosts.of("redis") == FIRST
    assert not resolver.free.is_set()


async def test_what_is_known_from_before_is_used_while_the_resolver_hangs(
    hosts: HostAddresses, resolver: Resolver
) -> None:
    resolver.answer = FIRST
    await hosts.of("redis")
    resolver.answer = None

    async with asyncio.timeout(5):
        assert await hosts.of("redis") == FIRST


@pytest.mark.parametrize(("code", "known"), [(socket.EAI_AGAIN, True), (socket.EAI_NONAME, False)])
async def test_a_name_that_is_gone_is_gone_and_one_of_which_nobody_says_is_known(
    hosts: HostAddresses, resolver: Resolver, code: int, known: bool
) -> None:
    resolver.answer = FIRST
    await hosts.of("redis")
    resolver.answer = socket.gaierror(code, "no")

    if known:
        assert await hosts.of("redis") == FIRST
    else:
        with pytest.raises(socket.gaierror):
            await hosts.of("redis")


async def test_look_ups_that_are_stuck_are_bounded_and_asking_begins_one_at_a_time(
    hosts: HostAddresses, resolver: Resolver, now: list[float]
) -> None:
    await asyncio.gather(*(asked_and_given_up(hosts) for _ in range(50)))
    assert 1 == resolver.asked
    for _ in range(40):
        now[0] += 1
        await asked_and_given_up(hosts)
    assert 12 == resolver.asked

    resolver.free.set()
    resolver.answer = FIRST

    while True:
        try:
            assert await hosts.of("redis") == FIRST
        except socket.gaierror:
            continue
        break


async def test_many_names_together_are_bounded(hosts: HostAddresses, resolver: Resolver) -> None:
    asking = [asyncio.create_task(hosts.of(f"redis-{n}")) for n in range(100)]
    done, pending = await asyncio.wait(asking, timeout=0.5)

    assert 52 == len(done)
    assert all(isinstance(each.exception(), OSError) for each in done)
    for each in pending:
        each.cancel()
    resolver.free.set()


async def test_it_leaves_the_loops_own_threads_alone(
    hosts: HostAddresses, now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the loop's threads are for others")

    monkeypatch.setattr(asyncio.get_running_loop(), "run_in_executor", refuse)
    for _ in range(10):
        now[0] += 1
        await asked_and_given_up(hosts)
