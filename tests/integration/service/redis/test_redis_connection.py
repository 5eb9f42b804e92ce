"""One connection to a real server, and many callers: replies, logins, errors, the end."""

import asyncio
import gc
import socket
import traceback
from collections.abc import Callable
from pathlib import Path

import hiredis
import pytest
import uvloop

from artefacts.redis_address import RedisAddress
from service.errors import OnlineStoreUnavailableError
from service.features.compiled.connection import RedisConnection
from service.features.compiled.pipe import pack
from tests.integration.service.redis.commands import (
    PING,
    client_id,
    clients,
    eventually,
    eventually_answered,
    said,
)
from tests.integration.service.redis.conftest import Connect
from tests.servers.redis_servers import RunningServer, free_port, valkey

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

    assert [f"online store unavailable: {code}"] * 2 == [message.partition(" (")[0] for message in caplog.messages]
    # Which database it is to read is asked before the proof.
    lacks_the_proof = code == "NOPERM" and not database
    assert lacks_the_proof == ("grant its user +multi +echo +exec" in caplog.text)
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


# Error replies


async def test_an_error_reply_fails_its_caller_only_and_the_connection_is_kept(
    server: RunningServer, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    connection = connect(server.url)
    first = await client_id(connection)

    answers = await asyncio.gather(
        said(connection, "before"),
        connection.execute(PING + pack(b"HMGET", b"hunter2") + PING, 3),
        said(connection, "after"),
        return_exceptions=True,
    )

    assert [True, True] == [answers[0], answers[2]]
    assert isinstance(answers[1], OnlineStoreUnavailableError)
    assert ["online store unavailable: ERR"] == caplog.messages
    assert first == await client_id(connection)


async def test_an_error_of_one_key_is_that_keys_answer(
    server: RunningServer, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    connection = connect(server.url)
    await connection.execute(pack(b"SET", b"text", b"text"), 1)
    both = pack(b"HMGET", b"text", b"field") + pack(b"HMGET", b"key", b"field")

    of_text, of_key = await connection.execute(both, 2)

    assert isinstance(of_text, hiredis.ReplyError)
    assert [None] == of_key
    assert [] == caplog.messages


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


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("state", ["connected", "connecting"])
def test_when_close_returns_the_loop_may_be_closed(
    server: RunningServer, state: str, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    connection = RedisConnection(RedisAddress.of(f"redis://127.0.0.1:{server.port}/1"), 2, 30)

    async def use_and_close() -> None:
        if state == "connecting":
            server.stop_signal()
        using = asyncio.create_task(connection.execute(PING, 1))
        await asyncio.wait((using,), timeout=0.1)
        await connection.close()
        assert ("connected" == state) == (using.exception() is None)

    loop = new_loop()
    loop.run_until_complete(use_and_close())
    assert not asyncio.all_tasks(loop)
    loop.close()
    gc.collect()  # a socket or task that was left would complain of it now
