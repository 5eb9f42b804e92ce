"""A household is erased from Feast's tables in SQLite and PostgreSQL; of other stores it is said what is left."""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from artefacts.addresses import Artefacts
from jobs.erasure.erase import Erasure, LeftError, erase
from jobs.errors import JobError
from jobs.materialization.another_store import only_run
from jobs.materialization.locks import LockedError
from jobs.settings import JobsSettings
from scoring.feast.store import open_store
from tests.integration.jobs.erasure.other_store import OtherSqliteOnlineStore
from tests.integration.service.conftest import OTHER_STORES, close_connection, postgres_server  # noqa: F401
from tests.servers.forked import feast_apply

DEFINITIONS = """\
import os

from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, Int64

household = Entity(name="household", join_keys=["household_id"], value_type=ValueType.INT64)
department = Entity(name="department", join_keys=["department"], value_type=ValueType.STRING)


def rows_of(view: str) -> FileSource:
    path = os.path.join(os.environ["OFFLINE_STORE_DIR"], f"{view}.parquet")
    return FileSource(name=view, path=path, timestamp_field="event_timestamp")


people = FeatureView(
    name="people", entities=[household], schema=[Field(name="kids", dtype=Int64)], source=rows_of("people")
)
habits = FeatureView(
    name="habits",
    entities=[household, department],
    schema=[Field(name="spend", dtype=Float64), Field(name="visits", dtype=Int64)],
    source=rows_of("habits"),
)
"""
OTHER = f"{OtherSqliteOnlineStore.__module__}.OtherSqliteOnlineStore"
PEOPLE = {7: 2, 77: 3, 2**53 + 1: 1}
HABITS = {(7, "dairy"): 1.5, (7, "wine"): 2.5, (77, "dairy"): 3.5}
OTHERS = ({77: 3, 2**53 + 1: 1}, {(77, "dairy"): 3.5})


@dataclass(frozen=True)
class Place:
    """A use case over an online store.

    folder: of this store's files.
    """

    artefacts: Artefacts
    folder: Path

    def erase(self, key: str, **how: Any) -> str:
        return erase(self.artefacts, None, Erasure(key, self.folder / "receipts", **how), JobsSettings())

    def told(self) -> dict[str, Any]:
        """The newest receipt."""
        told: dict[str, Any] = json.loads(max((self.folder / "receipts").glob("*.json")).read_text())
        return told

    def fill(self) -> None:
        """Make the tables and store a row of each key."""
        store = open_store(self.artefacts.feature_repo, self.artefacts)
        store.provider.online_store.update(store.config, [], store.list_feature_views(), [], [], False)
        at = pd.Timestamp("2026-01-01", tz="UTC")
        people = pd.DataFrame(PEOPLE.items(), columns=["household_id", "kids"])
        habits = pd.DataFrame([(*key, spend, 1) for key, spend in HABITS.items()])
        habits.columns = pd.Index(["household_id", "department", "spend", "visits"])
        store.write_to_online_store("people", people.assign(event_timestamp=at))
        store.write_to_online_store("habits", habits.assign(event_timestamp=at))
        close_connection(store)

    def stored(self) -> tuple[dict[int, Any], dict[tuple[int, str], Any]]:
        """What Feast reads of all keys."""
        store = open_store(self.artefacts.feature_repo, self.artefacts)
        people = store.get_online_features(["people:kids"], [{"household_id": one} for one in PEOPLE]).to_dict()
        pairs = [{"household_id": one, "department": department} for one, department in HABITS]
        habits = store.get_online_features(["habits:spend"], pairs).to_dict()
        close_connection(store)
        kids, spend = zip(PEOPLE, people["kids"], strict=True), zip(HABITS, habits["spend"], strict=True)
        return {key: n for key, n in kids if n is not None}, {key: n for key, n in spend if n is not None}


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Artefacts:
    folder = tmp_path_factory.mktemp("applied")
    repo = folder / "shop" / "feature_repo"
    repo.mkdir(parents=True)
    (repo / "definitions.py").write_text(DEFINITIONS)
    (repo / "feature_store.yaml").write_text(_yaml({"type": "sqlite", "path": str(folder / "unused.db")}))
    environment = {
        "USE_CASE": str(folder / "shop"),
        "FEAST_REGISTRY": str(folder / "registry.db"),
        "OFFLINE_STORE_DIR": str(folder / "offline_store"),
    }
    artefacts = Artefacts.of(environment, root=folder)
    apply(artefacts)
    return artefacts


def apply(artefacts: Artefacts) -> None:
    done = feast_apply(artefacts.feature_repo, {**os.environ, **artefacts.feast_environment()})
    assert 0 == done.returncode, done.stdout + done.stderr


