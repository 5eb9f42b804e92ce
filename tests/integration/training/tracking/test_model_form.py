"""What is registered is verified file by file before any of it is loaded, and brings no code with it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.training.conftest import GOOD, NAME, Registry, trained
from training.bento_import import import_model
from training.errors import ModelImportError
from training.tracking import registry
from training.tracking.registry import MLMODEL_SHA256, RegisteredModel

Change = Callable[[dict[str, Any]], object]

FOREIGN: dict[str, Change] = {
    "another loader": lambda flavors: flavors["python_function"].update(loader_module="evil"),
    "code beside it": lambda flavors: flavors["python_function"].update(code="code"),
    "code of the flavour": lambda flavors: flavors["sklearn"].update(code="code"),
    "data of a pyfunc": lambda flavors: flavors["python_function"].update(data="data"),
    "a model in code": lambda flavors: flavors["python_function"].update(model_code_path="model.py"),
    "another file": lambda flavors: flavors["python_function"].update(model_path="other.skops"),
    "another file of the flavour": lambda flavors: flavors["sklearn"].update(pickled_model="other.skops"),
    "a pickle": lambda flavors: flavors["sklearn"].update(serialization_format="cloudpickle"),
    "other classes": lambda flavors: flavors["python_function"].update(predict_fn="predict"),
    "a python model": lambda flavors: flavors["python_function"].update(python_model="python_model.pkl"),
    "a further flavour": lambda flavors: flavors.update(pytorch={"model_data": "data", "code": None}),
    "one flavour less": lambda flavors: flavors.pop("sklearn"),
    "no entries": lambda flavors: flavors.update(sklearn=None),
}


def downloaded(models: Registry, folder: Path) -> RegisteredModel:
    return registry.download(models.opened.client.get_model_version(NAME, GOOD), folder)


def rewrite(models: Registry, change: Change) -> None:
    file = models.artifact(GOOD, "MLmodel")
    document = yaml.safe_load(file.read_text())
    change(document["flavors"])
    file.write_text(yaml.safe_dump(document))


def as_registered_before_there_was_a_digest(models: Registry) -> None:
    models.opened.client.delete_model_version_tag(NAME, GOOD, MLMODEL_SHA256)


@pytest.mark.parametrize("how", FOREIGN)
def test_an_mlmodel_that_would_have_other_code_loaded_is_refused_even_without_a_digest_of_it(
    models: Registry, tmp_path: Path, how: str
) -> None:
    as_registered_before_there_was_a_digest(models)
    rewrite(models, FOREIGN[how])

    with pytest.raises(ModelImportError, match="model 'test_churn' version 1: MLmodel "):
        downloaded(models, tmp_path / "fetched")


def test_an_mlmodel_that_was_altered_in_any_way_is_refused(models: Registry, tmp_path: Path) -> None:
    file = models.artifact(GOOD, "MLmodel")
    file.write_text(file.read_text() + "\n")

    with pytest.raises(ModelImportError, match=r"mlmodel_sha256 is .*altered since"):
        downloaded(models, tmp_path / "fetched")


def test_an_altered_mlmodel_is_never_imported(models: Registry) -> None:
    trained(models)
    before = models.state
    rewrite(models, FOREIGN["another loader"])

    with pytest.raises(ModelImportError, match=r"loader_module.*altered since"):
        import_model(models.opened.artefacts, NAME, GOOD, models.opened.artefacts.mlflow_tracking_uri)

    assert before == models.state


@pytest.mark.parametrize("content", [b"", b"flavors: [", b"\xff\xfe", b"[" * 50_000, b"flavors: {1: 2}"])
def test_an_mlmodel_that_cannot_be_read_is_refused_in_one_line(
    models: Registry, tmp_path: Path, content: bytes
) -> None:
    models.artifact(GOOD, "MLmodel").write_bytes(content)

    with pytest.raises(ModelImportError, match="MLmodel cannot be read"):
        downloaded(models, tmp_path / "fetched")


def test_a_version_of_before_there_was_a_digest_of_mlmodel_is_imported_as_ever(models: Registry) -> None:
    as_registered_before_there_was_a_digest(models)

    trained(models)

    assert models.pinned.startswith(f"{NAME}:v{GOOD}-")


@pytest.mark.parametrize("name", ["evil.py", "code/evil.py", "code/MLmodel", "code/registered_model_meta", "model.pkl"])
def test_a_file_that_training_does_not_write_is_refused_by_name(models: Registry, tmp_path: Path, name: str) -> None:
    added = models.artifact(GOOD, "MLmodel").parent / name
    added.parent.mkdir(exist_ok=True)
    added.write_text("raise SystemExit(1)")

    with pytest.raises(ModelImportError, match=f"{name}' is not a file that training writes"):
        downloaded(models, tmp_path / "fetched")


@pytest.mark.parametrize("name", ["MLmodel", "model.skops"])
def test_a_missing_file_is_refused_by_name(models: Registry, tmp_path: Path, name: str) -> None:
    models.artifact(GOOD, name).unlink()

    with pytest.raises(ModelImportError, match=f"version 1: {name} is missing"):
        downloaded(models, tmp_path / "fetched")


@pytest.mark.parametrize("name", ["MLmodel", "model.skops", "requirements.txt", "further.txt"])
def test_what_a_link_leads_to_is_held_against_the_digests_like_any_file(
    models: Registry, tmp_path: Path, name: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("flavors: {}")
    file = models.artifact(GOOD, "MLmodel").parent / name
    file.unlink(missing_ok=True)
    file.symlink_to(elsewhere)

    with pytest.raises(ModelImportError, match="version 1: "):
        downloaded(models, tmp_path / "fetched")


def test_a_pipe_in_place_of_a_file_is_refused_and_nobody_waits_for_it(models: Registry, tmp_path: Path) -> None:
    file = models.artifact(GOOD, "requirements.txt")
    file.unlink()
    os.mkfifo(file)

    with pytest.raises(ModelImportError, match="version 1: "):
        downloaded(models, tmp_path / "fetched")
