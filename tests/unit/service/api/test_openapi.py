"""The OpenAPI document names what this model takes, and every answer is one that it states."""

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest

from service.api.endpoints import ENDPOINTS
from service.api.exchange import request_id_of
from service.api.members.bodies import Bodies
from service.api.openapi import openapi_document
from service.api.routing import ROUTES
from service.errors import OnlineStoreUnavailableError
from service.prediction.predictions import Prediction, row_members
from tests.models.fakes import DEFAULTS, MEMBER, ORDERS, ORDERS_30D, SPEND, small_contract
from tests.unit.service.api.test_routing import live_customer
from tests.unit.service.conftest import Api, OpenApi

REQUESTS = {"PredictRequest", "PredictBatchRequest", "ExplainRequest", "InvocationsRequest", "FeatureOverrides"}


def document(max_batch: int = 1000, *, keys_configured: bool = False) -> dict[str, Any]:
    """With all calls, also those that a setting offers."""
    contract = small_contract()
    bodies = Bodies.of(contract)
    return openapi_document(contract, bodies, max_batch, keys_configured=keys_configured, endpoints=ENDPOINTS)


def validator(schema: dict[str, Any], stated: dict[str, Any]) -> jsonschema_rs.Draft202012Validator:
    """Of a schema of a document; references lead into the document."""
    return jsonschema_rs.Draft202012Validator({**schema, "components": stated["components"]})


def of_request(name: str) -> jsonschema_rs.Draft202012Validator:
    return validator({"$ref": f"#/components/schemas/{name}"}, document())


async def check(api: Api, response: httpx.Response) -> int:
    """The status of an answer, after holding it against the document that the service gives out."""
    stated = (await api.client.get("/docs.json")).json()
    for name, schema in stated["components"]["schemas"].items():
        if name not in REQUESTS and "properties" in schema:
            schema["additionalProperties"] = False  # a member of an answer that is not in the document is one too many
    request = response.request
    path = stated["paths"][request.url.path]
    method = request.method.lower() if request.method.lower() in path else next(iter(path))
    answer = path[method]["responses"][str(response.status_code)]
    for name, header in answer.get("headers", {}).items():
        value: Any = response.headers[name]
        validator(header["schema"], stated).validate(int(value) if header["schema"].get("type") == "integer" else value)
    ((content_type, content),) = answer["content"].items()
    assert content_type == response.headers["Content-Type"]
    validator(content["schema"], stated).validate(response.json())
    return response.status_code


def test_every_call_is_there_with_its_outcomes() -> None:
    paths = document()["paths"]

    calls = {(path, method) for path, of_path in paths.items() for method in of_path}
    routes = {(path, route.method.lower()) for path, route in ROUTES.items()}
    assert routes | {("/livez", "get"), ("/readyz", "get"), ("/metrics", "get")} == calls
    always = {"200", "401", "405", "429", "500"}
    body, store = {"400", "413", "415"}, {"503"}
    single = {*always, *body, *store, "404", "422"}
    assert {
        "/predict": single,
        "/predict_batch": {*always, *body, *store},
        "/features": {*always, *body, *store},
        "/explain": {*single, "501"},
        "/invocations": {*always, *body},
        "/history": {*always, "400"},
        "/model": always,
    } == {path: set(next(iter(paths[path].values()))["responses"]) for path in ROUTES}


def test_every_reference_leads_somewhere_and_every_schema_is_used() -> None:
    text = json.dumps(document())
    schemas = document()["components"]["schemas"]

    used = {name for name in schemas if f'"#/components/schemas/{name}"' in text}
    assert set(schemas) == used
    assert text.count('"$ref"') == sum(text.count(f'"$ref": "#/components/schemas/{name}"') for name in schemas)


