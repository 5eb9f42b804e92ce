"""Redis itself fails: it dies, hangs, loses everything, changes its password, takes no more connections."""

import time

import redis

from tests.faults.conftest import FAULT_SECONDS, PASSWORD, Bench, redis_url
from tests.faults.load import Exchange
from tests.faults.promises import either, refused_as, rows_of
from tests.loop import Loop, make


def kill_clients(bench: Bench, password: str = PASSWORD) -> None:
    bench.redis.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes", password=password)


def test_a_killed_redis_is_refused_at_once_and_used_again_when_it_is_back(bench: Bench) -> None:
    with bench.fault("Redis killed and started again") as fault:
        bench.redis.kill()
        time.sleep(FAULT_SECONDS)
        assert (503, 200) == bench.service.health()
        bench.redis.restart()

    assert fault.outcomes["503 online_store_unavailable"] > 50
    assert (200, 200) == bench.service.health()


def test_a_hung_redis_costs_the_deadline_and_then_nothing(bench: Bench) -> None:
    with bench.fault("Redis hung (SIGSTOP) and continued") as fault:
        bench.redis.stop_signal()
        time.sleep(FAULT_SECONDS)
        assert (503, 200) == bench.service.health()
        assert 1 == bench.service.metric("model_service_breaker_open")
        bench.redis.cont_signal()

    assert 1 <= fault.outcomes["503 deadline_exceeded"] < fault.outcomes["503 online_store_unavailable"]
    assert 0 == bench.service.metric("model_service_breaker_open")


def test_a_redis_that_comes_and_goes_is_followed(bench: Bench) -> None:
    with bench.fault("Redis killed three times in four seconds"):
        for _ in range(3):
            bench.redis.kill()
            time.sleep(0.7)
            bench.redis.restart()
            time.sleep(0.7)


def test_connections_that_redis_closes_are_opened_again(bench: Bench) -> None:
    with bench.fault("Redis closes every connection, ten times") as fault:
        for _ in range(10):
            kill_clients(bench)
            time.sleep(0.2)

    assert fault.outcomes["200"] > 100, "a closed connection is no outage"


def test_an_emptied_redis_knows_nobody_until_it_is_materialized(bench: Bench, loop: Loop) -> None:
    """Not an error: an online store without a row of a customer does not know that customer."""

    def not_known_or_half_written(exchange: Exchange) -> bool:
        if exchange.status != 200:
            return False
        return all(
            row["status"] == "unknown_customer" or {"missing"} == {issue["state"] for issue in row["feature_issues"]}
            for row in rows_of(exchange)
            if row["status"] != "ok"
        )

    designed = either(refused_as("unknown_customer"), not_known_or_half_written)
    with bench.fault("Redis emptied, then `make materialize`", designed) as fault:
        bench.redis.command("FLUSHALL", password=PASSWORD)
        time.sleep(0.5)
        assert (200, 200) == bench.service.health()
        done = make(loop.root, {**loop.environment, **bench.addresses}, "materialize")
        assert 0 == done.returncode, done.stderr

    assert fault.outcomes["404 unknown_customer"] > 20


def test_a_changed_password_is_an_unavailable_store_until_it_is_changed_back(bench: Bench) -> None:
    with bench.fault("Redis' password changed, and changed back") as fault:
        bench.redis.command("CONFIG", "SET", "requirepass", "second", password=PASSWORD)
        kill_clients(bench, "second")
        time.sleep(FAULT_SECONDS)
        assert (503, 200) == bench.service.health()
        bench.redis.command("CONFIG", "SET", "requirepass", PASSWORD, password="second")  # noqa: S106

    assert fault.outcomes["503 online_store_unavailable"] > 50


def test_a_redis_that_takes_no_more_connections_is_unavailable(bench: Bench) -> None:
    with (
        bench.fault("Redis' connection limit reached") as fault,
        redis.Redis.from_url(redis_url(bench.redis.port)) as inside,
    ):
        before = inside.config_get("maxclients")["maxclients"]
        inside.config_set("maxclients", 1)
        inside.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        time.sleep(FAULT_SECONDS)
        assert (503, 200) == bench.service.health()
        inside.config_set("maxclients", before)

    assert fault.outcomes["503 online_store_unavailable"] > 50
