"""Clients of version 1 get what they got before the rooms moved: answers, OpenAPI document and contract."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline

from contract import ModelContract, content_sha256
from service.api.members.bodies import Bodies
from service.api.openapi import openapi_document
from tests.fixtures.v1.record import FOLDER, contract, opened
from tests.models.fakes import training_rows

NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
EXCHANGES: list[dict[str, Any]] = json.loads((FOLDER / "exchanges.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("number", range(len(EXCHANGES)))
async def test_an_answer_is_the_recorded_one_to_the_byte_but_for_a_probabilitys_last_digits(
    number: int, tmp_path: Path
) -> None:
    """ONNX Runtime's sums differ between processors by some 1e-7."""
    recorded = EXCHANGES[number]
    request = recorded["request"]

    async with opened(tmp_path) as client:
        answer = await client.request(
            request["method"], request["path"], content=request["body"].encode(), headers=request["headers"]
        )

    assert recorded["status"] == answer.status_code
    assert recorded["headers"] == {name: answer.headers.get(name) for name in recorded["headers"]}
    assert NUMBER.sub("#", recorded["body"]) == NUMBER.sub("#", answer.text)
    numbers = [[float(found) for found in NUMBER.findall(text)] for text in (recorded["body"], answer.text)]
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-5, abs=1e-6)


def without_descriptions(document: object) -> object:
    """Words may become plainer."""
    if isinstance(document, dict):
        kept = {name: without_descriptions(value) for name, value in document.items()}
        return {name: value for name, value in kept.items() if name != "description" or not isinstance(value, str)}
    return [without_descriptions(value) for value in document] if isinstance(document, list) else document


def test_the_openapi_document_is_the_recorded_one_but_for_its_descriptions() -> None:
    document = openapi_document(contract(), Bodies.of(contract()), 10, keys_configured=True)

    recorded = json.loads((FOLDER / "openapi.json").read_text(encoding="utf-8"))
    assert json.dumps(without_descriptions(recorded)) == json.dumps(without_descriptions(document))


def test_a_contract_of_version_1_is_read_and_written_with_the_same_digest() -> None:
    recorded = (FOLDER / "contract.json").read_text(encoding="utf-8")

    read = ModelContract.from_json(recorded)

    assert recorded == read.to_json()
    assert content_sha256(recorded.encode()) == read.sha256


async def test_contributions_that_are_no_log_odds_are_refused_because_clients_of_version_1_take_them_for_it(
    tmp_path: Path,
) -> None:
    matrix, churned = training_rows()
    forest = make_pipeline(RandomForestClassifier(5, max_depth=3, random_state=1)).fit(matrix, churned)

    async with opened(tmp_path, pipeline=forest) as client:
        predicted = await client.post("/predict", json={"customer_id": "fresh"})
        explained = await client.post("/explain", json={"customer_id": "fresh"})

    assert (200, 501) == (predicted.status_code, explained.status_code)
    error = explained.json()["error"]
    assert "not_explainable" == error["code"]
    assert "contributions to the probability need a contract of version 2; train the model again" == error["message"]