@pytest.fixture
def place(
    applied: Artefacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Place]:
    """Over SQLite, or the kind that the test names."""
    kind = getattr(request, "param", "sqlite")
    online: dict[str, Any] = {"type": kind, "path": str(tmp_path / "online.db")}
    if kind == "postgres":
        server = request.getfixturevalue("postgres_server")
        online = server.feast_store(server.create_database("erased"))
    (tmp_path / "feature_store.yaml").write_text(_yaml(online))
    monkeypatch.setenv("FEAST_FS_YAML_FILE_PATH", str(tmp_path / "feature_store.yaml"))
    made = Place(applied, tmp_path)
    made.fill()
    yield made
    shutil.rmtree(applied.offline_store / "erased_keys", ignore_errors=True)


def _yaml(online_store: dict[str, Any]) -> str:
    return yaml.safe_dump(
        {
            "project": "shop",
            "provider": "local",
            "registry": {"registry_type": "file", "path": "${FEAST_REGISTRY}"},
            "offline_store": {"type": "duckdb"},
            "online_store": online_store,
            "entity_key_serialization_version": 3,
        }
    )


@pytest.mark.parametrize("place", OTHER_STORES, indirect=True)
def test_the_rows_of_a_key_or_of_all_keys_of_a_household_go_and_others_stay(place: Place) -> None:
    assert (PEOPLE, HABITS) == place.stored()
    with pytest.raises(JobError, match="nothing was found under this key; nothing was changed"):
        place.erase("household_id=8")

    assert "2 erased, none left" in place.erase("household_id=7,department=dairy")
    assert (PEOPLE, {key: spend for key, spend in HABITS.items() if key != (7, "dairy")}) == place.stored()

    assert "3 would be erased" in place.erase("household_id=7", dry_run=True)
    assert "3 erased, none left" in place.erase("household_id=7")
    assert OTHERS == place.stored()
    ((name, erased),) = [(name, counts) for name, counts in place.told()["erased"].items() if counts]
    assert name.startswith("the online store (")
    assert {"shop_people": 1, "shop_habits": 2} == erased


def test_sqlite_keeps_no_bytes_of_what_was_erased(place: Place) -> None:
    file = place.folder / "online.db"
    assert b"wine" in file.read_bytes()

    place.erase("household_id=7,department=wine")

    assert b"wine" not in file.read_bytes()


def test_a_store_that_cannot_be_read_is_an_error_and_nothing_is_noted(place: Place) -> None:
    (place.folder / "online.db").write_bytes(b"no database" * 100)

    with pytest.raises(JobError, match=r"the online store \(sqlite\) did not answer: DatabaseError"):
        place.erase("household_id=7")

    assert not (place.artefacts.offline_store / "erased_keys").exists()


def test_a_running_materialization_keeps_the_household(place: Place) -> None:
    with only_run(place.artefacts, "shop"), pytest.raises(LockedError, match="another materialization is running"):
        place.erase("household_id=7")

    assert (PEOPLE, HABITS) == place.stored()


@pytest.mark.parametrize("place", [OTHER], indirect=True)
def test_a_store_that_only_feast_knows_is_looked_into_and_never_said_to_be_empty(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(LeftError) as caught:
        place.erase("household_id=7")

    assert 4 == caught.value.exit_code
    left = place.told()["left"]
    store = f"the online store ({OTHER})"
    way_out = "Feast removes no single key: delete the key with the store's own tools, or make the store anew"
    assert [
        f"{store} has rows in people; {way_out} (docs/erasure.md)",
        f"{store} was not looked into for habits, of which KEY has not all join keys; {way_out} (docs/erasure.md)",
    ] == left
    assert (PEOPLE, HABITS) == place.stored()

    with pytest.raises(LeftError, match="has rows in habits"):
        place.erase("household_id=7,department=wine")
    with monkeypatch.context() as by_hand:
        mine = place.folder / "sqlite.yaml"
        mine.write_text((place.folder / "feature_store.yaml").read_text().replace(OTHER, "sqlite"))
        by_hand.setenv("FEAST_FS_YAML_FILE_PATH", str(mine))
        place.erase("household_id=7,department=wine")
    assert "0 erased, none left" in place.erase("household_id=7,department=wine")

    with pytest.raises(LeftError, match="has rows in habits"):
        place.erase("household_id=7,department=dairy")
    open_store(place.artefacts.feature_repo, place.artefacts).teardown()  # the other way out
    apply(place.artefacts)
    assert "0 erased, none left" in place.erase("household_id=7,department=dairy")
