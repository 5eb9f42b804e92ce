"""Contracts of version 1 stay readable, with the digests under which they were registered."""

import json
from pathlib import Path
from typing import Any

import pytest

from contract import ContractError, ModelContract, Population, content_sha256, version_1
from contract.version_1 import upgraded
from tests.unit.contract.builders import contract

RECORDED = (Path(__file__).parents[2] / "fixtures" / "v1" / "contract.json").read_text(encoding="utf-8")
WITHOUT_LABEL = "49e57d0e7e3c560be279e94fad70bdcdc17d4c1b390a1440b010fd761b9fbb0b"
"""sha256 of `document()` by the code that knew no label."""


def document(**changes: Any) -> dict[str, Any]:
    """The members of `contract()` as version 1 wrote them, without those of later dates."""
    members = contract().document
    for later in ("schema_version", "entity", "task", "outputs", "label", "populations", "headline", "age_feature"):
        del members[later]
    first = {"schema_version": 1, "class_names": ["stays", "churns"], "threshold": {"value": 0.5, "rule": "youden"}}
    return {**first, **members, **changes}


def test_a_document_keeps_its_bytes_and_its_digest() -> None:
    read = ModelContract.from_json(RECORDED)

    assert RECORDED == read.to_json()
    assert json.loads(RECORDED) == read.document
    assert content_sha256(RECORDED) == read.sha256


def test_a_document_older_than_labels_keeps_its_digest() -> None:
    assert WITHOUT_LABEL == ModelContract.from_json(json.dumps(document())).sha256


def test_its_model_answers_the_outputs_that_clients_know() -> None:
    read = ModelContract.from_json(RECORDED)

    assert ["churn_probability", "churn"] == [output.name for output in read.outputs]
    assert ("retained", "churned") == read.binary.classes
    assert json.loads(RECORDED)["threshold"] == read.binary.threshold.model_dump()
    assert "unknown_customer" == read.unknown_status
    assert "customer_id" == read.join_key


def test_upgrading_changes_nothing_but_names() -> None:
    given = document()
    before = json.dumps(given)

    made = upgraded(given)

    assert before == json.dumps(given), "it is pure"
    kept = given.keys() - {"schema_version", "class_names", "threshold"}
    assert {name: given[name] for name in kept} == {name: made[name] for name in kept}


def test_the_headline_is_the_active_population_where_there_is_one() -> None:
    active = {"active": {"feature": "windowed__orders", "at_most": 60.0}}

    assert "all" == ModelContract.from_json(json.dumps(document())).headline.population
    read = ModelContract.from_json(json.dumps(document(populations=active)))
    assert ("active", "roc_auc") == (read.headline.population, read.headline.metric)
    assert {"active": Population(feature="windowed__orders", at_most=60.0)} == read.populations


def test_a_changed_copy_is_written_in_the_newest_version() -> None:
    read = ModelContract.from_json(RECORDED)

    changed = read.model_copy(update={"model_version": "8"})

    assert isinstance(read.written, version_1.ModelContract)
    assert 2 == json.loads(changed.to_json())["schema_version"]
    assert changed == ModelContract.from_json(changed.to_json())


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"class_names": ["only one"]}, "class_names"),
        ({"threshold": {"value": 1.5, "rule": ""}}, "threshold.value"),
        ({"surprise": 1}, "surprise"),
        ({"task": {"kind": "regression"}}, "task"),
    ],
)
def test_a_wrong_member_is_named_as_version_1_names_it(changes: dict[str, Any], place: str) -> None:
    with pytest.raises(ContractError, match=f"invalid at {place}"):
        ModelContract.from_json(json.dumps(document(**changes)))
