"""One connection, and servers that die or hang; callers who leave; against real servers."""

import asyncio
import time

import pytest

from service.errors import OnlineStoreUnavailableError
from tests.integration.service.redis.commands import PING, client_id, clients, echoes, eventually, said
from tests.integration.service.redis.conftest import Connect
from tests.servers.redis_servers import RunningServer

# Broken connections


async def test_a_server_that_was_killed_is_unavailable_until_it_is_back(
    server: RunningServer, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    connection = connect(server.url)
    assert await said(connection, "up")

    server.kill()
    for _ in range(3):
        with pytest.raises(OnlineStoreUnavailableError):
            await connection.execute(PING, 1)
    server.restart()

    assert await said(connection, "up again")
    assert {"online store unavailable: ConnectionRefusedError"} >= set(caplog.messages[1:])


async def test_a_restart_between_two_requests_is_not_noticed(server: RunningServer, connect: Connect) -> None:
    connection = connect(server.url)
    assert await said(connection, "before")

    server.kill()
    server.restart()
    await asyncio.sleep(0.05)

    assert all(await asyncio.gather(*(said(connection, f"after-{caller}") for caller in range(20))))
    assert 1 == clients(server)


async def test_when_the_server_dies_everybody_who_waits_is_told_at_once(
    server: RunningServer, connect: Connect
) -> None:
    connection = connect(server.url)
    assert await said(connection, "up")
    server.stop_signal()
    waiting = [asyncio.create_task(connection.execute(*echoes(str(caller)))) for caller in range(20)]
    await asyncio.sleep(0.05)

    started = time.monotonic()
    server.kill()
    answers = await asyncio.gather(*waiting, return_exceptions=True)

    assert [OnlineStoreUnavailableError] * 20 == [type(answer) for answer in answers]
    assert time.monotonic() - started < 1


async def test_callers_while_connecting_wait_for_the_same_connection(server: RunningServer, connect: Connect) -> None:
    connection = connect(f"redis://127.0.0.1:{server.port}/1")
    server.stop_signal()  # it takes connections, but does not answer SELECT
    impatient = [asyncio.create_task(connection.execute(PING, 1)) for _ in range(5)]
    patient = [asyncio.create_task(said(connection, str(caller))) for caller in range(5)]
    await asyncio.sleep(0.05)

    for task in impatient:
        task.cancel()
    await asyncio.wait(impatient)
    server.cont_signal()

    assert [True] * 5 == await asyncio.gather(*patient)
    assert 1 == clients(server)


async def test_connecting_is_given_up_in_time_even_if_nobody_waits_for_it_any_more(
    server: RunningServer, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    connection = connect(f"redis://127.0.0.1:{server.port}/1", connect_seconds=0.2)
    server.stop_signal()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(connection.execute(PING, 1), 0.05)
    await asyncio.sleep(0.3)

    started = time.monotonic()
    with pytest.raises(OnlineStoreUnavailableError):
        await connection.execute(PING, 1)

    assert time.monotonic() - started < 1
    assert ["online store unavailable: TimeoutError"] == caplog.messages
    server.cont_signal()
    assert await said(connection, "back")
    await eventually(lambda: 1 == clients(server))


# Hanging servers and cancelled callers


async def test_a_caller_who_leaves_while_the_connection_breaks_leaves_nothing_behind(
    server: RunningServer, connect: Connect
) -> None:
    connection = connect(server.url)
    assert await said(connection, "up")
    server.stop_signal()
    waiting = asyncio.create_task(connection.execute(PING, 1))
    await asyncio.sleep(0.05)

    closing = asyncio.create_task(connection.close())
    asyncio.get_running_loop().call_soon(waiting.cancel)  # when close has failed the reply, before its caller knows

    with pytest.raises(asyncio.CancelledError):
        await waiting
    await closing


async def test_replies_to_callers_who_have_gone_are_thrown_away(server: RunningServer, connect: Connect) -> None:
    connection = connect(server.url)
    first = await client_id(connection)
    server.stop_signal()
    gone = [asyncio.create_task(connection.execute(*echoes("gone", "away"))) for _ in range(500)]
    await asyncio.sleep(0.05)
    for task in gone:
        task.cancel()
    await asyncio.wait(gone)
    waiting = asyncio.create_task(said(connection, "still", "here"))
    await asyncio.sleep(0.05)
    server.cont_signal()

    assert await waiting
    assert all(await asyncio.gather(*(said(connection, f"next-{caller}") for caller in range(20))))
    assert first == await client_id(connection)


async def test_callers_who_leave_at_any_moment_never_shift_the_replies_of_others(
    server: RunningServer, connect: Connect
) -> None:
    connection = connect(server.url)
    running: list[asyncio.Task[bool]] = []
    for number in range(2_000):
        running.append(asyncio.create_task(said(connection, f"a-{number}", f"b-{number}")))
        if number % 3 == 0:
            running[number // 2].cancel()
        if number % 5 == 0:
            await asyncio.sleep(0)

    answers = await asyncio.gather(*running, return_exceptions=True)

    stayed = [answer for answer in answers if not isinstance(answer, asyncio.CancelledError)]
    assert stayed
    assert all(answer is True for answer in stayed)


async def test_a_hanging_server_is_given_up_after_the_stall_and_used_again_when_it_answers(
    server: RunningServer, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    connection = connect(server.url, stall_seconds=0.2)
    first = await client_id(connection)
    server.stop_signal()
    without_deadline = asyncio.create_task(connection.execute(PING, 1))
    for _ in range(4):
        with pytest.raises((TimeoutError, OnlineStoreUnavailableError)):
            await asyncio.wait_for(connection.execute(PING, 1), 0.1)

    with pytest.raises(OnlineStoreUnavailableError):
        await without_deadline
    assert "online store unavailable: TimeoutError" in caplog.messages

    server.cont_signal()
    await asyncio.sleep(0.25)
    assert await said(connection, "back")
    assert first != await client_id(connection)
    await eventually(lambda: 1 == clients(server))
