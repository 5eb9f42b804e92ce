"""A registry that names classes for Feast to import: the service reads it without importing any.

The class lies in a module that leaves a folder and ends the process when it is imported, as `unittest.__main__` would.
`test_feast_itself_imports_it` shows that it is found.
"""

import asyncio
import os
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from feast import FeatureStore
from feast.protos.feast.core.DataSource_pb2 import DataSource
from feast.protos.feast.core.InfraObject_pb2 import Infra
from feast.protos.feast.core.Registry_pb2 import Registry

from contract import ContractMismatchError, ModelContract
from service.errors import StartupError
from service.features.contract_watch import watch_contract
from service.features.registry_filter import only_promised
from tests.integration.service.conftest import COMPILED, FEATURE_STORE_YAML, TinyFeast, tiny_feast
from tests.models.fakes import NOW_US, customer

CLASS = "planted_module.PlantedSource"
Attack = Callable[[Registry], None]


def plant(source: DataSource) -> None:
    source.type, source.data_source_class_type = DataSource.CUSTOM_SOURCE, CLASS


def a_data_source(registry: Registry) -> None:
    for source in registry.data_sources:
        plant(source)


def a_batch_source(registry: Registry) -> None:
    for view in registry.feature_views:
        plant(view.spec.batch_source)


def a_stream_source(registry: Registry) -> None:
    for view in registry.feature_views:
        plant(view.spec.stream_source)


def the_batch_source_of_a_batch_source(registry: Registry) -> None:
    for view in registry.feature_views:
        view.spec.batch_source.type = DataSource.PUSH_SOURCE
        plant(view.spec.batch_source.batch_source)


def a_source_view(registry: Registry) -> None:
    for view in registry.feature_views:
        plant(view.spec.source_views.add(name="below").batch_source)


def a_projection_of_the_service(registry: Registry) -> None:
    for service in registry.feature_services:
        for projection in service.spec.features:
            plant(projection.batch_source)


def a_view_that_an_on_demand_view_reads(registry: Registry) -> None:
    for view in registry.on_demand_feature_views:
        for source in view.spec.sources.values():
            if source.HasField("feature_view_projection"):
                plant(source.feature_view_projection.batch_source)
            elif source.HasField("feature_view"):
                plant(source.feature_view.spec.batch_source)


def everything_else(registry: Registry) -> None:
    poison(registry, 6)


def poison(message: Any, depth: int) -> None:
    """Name the class, or a pickle that names it, wherever a message of a registry can hold one."""
    for field in message.DESCRIPTOR.fields:
        kind = field.message_type
        if kind is None:
            if field.name.endswith("class_type"):
                setattr(message, field.name, CLASS)
            elif field.type == field.TYPE_BYTES and not field.is_repeated:
                setattr(message, field.name, b"c" + CLASS.replace(".", "\n").encode() + b"\n.")
        elif depth and kind.full_name.startswith("feast.") and not kind.GetOptions().map_entry:
            if field.containing_oneof is not None:  # the other members of the choice are what is promised
                continue
            inner = getattr(message, field.name)
            if field.is_repeated and not inner and kind.name not in PROMISED:
                inner.add()
            for each in inner if field.is_repeated else [inner]:
                poison(each, depth - 1)
                if isinstance(each, DataSource):
                    plant(each)


PROMISED = ("FeatureSpecV2", "FeatureViewProjection", "Aggregation")
"""What is added to them is another schema."""

ATTACKS: list[Attack] = [
    a_data_source,
    a_batch_source,
    a_stream_source,
    the_batch_source_of_a_batch_source,
    a_source_view,
    a_projection_of_the_service,
    a_view_that_an_on_demand_view_reads,
    everything_else,
]
FEAST_IMPORTS = [a_batch_source, a_stream_source, the_batch_source_of_a_batch_source, a_projection_of_the_service]


