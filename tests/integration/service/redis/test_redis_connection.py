"""One connection, many callers, and everything a Redis server may do to them; against real servers."""

import asyncio
import gc
import logging
import socket
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from contract.redis_address import RedisAddress
from service.errors import OnlineStoreUnavailableError
from service.redis_connection import RedisConnection
from service.redis_pipe import pack
from tests.integration.service.redis.conftest import Connect
from tests.redis_servers import RunningServer, free_port, valkey

PING = pack(b"PING")


def echoes(*words: str) -> tuple[bytes, int]:
    return b"".join(pack(b"ECHO", word.encode()) for word in words), len(words)


async def said(connection: RedisConnection, *words: str) -> bool:
    """True if the server repeats these words to this caller."""
    return [word.encode() for word in words] == await connection.execute(*echoes(*words))


async def client_id(connection: RedisConnection) -> int:
    (number,) = await connection.execute(pack(b"CLIENT", b"ID"), 1)
    return int(number)


def clients(server: RunningServer) -> int:
    """Connections that the server has, besides the one that asks."""
    return len(server.command("CLIENT LIST")) - 1


async def eventually(holds: Callable[[], bool], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


# Many callers


async def test_many_callers_share_one_connection_and_each_gets_its_own_replies(
    server: RunningServer, connect: Connect
) -> None:
    connection = connect(server.url)

    answers = await asyncio.gather(
        *(said(connection, *(f"{caller}-{word}" for word in range(1 + caller % 7))) for caller in range(300))
    )

    assert all(answers)
    assert 1 == clients(server)


async def test_a_big_reply_arrives_whole_and_in_its_place(server: RunningServer, connect: Connect) -> None:
    connection = connect(server.url)
    big = bytes(range(256)) * 40_000
    await connection.execute(pack(b"SET", b"big", big), 1)

    before, (reply,), after = await asyncio.gather(
        said(connection, "before"), connection.execute(pack(b"GET", b"big"), 1), said(connection, "after")
    )

    assert before
    assert big == reply
    assert after


async def test_commands_longer_than_the_sockets_buffers_go_out_whole(server: RunningServer, connect: Connect) -> None:
    connection = connect(server.url)

    answers = await asyncio.gather(*(said(connection, str(caller) * 3_000_000) for caller in range(5)))

    assert all(answers)


async def test_a_connection_of_another_event_loop_is_refused(server: RunningServer) -> None:
    connection = RedisConnection(RedisAddress.of(server.url), 2, 30)
    assert await said(connection, "here")

    with pytest.raises(RuntimeError, match="event loop"):
        await asyncio.to_thread(asyncio.run, said(connection, "there"))

    assert await said(connection, "still here")
    await connection.close()


# Login


@pytest.mark.parametrize("credentials", ["", ":pass%20word%2F%25@", "serving:p%40ss@", "open@"])
async def test_it_logs_in_as_whom_the_url_says_and_selects_the_database(
    server: RunningServer, connect: Connect, credentials: str
) -> None:
    server.command("ACL", "SETUSER", "serving", "on", ">p@ss", "+@all", "~*")
    server.command("ACL", "SETUSER", "open", "on", "nopass", "+@all", "~*")
    if credentials.startswith(":"):
        server.command("CONFIG", "SET", "requirepass", "pass word/%")

    connection = connect(f"redis://{credentials}127.0.0.1:{server.port}/3")
    whoami, _ = await connection.execute(pack(b"ACL", b"WHOAMI") + pack(b"SET", b"key", b"value"), 2)

    assert (credentials.partition(":")[0].strip("@") or "default").encode() == whoami
    assert "db=3" in str((await connection.execute(pack(b"CLIENT", b"INFO"), 1))[0])


@pytest.mark.parametrize("database", ["", "/1"])
@pytest.mark.parametrize(
    ("credentials", "code"),
    [
        (":hunter2@", "WRONGPASS"),
        ("serving:hunter2@", "WRONGPASS"),
        ("serving@", "WRONGPASS"),
        ("hunter2:secret@", "WRONGPASS"),
        ("", "NOAUTH"),
        ("limited:secret@", "NOPERM"),
    ],
)
async def test_a_refused_login_is_named_by_its_code_and_neither_user_nor_password_is_told(
    server: RunningServer,
    connect: Connect,
    credentials: str,
    code: str,
    database: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server.command("ACL", "SETUSER", "serving", "on", ">secret", "+@all", "~*")
    server.command("ACL", "SETUSER", "limited", "on", ">secret", "+hmget", "~*")
    server.command("CONFIG", "SET", "requirepass", "secret")
    connection = connect(f"redis://{credentials}127.0.0.1:{server.port}{database}")

    for _ in range(2):
        with pytest.raises(OnlineStoreUnavailableError) as caught:
            await connection.execute(PING, 1)

    assert [f"online store unavailable: {code}"] * 2 == caplog.messages
    told = caplog.text + "".join(traceback.format_exception(caught.value))
    assert not [word for word in ("hunter2", "serving", "limited", "secret", "127.0.0.1") if word in told]


async def test_after_a_password_was_set_right_it_logs_in_by_itself(server: RunningServer, connect: Connect) -> None:
    server.command("ACL", "SETUSER", "serving", "on", ">old", "+@all", "~*")
    connection = connect(f"redis://serving:new@127.0.0.1:{server.port}")
    with pytest.raises(OnlineStoreUnavailableError):
        await connection.execute(PING, 1)

    server.command("ACL", "SETUSER", "serving", "resetpass", ">new")

    assert await said(connection, "in")


@pytest.mark.parametrize("database", ["0", "2"])
async def test_a_full_server_is_named_as_such_and_used_once_there_is_room(
    server: RunningServer, connect: Connect, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    server.command("CONFIG", "SET", "maxclients", "1")
    connection = connect(f"redis://127.0.0.1:{server.port}/{database}")

    with socket.create_connection(("127.0.0.1", server.port)) as guest:
        guest.sendall(PING)
        guest.recv(100)
        for _ in range(3):
            with pytest.raises(OnlineStoreUnavailableError):
                await connection.execute(PING * 3, 3)

    assert {"online store unavailable: ERR max number of clients"} == set(caplog.messages)
    assert b"PONG" == await eventually_answered(connection, PING)


async def eventually_answered(connection: RedisConnection, command: bytes, seconds: float = 20.0) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        try:
            return (await connection.execute(command, 1))[0]
        except OnlineStoreUnavailableError:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)


# Error replies


async def test_an_error_reply_fails_its_caller_only_and_the_connection_is_kept(
    server: RunningServer, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    connection = connect(server.url)
    first = await client_id(connection)
    await connection.execute(pack(b"SET", b"hunter2", b"text"), 1)

    answers = await asyncio.gather(
        said(connection, "before"),
        connection.execute(PING + pack(b"HMGET", b"hunter2", b"field") + PING, 3),
        said(connection, "after"),
        return_exceptions=True,
    )

    assert [True, True] == [answers[0], answers[2]]
    assert isinstance(answers[1], OnlineStoreUnavailableError)
    assert ["online store unavailable: WRONGTYPE"] == caplog.messages
    assert first == await client_id(connection)


async def test_a_server_that_still_loads_its_data_is_unavailable_until_it_has(
    tmp_path: Path, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    # After every key the server rests, and answers in between that it is loading.
    slowly = ("--key-load-delay", "20000", "--loading-process-events-interval-bytes", "1024")
    with valkey(tmp_path, *slowly) as server:
        for number in range(100):
            server.command("SET", f"key-{number}", "x" * 2000)
        server.command("SAVE")
        server.kill()
        server.restart()
        connection = connect(server.url)

        first = await client_id(connection)
        with pytest.raises(OnlineStoreUnavailableError):
            await connection.execute(pack(b"GET", b"key-7"), 1)

        assert b"x" * 2000 == await eventually_answered(connection, pack(b"GET", b"key-7"))
        assert {"online store unavailable: LOADING"} == set(caplog.messages)
        assert first == await client_id(connection)


async def test_a_replica_that_has_lost_its_master_is_left_so_that_the_name_is_looked_up_anew(
    tmp_path: Path, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    adrift = ("--replicaof", f"127.0.0.1 {free_port()}", "--replica-serve-stale-data", "no")
    with valkey(tmp_path, *adrift) as replica:
        connection = connect(replica.url)
        before = replica.command("INFO", "stats")["total_connections_received"]

        for _ in range(3):
            with pytest.raises(OnlineStoreUnavailableError):
                await connection.execute(pack(b"HMGET", b"key", b"field"), 1)

        assert ["online store unavailable: MASTERDOWN"] * 3 == caplog.messages
        assert 3 + 1 == replica.command("INFO", "stats")["total_connections_received"] - before
        replica.command("REPLICAOF", "NO", "ONE")
        assert [[None]] == await connection.execute(pack(b"HMGET", b"key", b"field"), 1)


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


# Whatever else may answer at that port


@asynccontextmanager
async def server_that(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answer(reader, writer)
        writer.close()

    port = free_port()
    async with await asyncio.start_server(serve, "127.0.0.1", port):
        yield f"redis://127.0.0.1:{port}"
    await asyncio.sleep(0.05)


async def _in_single_bytes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(100)
    for byte in b"*2\r\n$5\r\nhe\r\no\r\n$-1\r\n+OK\r\n":
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.001)


async def test_a_reply_may_come_in_any_number_of_pieces(connect: Connect) -> None:
    async with server_that(_in_single_bytes) as url:
        assert [[b"he\r\no", None], b"OK"] == await connect(url).execute(PING * 2, 2)


async def test_a_server_that_is_slow_but_answers_is_not_given_up(connect: Connect) -> None:
    opened = 0

    async def ten_answers_a_second(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        for number in range(9):
            await asyncio.sleep(0.1)
            writer.write(b":%d\r\n" % number)
            await writer.drain()

    async with server_that(ten_answers_a_second) as url:
        connection = connect(url, stall_seconds=0.3)
        waiting = [asyncio.create_task(connection.execute(PING, 1)) for _ in range(8)]
        await asyncio.sleep(0.55)

        assert [8] == await connection.execute(PING, 1)
        assert [[number] for number in range(8)] == await asyncio.gather(*waiting)
        assert 1 == opened


async def _like_a_web_server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(100)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")


async def _hangs_up_in_mid_reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(100)
    writer.write(b"+PONG\r\n$100\r\nhalf")


async def _hangs_up_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    pass


async def _refuses_unasked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"-DENIED Redis is running in protected mode\r\n")


async def _refuses_then_hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(100)
    writer.write(b"-ERR max number of clients reached\r\n")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (_refuses_then_hangs_up, {"ERR max number of clients"}),
        (_like_a_web_server, {"ProtocolError"}),
        (_hangs_up_in_mid_reply, {"ConnectionError"}),
        (_hangs_up_at_once, {"ConnectionError", "ConnectionResetError"}),
        (_refuses_unasked, {"DENIED"}),
    ],
)
async def test_a_server_that_answers_nonsense_is_unavailable(
    connect: Connect, caplog: pytest.LogCaptureFixture, answer: Any, reason: set[str]
) -> None:
    async with server_that(answer) as url:
        connection = connect(url)
        for _ in range(3):
            with pytest.raises(OnlineStoreUnavailableError):
                await connection.execute(PING * 3, 3)

    assert {f"online store unavailable: {code}" for code in reason} >= set(caplog.messages)


async def test_a_reply_that_nobody_asked_for_is_never_taken_for_an_answer(connect: Connect) -> None:
    opened = 0

    async def greets_then_echoes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        await reader.read(100)
        writer.write(b"+mine\r\n+stray\r\n" if opened == 1 else b"+mine\r\n")
        await reader.read(100)
        writer.write(b"+mine\r\n")

    async with server_that(greets_then_echoes) as url:
        connection = connect(url)
        answers = []
        for _ in range(3):
            answers += await connection.execute(PING, 1)
            await asyncio.sleep(0.02)
        await connection.close()

    assert [b"mine"] * 3 == answers
    assert 2 == opened


async def test_a_closed_port_is_unavailable_at_once(connect: Connect) -> None:
    connection = connect(f"redis://127.0.0.1:{free_port()}")

    started = time.monotonic()
    answers = await asyncio.gather(*(connection.execute(PING, 1) for _ in range(50)), return_exceptions=True)

    assert {OnlineStoreUnavailableError} == {type(answer) for answer in answers}
    assert time.monotonic() - started < 1


# Closing


async def test_close_tells_whoever_waits_and_gives_the_connection_back(server: RunningServer, connect: Connect) -> None:
    connection = connect(server.url)
    assert await said(connection, "up")
    server.stop_signal()
    waiting = [asyncio.create_task(connection.execute(PING, 1)) for _ in range(3)]
    await asyncio.sleep(0.05)

    await connection.close()
    answers = await asyncio.gather(*waiting, return_exceptions=True)

    assert [OnlineStoreUnavailableError] * 3 == [type(answer) for answer in answers]
    server.cont_signal()
    await eventually(lambda: 0 == clients(server))


async def test_close_while_connecting_tells_whoever_waits(server: RunningServer, connect: Connect) -> None:
    connection = connect(f"redis://127.0.0.1:{server.port}/1")
    server.stop_signal()
    waiting = [asyncio.create_task(connection.execute(PING, 1)) for _ in range(3)]
    await asyncio.sleep(0.05)

    await connection.close()
    answers = await asyncio.gather(*waiting, return_exceptions=True)

    assert [OnlineStoreUnavailableError] * 3 == [type(answer) for answer in answers]
    server.cont_signal()
    await eventually(lambda: 0 == clients(server))


async def test_after_close_nothing_is_connected_any_more(server: RunningServer, connect: Connect) -> None:
    never_used, used = connect(server.url), connect(server.url)
    assert await said(used, "up")

    for connection in (never_used, used, used):
        await connection.close()

    for connection in (never_used, used):
        with pytest.raises(OnlineStoreUnavailableError):
            await connection.execute(PING, 1)
    await eventually(lambda: 0 == clients(server))


@pytest.mark.parametrize("state", ["connected", "connecting"])
def test_when_close_returns_the_loop_may_be_closed(server: RunningServer, state: str) -> None:
    connection = RedisConnection(RedisAddress.of(f"redis://127.0.0.1:{server.port}/1"), 2, 30)

    async def use_and_close() -> None:
        if state == "connecting":
            server.stop_signal()
        using = asyncio.create_task(connection.execute(PING, 1))
        await asyncio.wait((using,), timeout=0.1)
        await connection.close()
        assert ("connected" == state) == (using.exception() is None)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(use_and_close())
    assert not asyncio.all_tasks(loop)
    loop.close()
    gc.collect()  # a socket or task that was left would complain of it now


@pytest.fixture(autouse=True)
def _warnings_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