@pytest.mark.parametrize(
    ("overrides", "fits"),
    [
        (None, True),
        ({}, True),
        ({SPEND: 1.5, ORDERS: 3, MEMBER: True}, True),
        ({ORDERS: 3.0}, True),
        ({ORDERS: 2.5}, False),
        ({ORDERS: 2**63 - 1}, True),
        ({ORDERS: 2**63}, False),
        ({SPEND: 3.4e38}, True),
        ({SPEND: 3.5e38}, False),
        ({SPEND: "1"}, False),
        ({SPEND: None}, False),
        ({MEMBER: 1}, False),
        ({"spend": 1}, False),
    ],
)
async def test_an_override_fits_the_document_if_and_only_if_it_is_taken(
    open_api: OpenApi, overrides: dict[str, Any] | None, fits: bool
) -> None:
    api = open_api({"a": live_customer()})
    body = {"customer_id": "a", "features": overrides}

    assert fits == of_request("PredictRequest").is_valid(body) == of_request("ExplainRequest").is_valid(body)
    assert fits == ((await api.client.post("/predict", json=body)).status_code == 200)


@pytest.mark.parametrize("length", [0, 1, 256, 257])
async def test_an_id_fits_the_document_if_and_only_if_it_is_taken(open_api: OpenApi, length: int) -> None:
    customer_id = "😀" * length  # counted by code points on both sides
    api = open_api({customer_id: live_customer()})

    fits = of_request("PredictRequest").is_valid({"customer_id": customer_id})

    assert fits == ((await api.predict(customer_id)).status_code == 200)
    assert fits == of_request("PredictBatchRequest").is_valid({"customer_ids": [customer_id]})


@pytest.mark.parametrize("request_id", ["abc-1", "`id`", '";id;"', "a" * 129])
def test_a_request_id_fits_every_place_of_the_document_if_and_only_if_it_is_repeated(request_id: str) -> None:
    stated = document()
    repeated = request_id_of({"headers": [(b"x-request-id", request_id.encode())]}) == request_id
    members = [schema.get("properties", {}) for schema in stated["components"]["schemas"].values()]
    places = [
        *(each["request_id"] for each in members if "request_id" in each),
        stated["paths"]["/predict"]["post"]["responses"]["200"]["headers"]["X-Request-ID"]["schema"],
    ]

    assert len(places) > 5
    assert {repeated} == {validator(place, stated).is_valid(request_id) for place in places}


def test_a_batch_has_the_limit_of_the_settings() -> None:
    names = document(max_batch=3)["components"]["schemas"]

    assert 3 == names["PredictBatchRequest"]["properties"]["customer_ids"]["maxItems"]
    assert '"maxItems": 3' in json.dumps(names["InvocationsRequest"])


def test_a_key_is_asked_for_only_where_there_are_keys() -> None:
    calls = ("/predict", "/predict_batch", "/explain", "/invocations")
    with_keys, without = document(keys_configured=True)["paths"], document()["paths"]

    assert [[{"api_key": []}]] * 4 == [with_keys[path]["post"]["security"] for path in calls]
    assert [[]] * 4 == [without[path]["post"]["security"] for path in calls]
    assert [] == with_keys["/metrics"]["get"]["security"] == with_keys["/readyz"]["get"]["security"]


ROW = {name: 1.0 for name in DEFAULTS}
NAMES, CELLS = list(ROW), list(ROW.values())


