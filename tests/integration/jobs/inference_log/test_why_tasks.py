"""Answers of several classes and of numbers are told, explained and computed again."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import bentoml
import numpy as np
import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore

from scoring.models.imported_model import ImportedModel
from scoring.models.model_store import open_model
from scoring.task_outputs import Outputs
from tests.integration.jobs.inference_log.test_why import STALE, folder, log, why
from tests.models.answers import answers
from tests.models.fakes import DAYS_SINCE, contract_of, store_model

__all__ = ["folder"]  # a fixture


@pytest.fixture(params=["multiclass", "regression"])
def other(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ImportedModel]:
    """A model of another task, in a model store of its own."""
    BentoMLContainer.model_store.set(ModelStore(tmp_path / "models"))
    made = store_model(tmp_path / "imported", contract_of(request.param))
    with bentoml.models.create("small_churn:v7", module=__name__, labels=made.labels, metadata=made.metadata) as stored:
        for file in made.folder.iterdir():
            (Path(stored.path) / file.name).write_bytes(file.read_bytes())
    yield open_model("small_churn:v7")
    BentoMLContainer.model_store.reset()


def test_an_answer_of_each_task_is_told_explained_and_reproduced(
    folder: Path, other: ImportedModel, capsys: pytest.CaptureFixture[str]
) -> None:
    logged = answers(other, 5)
    log(folder, logged)

    code, told, errors = why(capsys, "--request", "r", "--row", str(STALE))

    assert (0, "") == (code, errors)
    lines = told.splitlines()
    if other.contract.task.kind == "regression":
        assert f"value       {logged.outcomes.outputs[0][STALE]!s} EUR" in lines
    else:
        probabilities, position = (output[STALE] for output in logged.outcomes.outputs)
        name = ("low", "middle", "high")[position]
        assert f"class       {name}: probability {float(probabilities[position])!r}" in lines
        (of_all,) = (line for line in lines if line.startswith("of all"))
        assert all(repr(float(of)) in of_all for of in probabilities)
    assert "no explanation" not in told


def test_an_answer_of_each_task_that_is_not_reproduced_ends_with_3(
    folder: Path, other: ImportedModel, capsys: pytest.CaptureFixture[str]
) -> None:
    made = answers(other, 1)
    first, *rest = made.outcomes.outputs
    moved = first + 3e-5 * np.maximum(1, first) if other.contract.task.kind == "regression" else first + 2e-6
    log(folder, replace(made, outcomes=replace(made.outcomes, outputs=(moved, *rest))))

    code, told, errors = why(capsys, "--request", "r")

    assert code == 3
    assert errors.startswith("error: model small_churn:v7 makes ")
    assert DAYS_SINCE in told, "what there is to be said is said"


def test_a_class_or_value_that_contradicts_the_scores_ends_with_3(
    folder: Path, other: ImportedModel, capsys: pytest.CaptureFixture[str]
) -> None:
    made = answers(other, 1)
    first, *rest = made.outcomes.outputs
    outputs: Outputs = (first * 0 - 5.0,)
    said = "makes .* of these inputs, -5.0 was answered"
    if other.contract.task.kind == "multiclass":
        outputs = (first, (rest[0] + 1) % 3)
        said = "the logged class .* contradicts its probabilities: low 0"
    log(folder, replace(made, outcomes=replace(made.outcomes, outputs=outputs)))

    code, _, errors = why(capsys, "--request", "r")

    assert code == 3
    assert re.search(said, errors)
