"""Two real replicas behind a real proxy, under load: a model is rolled out and back, a replica dies, Redis restarts."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.faults.conftest import (
    CUSTOMERS,
    FAULT_SECONDS,
    FaultInProgress,
    answers_of,
    filled_valkey,
    redis_url,
    under_load,
)
from tests.faults.load import Exchange, Load
from tests.faults.promises import LONGEST_SECONDS, UNAVAILABLE, Designed, Measurement, Truth, TruthOfEach
from tests.faults.replicas import Proxy, Replica, needs_haproxy, proxied
from tests.loop import SOURCE, Loop, call
from tests.servers.redis_servers import RunningServer
from tests.servers.serving import wait_until

PER_SECOND = 100

pytestmark = needs_haproxy


@dataclass(frozen=True)
class Town:
    """Everything that two replicas and their proxy are made of.

    first, second: tags of two models that answer otherwise.
    truths: of each version that a replica has been ready with.
    """

    replicas: tuple[Replica, Replica]
    proxy: Proxy
    redis: RunningServer
    first: str
    second: str
    truths: dict[str, Truth]
    table: list[Measurement]

    def under_load(self, name: str, designed: Designed) -> AbstractContextManager[FaultInProgress]:
        def processes() -> list[int]:
            workers = [worker for replica in self.replicas for worker in replica.workers()]
            return [*workers, self.redis.process.pid, self.proxy.process.pid]

        load = Load(self.proxy.port, CUSTOMERS, PER_SECOND, processes)
        return under_load(load, name, TruthOfEach({}, self.truths), designed, self.table)

    def roll_out(self, tag: str) -> None:
        """One replica after the other: nothing new for it, stopped, started with this model, ready, back again."""
        for replica in self.replicas:
            self.proxy.drain(replica)
            replica.stop()
            replica.start(tag)
            replica.ready()
            self.learn(replica)
            self.proxy.take_back(replica)

    def learn(self, replica: Replica) -> None:
        """What its model says, asked for while the proxy gives it nothing."""
        version = replica.service.call("GET", "/model").body["model"]["version"]
        if version not in self.truths:
            self.truths[version] = Truth.of(answers_of(replica.service))


@pytest.fixture(scope="module")
def town(
    loop: Loop, stored: Path, table: list[Measurement], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("town")
    first = (loop.root / "var" / "model_tag").read_text().strip()
    home = folder / "models"
    subprocess.run(["cp", "-r", loop.environment["BENTOML_HOME"], home], check=True)
    loop = replace(loop, environment={**loop.environment, "BENTOML_HOME": str(home)})
    second = subprocess.run(
        [f"{loop.environment['VENV']}/bin/python", "-m", "tests.models.second_model", first, "900"],
        cwd=SOURCE,
        env=loop.environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()[-1]
    with filled_valkey(stored, folder / "redis") as server:
        environment = {"REDIS_URL": redis_url(server.port)}
        one, two = (Replica(name, loop, folder, environment) for name in ("one", "two"))
        try:
            one.start(first)
            two.start(first)
            one.ready()
            two.ready()
            with proxied(one, two, folder) as proxy:
                town = Town((one, two), proxy, server, first, second, {}, table)
                town.learn(one)
                wait_until(lambda: {"UP"} == {proxy.of(replica)["status"] for replica in (one, two)})
                yield town
        finally:
            one.end()
            two.end()


def nothing_else(_: object) -> bool:
    """What the failure table has for a rollout: no error at all."""
    return False


def versions(fault: FaultInProgress) -> list[str]:
    """Those that answered, in the order in which their first answers came."""
    answers = sorted(fault.load.exchanges, key=lambda exchange: exchange.ended)
    return list(dict.fromkeys(exchange.body["model"]["version"] for exchange in answers))


def test_a_model_is_rolled_out_and_back_without_a_failed_request(town: Town) -> None:
    with town.under_load("rollout of a model, one replica after the other", nothing_else) as out:
        town.roll_out(town.second)
    with town.under_load("its rollback", nothing_else) as back:
        town.roll_out(town.first)

    assert {"200": sum(out.outcomes.values())} == out.outcomes
    assert {"200": sum(back.outcomes.values())} == back.outcomes
    assert versions(out) == versions(back)[::-1]
    assert "900" == versions(out)[1]


def test_a_replica_that_is_killed_costs_at_most_the_answers_that_it_had_begun(town: Town) -> None:
    """What it had not begun to answer is asked of the other one. Nobody can take back half an answer."""
    victim, killed = town.replicas[0], 0.0

    def cut_off(exchange: Exchange) -> bool:
        return exchange.failure == "half an answer" and exchange.started < killed < exchange.ended

    with town.under_load("one of two replicas killed (SIGKILL) and started again", cut_off) as fault:
        killed = time.monotonic()
        victim.kill()
        wait_until(lambda: town.proxy.of(victim)["status"] == "DOWN")
        victim.start(town.first)
        victim.ready()
        town.proxy.take_back(victim)

    assert fault.outcomes.keys() <= {"200", "half an answer"}
    assert fault.outcomes.get("half an answer", 0) <= PER_SECOND * LONGEST_SECONDS


def test_a_redis_that_restarts_is_the_designed_503_of_the_replicas_not_of_the_proxy(town: Town) -> None:
    with town.under_load("Redis behind both replicas killed and started again", UNAVAILABLE) as fault:
        town.redis.kill()
        time.sleep(FAULT_SECONDS)
        assert 503 == call(f"http://127.0.0.1:{town.proxy.port}", "GET", "/readyz").status
        town.redis.restart()

    assert fault.outcomes["503 online_store_unavailable"] > 50
    wait_until(lambda: {"UP"} == {town.proxy.of(replica)["status"] for replica in town.replicas})