@pytest.fixture(scope="module")
def contract(feast: TinyFeast) -> ModelContract:
    return feast.contract()


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that is left if the module is imported."""
    ran = tmp_path / "ran"
    (tmp_path / "planted_module.py").write_text(f"import os, sys\nos.mkdir({str(ran)!r})\nsys.exit(3)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield ran
    sys.modules.pop("planted_module", None)


@pytest.fixture
def attacked(feast: TinyFeast, tmp_path: Path) -> Callable[[Attack], TinyFeast]:
    def attack(by: Attack) -> TinyFeast:
        registry = Registry.FromString(Path(feast.artefacts.feast_registry).read_bytes())
        by(registry)
        (tmp_path / "registry.db").write_bytes(registry.SerializeToString())
        artefacts = feast.artefacts.model_copy(update={"feast_registry": str(tmp_path / "registry.db")})
        return TinyFeast(feast.repo, artefacts)

    return attack


@pytest.mark.parametrize("by", FEAST_IMPORTS)
def test_feast_itself_imports_it(
    attacked: Callable[[Attack], TinyFeast], planted: Path, monkeypatch: pytest.MonkeyPatch, by: Attack
) -> None:
    feast = attacked(by)
    for name, value in feast.artefacts.feast_environment().items():
        monkeypatch.setenv(name, value)
    store = FeatureStore(repo_path=str(feast.repo))

    with suppress(SystemExit):
        for projection in store.get_feature_service("tiny_v1").feature_view_projections:
            store.registry.get_any_feature_view(projection.name, store.project)

    assert planted.exists()


@pytest.mark.parametrize("by", ATTACKS)
async def test_no_class_that_a_registry_names_is_imported_and_the_service_answers_as_ever(
    feast: TinyFeast, attacked: Callable[[Attack], TinyFeast], contract: ModelContract, planted: Path, by: Attack
) -> None:
    feast.write({"00042": customer()})
    read = []
    for each in (feast, attacked(by)):
        opened = each.open(contract)
        read.append(await opened.features.read(["00042"], NOW_US))
        assert [] == opened.broken_promises()
        await opened.features.close()

    assert read[0].values.tolist() == read[1].values.tolist()
    assert not planted.exists()


async def test_feasts_sdk_is_given_no_class_either(
    feast: TinyFeast, attacked: Callable[[Attack], TinyFeast], contract: ModelContract, planted: Path
) -> None:
    feast.write({"00042": customer()})
    opened = attacked(everything_else).open(contract, compiled=False)

    read = await opened.features.read(["00042"], NOW_US)

    await opened.features.close()
    assert not [value for value in read.values[0] if value != value]
    assert not planted.exists()


def test_nothing_that_names_code_is_handed_on(
    feast: TinyFeast, attacked: Callable[[Attack], TinyFeast], contract: ModelContract
) -> None:
    poisoned = Registry.FromString(Path(attacked(everything_else).artefacts.feast_registry).read_bytes())
    assert poisoned.SerializeToString().count(b"planted_module") > 50

    kept = only_promised(poisoned, contract.feature_schema.project, [contract])

    assert b"planted_module" not in kept.SerializeToString()
    assert [] == list(kept.ListFields()[0][1][0].meta.ListFields())


async def test_whatever_a_look_at_the_registry_raises_the_worker_goes_on() -> None:
    looks: list[list[str] | BaseException] = [["a difference"], GeneratorExit(), KeyboardInterrupt(), SystemExit(3)]
    told: list[bool] = []

    def look() -> list[str]:
        found = looks.pop() if looks else []
        if isinstance(found, BaseException):
            raise found
        return found

    watching = asyncio.create_task(watch_contract(look, 0.0, told.append))
    while len(told) < 3:
        await asyncio.sleep(0.01)

    assert [False, True, False] == told
    watching.cancel()


@pytest.mark.parametrize("compiled", COMPILED.values(), ids=COMPILED.keys())
async def test_a_database_is_read_without_importing_what_its_rows_name(
    valkey: str, tmp_path: Path, contract: ModelContract, planted: Path, compiled: bool
) -> None:
    yaml = FEATURE_STORE_YAML.replace("registry_type: file", "registry_type: sql")
    made = tiny_feast(tmp_path / "sql", valkey, configuration=yaml)
    file = tmp_path / "registry.sqlite"
    feast = TinyFeast(made.repo, made.artefacts.model_copy(update={"feast_registry": f"sqlite:///{file}"}))
    feast.apply()
    infra = Infra()
    infra.infra_objects.add().infra_object_class_type = "planted_module.PlantedObject"
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE managed_infra SET infra_proto = ?", (infra.SerializeToString(),))
        database.execute(
            "INSERT OR IGNORE INTO managed_infra (infra_name, project_id, last_updated_timestamp, infra_proto) "
            "VALUES ('infra_obj', ?, 0, ?)",
            (contract.feature_schema.project, infra.SerializeToString()),
        )
        for row, blob in database.execute("SELECT feature_view_name, feature_view_proto FROM feature_views").fetchall():
            registry = Registry()
            registry.feature_views.add().ParseFromString(blob)
            a_batch_source(registry)
            changed = registry.feature_views[0].SerializeToString()
            database.execute(
                "UPDATE feature_views SET feature_view_proto = ? WHERE feature_view_name = ?", (changed, row)
            )

    opened = feast.open(contract, compiled=compiled)

    assert [] == opened.broken_promises()
    await opened.features.close()
    assert not planted.exists()


def test_the_registry_names_another_function_of_the_promised_source_and_the_promised_one_runs(
    feast: TinyFeast, attacked: Callable[[Attack], TinyFeast], contract: ModelContract
) -> None:
    def another(registry: Registry) -> None:
        function = registry.on_demand_feature_views[0].spec.feature_transformation.user_defined_function
        function.name = "DataFrame"

    assert [] == attacked(another).open(contract).broken_promises()


def test_an_empty_registry_is_refused_as_none(attacked: Callable[[Attack], TinyFeast], contract: ModelContract) -> None:
    def empty(registry: Registry) -> None:
        registry.Clear()

    with pytest.raises(Exception, match="is not a feature registry") as caught:
        attacked(empty).open(contract)

    assert not isinstance(caught.value, ContractMismatchError)


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def a_huge_file(path: Path) -> None:
    path.touch()
    os.truncate(path, 10 * 1024**3)


@pytest.mark.parametrize(
    ("odd", "said"),
    [(a_pipe, "a named pipe"), (a_device, "a device"), (os.mkdir, "a directory"), (a_huge_file, "larger")],
)
def test_a_registry_that_is_no_file_of_a_registrys_size_hangs_neither_start_nor_watch(
    attacked: Callable[[Attack], TinyFeast], contract: ModelContract, odd: Callable[[Path], None], said: str
) -> None:
    feast = attacked(lambda _: None)
    opened = feast.open(contract)
    file = Path(feast.artefacts.feast_registry)
    file.unlink()
    odd(file)

    with pytest.raises(OSError, match=said):
        opened.broken_promises()
    with pytest.raises(StartupError, match=f"FEAST_REGISTRY: .*registry.db cannot be read: {said}"):
        feast.open(contract)


@pytest.mark.parametrize("half", [0, 0.5], ids=["emptied", "half written"])
def test_a_registry_that_is_being_rewritten_is_read_again_and_nothing_is_said_against_it(
    attacked: Callable[[Attack], TinyFeast], contract: ModelContract, half: float
) -> None:
    feast = attacked(lambda _: None)
    opened = feast.open(contract)
    file = Path(feast.artefacts.feast_registry)
    whole = file.read_bytes()
    found: list[list[str]] = []

    for look in (opened.broken_promises, lambda: feast.open(contract).broken_promises()):
        file.write_bytes(whole[: int(len(whole) * half)])
        writing = threading.Timer(0.4, file.write_bytes, [whole])
        writing.start()
        found.append(look())
        writing.join()

    assert [[], []] == found