@pytest.mark.parametrize(
    ("body", "fits"),
    [
        ({"dataframe_split": {"columns": NAMES, "data": [CELLS, CELLS]}}, True),
        ({"dataframe_split": {"columns": NAMES[::-1], "data": [CELLS]}}, True),
        ({"dataframe_records": [ROW, ROW]}, True),
        ({"instances": [ROW]}, True),
        ({"inputs": [ROW]}, True),
        ({"inputs": ROW}, True),
        ({"inputs": {name: [1.0, 2.0] for name in NAMES}}, True),
        ({"dataframe_split": {"columns": NAMES[1:], "data": [CELLS[1:]]}}, False),
        ({"dataframe_split": {"columns": NAMES, "data": []}}, False),
        ({"dataframe_records": [{SPEND: 1.0}]}, False),
        ({"instances": [CELLS]}, False),
        ({"inputs": {**ROW, SPEND: None}}, False),
        ({"dataframe_records": [ROW], "instances": [ROW]}, False),
        ({}, False),
    ],
)
async def test_the_four_forms_of_mlflow_are_documented_as_they_are_taken(
    open_api: OpenApi, body: dict[str, Any], fits: bool
) -> None:
    assert fits == of_request("InvocationsRequest").is_valid(body)
    assert fits == ((await open_api({}).client.post("/invocations", json=body)).status_code == 200)


async def test_every_answer_of_a_healthy_service_is_as_documented(open_api: OpenApi) -> None:
    api = open_api(
        {"a": live_customer(), "b": live_customer(orders_30d=None)},
        policies={ORDERS_30D: {"on_missing": "refuse"}},
        max_batch=3,
        max_body_bytes=1000,
        cache_rows=10,
        history=True,
        inference_log=True,
    )
    post = api.client.post

    assert 200 == await check(api, await api.predict("a", features={SPEND: 1}))
    assert 415 == await check(api, await post("/predict", content=b"{}", headers={"Content-Type": "text/plain"}))
    assert [200, 404, 422, 400, 413] == [
        await check(api, await api.predict(customer_id)) for customer_id in ("a", "c", "b", "", "x" * 1001)
    ]
    assert [200, 400, 413] == [
        await check(api, await api.predict_batch(*ids)) for ids in [("a", "b", "c"), (7,), ("a", "a", "a", "a")]
    ]
    assert [200, 404, 422] == [
        await check(api, await post("/explain", json={"customer_id": customer_id})) for customer_id in "acb"
    ]
    assert [200, 400, 415] == [
        await check(api, response)
        for response in (
            await post("/invocations", json={"inputs": ROW}),
            await post("/invocations", json={"inputs": {}}),
            await post("/invocations", content=b"1"),
        )
    ]
    assert 200 == await check(api, await api.client.get("/model"))
    assert {405} == {await check(api, await api.client.request("PATCH", path)) for path in ROUTES}


async def test_every_answer_of_a_service_in_trouble_is_as_documented(open_api: OpenApi, tmp_path: Path) -> None:
    down = open_api({}, failure=OnlineStoreUnavailableError("down"))
    broken = open_api({}, failure=RuntimeError("broken"))
    hung = open_api({}, gate=asyncio.Event(), deadline_ms=20)
    guarded = open_api({}, api_keys=f"shop:{hashlib.sha256(b'the key').hexdigest()}")
    busy = open_api({"a": live_customer()}, max_concurrency=1)
    unexplained = open_api({"a": live_customer()})
    (tmp_path / "model" / "model.skops").unlink()

    def ask(api: Api, path: str) -> Any:
        body = {"customer_ids": ["a"]} if path == "/predict_batch" else {"customer_id": "a"}
        return api.client.post(path, json=body)

    for path in ("/predict", "/predict_batch", "/explain"):
        for api, status in ((down, 503), (hung, 503), (broken, 500), (guarded, 401)):
            assert status == await check(api, await ask(api, path))
        with busy.serving.requests.take():
            assert 429 == await check(busy, await ask(busy, path))
    assert 501 == await check(unexplained, await ask(unexplained, "/explain"))
    (tmp_path / "model" / "model.skops").mkdir()
    assert 503 == await check(unexplained, await ask(unexplained, "/explain"))


def test_a_prediction_has_the_members_of_its_row_in_their_order() -> None:
    row = Prediction("a", (0.5, True), "ok", model={}).row(row_members(small_contract()))

    assert list(document()["components"]["schemas"]["BatchPrediction"]["properties"]) == list(row)
