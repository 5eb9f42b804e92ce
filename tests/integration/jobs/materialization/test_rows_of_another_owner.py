"""A second offline store on the same Redis: its rows are not written over the first one's unless that is asked for."""

import json
import re
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import redis

from jobs.materialization.owners import OtherOwnerError, claim
from jobs.materialization.progress import Materialized
from jobs.offline_store.owner import owner_of
from tests.integration.jobs.materialization.test_materialize import two_views
from tests.integration.jobs.materialized_shop import NOW, VIEWS, Shop, every
from tests.servers.redis_servers import RunningServer, valkey

DAY = timedelta(days=1)
MARKS = "churn:materialized"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with valkey(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def applied(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Shop, Shop]:
    one, other = (Shop.in_folder(tmp_path_factory.mktemp(name), server.url) for name in ("one", "other"))
    return one, other


@pytest.fixture
def shops(server: RunningServer, applied: tuple[Shop, Shop]) -> tuple[Shop, Shop]:
    """The first has materialized, and the second has other customers."""
    server.command("FLUSHALL")
    for shop in applied:
        shutil.rmtree(shop.artefacts.offline_store, ignore_errors=True)
        shop.artefacts.materialize_runs.unlink(missing_ok=True)
    one, other = applied
    one.build("b1", two_views(("jan", every(20), NOW - 40 * DAY, 1)))
    other.build("b1", two_views(("jan", every(30)[10:], NOW - 50 * DAY, 2)))
    one.materialize()
    return applied


def test_rows_of_another_owner_stay_and_the_run_says_whose_they_are_and_what_to_do(shops: tuple[Shop, Shop]) -> None:
    one, other = shops
    before = one.everything()

    for replace, full in ((False, False), (True, False), (False, True)):
        with pytest.raises(OtherOwnerError) as refused:
            other.materialize(replace=replace, full=full)

    assert before == one.everything()
    said = str(refused.value)
    assert str(one.artefacts.offline_store) in said
    assert re.search(r" on \S+, since 20\d\d-\d\d-\d\dT", said)
    assert "TAKE_OVER=1" in said
    assert "another Redis database" in said
    record = other.records()[-1]
    assert ("refused", 6, 6) == (record["outcome"], record["exit_code"], refused.value.exit_code)
    assert [0, 0] == [view["written"] for view in one.materialize()["views"]]


def test_what_is_taken_over_is_the_new_owners_and_nobody_elses(shops: tuple[Shop, Shop]) -> None:
    one, other = shops

    other.materialize(take_over=True)

    customers = every(30)
    assert {c: 2 if c >= "00010" else None for c in customers} == other.online(customers)
    assert 20 == len(other.everything())
    with pytest.raises(OtherOwnerError):
        one.materialize()
    assert [0, 0] == [view["written"] for view in other.materialize(take_over=True)["views"]]


def test_a_copied_store_does_not_write_over_the_rows_of_its_original(shops: tuple[Shop, Shop], tmp_path: Path) -> None:
    one, _ = shops
    store = one.artefacts.offline_store
    with redis.Redis.from_url(str(one.artefacts.redis_url)) as client:
        shutil.copytree(store, tmp_path / "copy", symlinks=True)
        with pytest.raises(OtherOwnerError, match="belong to"):
            claim(client, "churn", owner_of(tmp_path / "copy", ""))

        store.rename(tmp_path / "moved")
        assert not claim(client, "churn", owner_of(tmp_path / "moved", ""))
        assert str(tmp_path / "moved") == json.loads(client.hget(MARKS, "owner"))["path"]


def test_rows_that_an_earlier_version_wrote_are_adopted_and_all_looked_at_once(shops: tuple[Shop, Shop]) -> None:
    one, other = shops
    with redis.Redis.from_url(str(one.artefacts.redis_url)) as client:
        client.hdel(MARKS, "owner")
        client.hset(MARKS, "source", '"s"')
    one.build("b2", two_views(("jan", every(20)[:18], NOW - 40 * DAY, 1)))

    record = one.materialize()

    assert [(18, 2)] * 2 == [(view["written"], view["removed"]) for view in record["views"]]
    assert {"00017": 1, "00018": None} == one.online(["00017", "00018"], VIEWS[1])
    with pytest.raises(OtherOwnerError):
        other.materialize()


def test_of_two_who_claim_rows_of_nobody_one_gets_them(shops: tuple[Shop, Shop]) -> None:
    one, _ = shops
    owners = [owner_of(shop.artefacts.offline_store, "") for shop in shops]
    with redis.Redis.from_url(str(one.artefacts.redis_url)) as client:
        client.delete(MARKS)
        claim(client, "churn", owners[1])

        with pytest.raises(OtherOwnerError):
            claim(client, "churn", owners[0])
        assert not claim(client, "churn", owners[1])
        late = Materialized(client, "churn")  # it had looked before the other noted itself
        assert not late.is_now_of({"id": "late"}, before=None)
        assert owners[1].id == (late.owner or {})["id"]
