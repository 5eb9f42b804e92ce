"""What clients are told of a second model: every answer names the one that gave it."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from artefacts.challenger_file import Mode
from contract import FeatureInput
from contract.feature_union import FeatureUnion
from service.api.authentication import ApiKeys
from service.api.routing import HttpApi, ServingSlot
from service.assembly import serving_of
from service.prediction.challenger import Challenger
from service.prediction.predictor import Predictor
from service.settings import ServiceSettings
from service.telemetry.metrics import ServiceMetrics
from tests.models.fakes import ORDERS, FakeOnlineFeatures, Rows, customer, small_contract, store_model
from tests.unit.service.challengers import NAMES, challenger_contract, challenging_model
from tests.unit.service.conftest import IDENTITY, bentoml_app

CHALLENGER = {"name": "small_churn", "version": "8", "role": "challenger"}
PEOPLE: dict[str, Rows] = {f"{n:05d}": customer(orders=n % 5 + 1) for n in range(60)}


@asynccontextmanager
async def api(
    folder: Path, mode: Mode, share: float = 0.5, rows: Mapping[str, Rows] = PEOPLE, refuse_missing: bool = False
) -> AsyncIterator[tuple[httpx.AsyncClient, Challenger]]:
    champion = store_model(folder / "champion", small_contract()).load()
    contract = challenger_contract()
    if refuse_missing:
        inputs = [FeatureInput.model_validate({**f.model_dump(), "on_missing": "refuse"}) for f in contract.inputs]
        contract = contract.model_copy(update={"inputs": tuple(inputs)})
    challenging = challenging_model(folder / "challenger", contract)
    metrics = ServiceMetrics("small_churn", CollectorRegistry())
    union = FeatureUnion.of(champion.contract, challenging.contract)
    challenger = Challenger(challenging, union, mode, share, metrics, budget_seconds=10)
    predictor = Predictor(champion, FakeOnlineFeatures(champion.contract, rows), metrics, union, challenger)
    serving = serving_of(predictor, ServiceSettings(), metrics, ApiKeys.of("", ""))
    app = HttpApi(bentoml_app, ServingSlot(serving))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://service") as client:
        yield client, challenger


def named(response: httpx.Response) -> dict[str, str]:
    """The model of the body, after checking that the headers say the same."""
    body: dict[str, Any] = json.loads(response.content)
    assert body["request_id"] == response.headers["X-Request-ID"]
    model: dict[str, str] = body["model"]
    assert list(model.values()) == [response.headers[f"X-Model-{key}"] for key in ("Name", "Version", "Role")]
    return model


async def test_a_single_answer_names_the_model_that_gave_it(tmp_path: Path) -> None:
    async with api(tmp_path, "canary") as (client, challenger):
        for customer_id in PEOPLE:
            response = await client.post("/predict", json={"customer_id": customer_id})
            assert named(response) == (CHALLENGER if challenger.answers(customer_id) else IDENTITY)


async def test_a_batch_names_the_champion_and_each_row_that_the_challenger_answered(tmp_path: Path) -> None:
    async with api(tmp_path, "canary") as (client, challenger):
        response = await client.post("/predict_batch", json={"customer_ids": list(PEOPLE)})

        assert named(response) == IDENTITY
        rows = response.json()["predictions"]
        assert [CHALLENGER if challenger.answers(id_) else None for id_ in PEOPLE] == [r.get("model") for r in rows]
        for row in rows:
            single = await client.post("/predict", json={"customer_id": row["customer_id"]})
            assert single.json()["churn_probability"] == pytest.approx(row["churn_probability"])


async def test_an_explanation_is_of_the_model_that_answered(tmp_path: Path) -> None:
    async with api(tmp_path, "canary", share=1.0) as (client, _):
        response = await client.post("/explain", json={"customer_id": "00001", "features": {ORDERS: 2}})

        assert named(response) == CHALLENGER
        contributions = response.json()["contributions"]
        assert NAMES == [each["feature"] for each in contributions]
        assert "overridden" == contributions[0]["state"]


async def test_a_refusal_names_the_model_that_refused(tmp_path: Path) -> None:
    rows = {"a": customer(orders=None)}
    async with api(tmp_path, "canary", share=1.0, rows=rows, refuse_missing=True) as (client, _):
        response = await client.post("/predict", json={"customer_id": "a"})

        assert response.status_code == 422
        assert named(response) == CHALLENGER
        assert ORDERS in response.json()["error"]["message"]


async def test_a_customer_whom_the_canary_does_not_know_is_unknown_to_the_canary(tmp_path: Path) -> None:
    async with api(tmp_path, "canary", share=1.0) as (client, _):
        response = await client.post("/predict", json={"customer_id": "nobody"})

        assert response.status_code == 404
        assert named(response) == CHALLENGER


async def test_a_shadow_is_seen_in_no_answer_but_that_of_get_model(tmp_path: Path) -> None:
    async with api(tmp_path, "shadow") as (client, challenger):
        assert named(await client.post("/predict", json={"customer_id": "00001"})) == IDENTITY
        response = await client.get("/model")

        assert named(response) == IDENTITY
        assert {
            "tag": "small_churn:v8",
            "version": "8",
            "contract_sha256": challenger.live.model.contract_sha256,
            "mode": "shadow",
            "share": None,
        } == response.json()["challenger"]
