"""Whoever writes Feast's registry can put code into it; a service runs only what its model's contract promised.

Each piece of hostile code leaves a folder behind. `test_feast_itself_runs_it` shows that it would.
"""

import hashlib
import os
import pickle
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from feast import FeatureStore
from feast.protos.feast.core.Registry_pb2 import Registry

from contract import ContractMismatchError, ModelContract
from tests.integration.service.conftest import COMPILED, FEATURE_STORE_YAML, TinyFeast, tiny_feast
from tests.models.fakes import NOW_US, customer

Attack = Callable[[Registry, Path], None]
SOURCE = "import os\ndef recency(inputs):\n    return inputs\nos.mkdir({path!r})\n"


class LeavesAFolder:
    """Unpickling it leaves a folder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self._path),)


def pickled(path: Path) -> bytes:
    return pickle.dumps(LeavesAFolder(path))


def other_source(registry: Registry, ran: Path) -> None:
    registry.on_demand_feature_views[0].spec.feature_transformation.user_defined_function.body_text = SOURCE.format(
        path=str(ran)
    )


def a_pickle_instead_of_source(registry: Registry, ran: Path) -> None:
    function = registry.on_demand_feature_views[0].spec.feature_transformation.user_defined_function
    function.body_text, function.body = "this is no Python", pickled(ran)


def another_kind_of_code(registry: Registry, ran: Path) -> None:
    transformation = registry.on_demand_feature_views[0].spec.feature_transformation
    transformation.substrait_transformation.ibis_function = pickled(ran)


def a_view_that_nobody_promised(registry: Registry, ran: Path) -> None:
    added = registry.on_demand_feature_views.add()
    added.CopyFrom(registry.on_demand_feature_views[0])
    added.spec.name = "added"
    added.spec.feature_transformation.user_defined_function.body_text = SOURCE.format(path=str(ran))
    projections = registry.feature_services[0].spec.features
    projection = next(p for p in projections if p.feature_view_name == "recency")
    projections.add().CopyFrom(projection)
    projections[-1].feature_view_name = "added"


def code_in_a_stored_view(registry: Registry, ran: Path) -> None:
    for view in registry.feature_views:
        function = view.spec.feature_transformation.user_defined_function
        function.name, function.body_text = view.spec.name, SOURCE.format(path=str(ran))


def a_pickle_beside_the_promised_source(registry: Registry, ran: Path) -> None:
    registry.on_demand_feature_views[0].spec.feature_transformation.user_defined_function.body = pickled(ran)


BREAKING: list[Attack] = [other_source, a_pickle_instead_of_source, another_kind_of_code]
HARMLESS: list[Attack] = [a_view_that_nobody_promised, code_in_a_stored_view, a_pickle_beside_the_promised_source]


@pytest.fixture(scope="module")
def contract(feast: TinyFeast) -> ModelContract:
    return feast.contract()


@pytest.fixture
def attacked(feast: TinyFeast, tmp_path: Path) -> Callable[[Attack], tuple[TinyFeast, Path]]:
    """The repository over an attacked copy of its registry, and the folder that the attack leaves if it runs."""

    def attack(by: Attack) -> tuple[TinyFeast, Path]:
        registry = Registry.FromString(Path(feast.artefacts.feast_registry).read_bytes())
        by(registry, tmp_path / "ran")
        file = tmp_path / "registry.db"
        file.write_bytes(registry.SerializeToString())
        artefacts = feast.artefacts.model_copy(update={"feast_registry": str(file)})
        return TinyFeast(feast.repo, artefacts), tmp_path / "ran"

    return attack


@pytest.mark.parametrize("by", [*BREAKING, *HARMLESS[:2]])
def test_feast_itself_runs_it(
    attacked: Callable[[Attack], tuple[TinyFeast, Path]], monkeypatch: pytest.MonkeyPatch, by: Attack
) -> None:
    feast, ran = attacked(by)
    for name, value in feast.artefacts.feast_environment().items():
        monkeypatch.setenv(name, value)
    store = FeatureStore(repo_path=str(feast.repo))
    names = [projection.name for projection in store.get_feature_service("tiny_v1").feature_view_projections]

    for name in names:
        try:
            store.registry.get_any_feature_view(name, store.project)
        except Exception as error:
            print(error)  # the code has run by then

    assert ran.exists()


@pytest.mark.parametrize("compiled", COMPILED.values(), ids=COMPILED.keys())
@pytest.mark.parametrize("by", BREAKING)
def test_other_code_under_a_promised_name_is_refused_before_it_runs(
    attacked: Callable[[Attack], tuple[TinyFeast, Path]], contract: ModelContract, by: Attack, compiled: bool
) -> None:
    feast, ran = attacked(by)

    with pytest.raises(ContractMismatchError, match="on-demand view 'recency': source sha256 is"):
        feast.open(contract, compiled=compiled)

    assert not ran.exists()


@pytest.mark.parametrize("compiled", COMPILED.values(), ids=COMPILED.keys())
@pytest.mark.parametrize("by", HARMLESS)
async def test_code_that_was_not_promised_never_runs_and_the_service_answers_as_ever(
    feast: TinyFeast,
    attacked: Callable[[Attack], tuple[TinyFeast, Path]],
    contract: ModelContract,
    by: Attack,
    compiled: bool,
) -> None:
    feast.write({"00042": customer()})
    hostile, ran = attacked(by)
    read = []
    for each in (feast, hostile):
        opened = each.open(contract, compiled=compiled)
        read.append(await opened.features.read(["00042"], NOW_US))
        assert [] == opened.broken_promises()
        await opened.features.close()

    assert read[0].values.tolist() == read[1].values.tolist()
    assert not ran.exists()


@pytest.mark.parametrize("by", BREAKING)
def test_a_registry_that_turns_hostile_while_the_service_runs_is_named_and_not_run(
    attacked: Callable[[Attack], tuple[TinyFeast, Path]], contract: ModelContract, by: Attack
) -> None:
    feast, ran = attacked(lambda _, __: None)
    opened = feast.open(contract)
    assert [] == opened.broken_promises()

    attacked(by)

    (found,) = opened.broken_promises()
    assert "on-demand view 'recency': source sha256 is" in found
    assert not ran.exists()


@pytest.fixture
def in_sql(valkey: str, tmp_path: Path) -> TinyFeast:
    """The repository with its registry in a database."""
    yaml = FEATURE_STORE_YAML.replace("registry_type: file", "registry_type: sql")
    feast = tiny_feast(tmp_path / "sql", valkey, configuration=yaml)
    database = f"sqlite:///{tmp_path / 'registry.sqlite'}"
    feast = TinyFeast(feast.repo, feast.artefacts.model_copy(update={"feast_registry": database}))
    feast.apply()
    return feast


@pytest.mark.parametrize("compiled", COMPILED.values(), ids=COMPILED.keys())
async def test_a_registry_in_a_database_passes_the_same_way(
    in_sql: TinyFeast, contract: ModelContract, tmp_path: Path, compiled: bool
) -> None:
    in_sql.write({"00042": customer()})
    opened = in_sql.open(contract, compiled=compiled)
    read = await opened.features.read(["00042"], NOW_US)
    await opened.features.close()
    assert not np.isnan(read.values).any()

    with closing(sqlite3.connect(tmp_path / "registry.sqlite")) as database, database:
        ((row,),) = database.execute("SELECT feature_view_proto FROM on_demand_feature_views").fetchall()
        registry = Registry()
        registry.on_demand_feature_views.add().ParseFromString(row)
        other_source(registry, tmp_path / "ran")
        changed = registry.on_demand_feature_views[0].SerializeToString()
        database.execute("UPDATE on_demand_feature_views SET feature_view_proto = ?", (changed,))

    (found,) = opened.broken_promises()
    assert "on-demand view 'recency': source sha256 is" in found
    with pytest.raises(ContractMismatchError, match="on-demand view 'recency': source sha256 is"):
        in_sql.open(contract, compiled=compiled)
    assert not (tmp_path / "ran").exists()


def test_source_that_does_not_run_by_itself_is_refused_rather_than_unpickled(
    attacked: Callable[[Attack], tuple[TinyFeast, Path]], contract: ModelContract
) -> None:
    """Its hash is promised, but it needs what only the pickled function beside it brings along."""
    source = "@decorated\ndef recency(inputs):\n    return inputs\n\nnot_imported.anywhere()\n"

    def needs_more(registry: Registry, ran: Path) -> None:
        a_pickle_instead_of_source(registry, ran)
        registry.on_demand_feature_views[0].spec.feature_transformation.user_defined_function.body_text = source

    feast, ran = attacked(needs_more)
    hashes = {"recency": hashlib.sha256(source.encode()).hexdigest()}
    schema = contract.feature_schema.model_copy(update={"transformations": hashes})

    with pytest.raises(ContractMismatchError, match="import what it needs inside the function"):
        feast.open(contract.model_copy(update={"feature_schema": schema}))

    assert not ran.exists()
