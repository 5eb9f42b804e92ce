"""The HTTP API of a contract with several keys, categories, kept nulls, ages, arrays and values of the request."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from contract import ModelContract, RequestInput
from contract.feature_union import FeatureUnion
from scoring.explanation import Explanation
from service.api.members.bodies import Bodies
from service.api.members.schemas import parse
from service.api.openapi import openapi_document
from tests.models.fakes import DAY, NOW_US, Rows, small_contract
from tests.models.typed import (
    BALANCE,
    DEFAULTS,
    IS_NEW,
    KEY,
    LATEST,
    RATIO,
    REGION,
    SEGMENT,
    SIGNED_UP,
    TASTE,
    VISITS,
    purchase,
    typed_contract,
    typed_model,
    typed_store,
)
from tests.unit.service.api.test_openapi import check, validator
from tests.unit.service.conftest import Api, error_of, opened_api, text_of, without_request_id
from tests.unit.service.telemetry.test_tracing import Spans, spans

OpenTyped = Callable[..., Api]
__all__ = ["spans"]  # a fixture
PRIVATE = "private-4711"
ASKED = {"customer_id": 7, "merchant_id": "m1", "inputs": {"amount": 12.5}}


@pytest.fixture
async def open_typed(tmp_path: Path) -> AsyncIterator[OpenTyped]:
    """Opens the API over rows by key; its clients are closed when the test ends."""
    async with AsyncExitStack() as opened:

        def open_typed(
            rows: Mapping[Any, Rows] | None = None, *, contract: ModelContract | None = None, **settings: object
        ) -> Api:
            contract = contract or typed_contract()
            found = {KEY: purchase()} if rows is None else rows
            api = opened_api(
                typed_store(found, contract), typed_model(tmp_path, contract), settings, lambda: NOW_US * 1000
            )
            opened.push_async_callback(api.client.aclose)
            return api

        yield open_typed


async def post(api: Api, path: str, body: object) -> httpx.Response:
    return await api.client.post(path, json=body)


async def test_an_answer_names_every_key_and_takes_the_requests_values(open_typed: OpenTyped) -> None:
    api = open_typed()

    response = await post(api, "/predict", ASKED)

    body = without_request_id(response)
    assert 200 == await check(api, response)
    assert {"customer_id": 7, "merchant_id": "m1", "status": "ok", "feature_issues": []}.items() <= body.items()
    assert [[KEY]] == api.store.asked
    (given,) = [given for given in api.store.given if given]
    assert ([12.5], ["web"], [1], [False]) == tuple(given[n] for n in ("amount", "channel", "items", "gift"))


@pytest.mark.parametrize("customer_id", [7, "7"])
async def test_a_number_is_also_taken_as_decimal_text(customer_id: object, open_typed: OpenTyped) -> None:
    api = open_typed()

    body = without_request_id(await post(api, "/predict", {**ASKED, "customer_id": customer_id}))

    assert ([[KEY]], 7) == (api.store.asked, body["customer_id"])


@pytest.mark.parametrize("customer_id", [LATEST, str(LATEST), -(2**63), 2**53 + 1])
async def test_a_key_beyond_what_json_readers_hold_is_answered_as_text(
    customer_id: int | str, open_typed: OpenTyped
) -> None:
    api = open_typed({(int(customer_id), "m1"): purchase()})

    response = await post(api, "/predict", {**ASKED, "customer_id": customer_id})

    assert str(customer_id) == without_request_id(response)["customer_id"]
    assert 200 == await check(api, response)


_KEY = "must be a whole number (int64: from -2^63 to 2^63 - 1), or its decimal text"
BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "no first key": ({"customer_id": ...}, "customer_id", "Field required"),
    "no second key": ({"merchant_id": ...}, "merchant_id", "Field required"),
    "2^63": ({"customer_id": 2**63}, "customer_id", _KEY),
    "2^63 as text": ({"customer_id": str(2**63)}, "customer_id", _KEY),
    "below -2^63": ({"customer_id": -(2**63) - 1}, "customer_id", _KEY),
    "a fraction": ({"customer_id": 7.5}, "customer_id", _KEY),
    "a float": ({"customer_id": 7.0}, "customer_id", _KEY),
    "true": ({"customer_id": True}, "customer_id", _KEY),
    "null": ({"customer_id": None}, "customer_id", _KEY),
    "a list": ({"customer_id": [7]}, "customer_id", _KEY),
    "leading zeros": ({"customer_id": "007"}, "customer_id", _KEY),
    "a sign": ({"customer_id": "+7"}, "customer_id", _KEY),
    "blanks": ({"customer_id": " 7"}, "customer_id", _KEY),
    "other digits": ({"customer_id": "٧"}, "customer_id", _KEY),
    "text": ({"customer_id": PRIVATE}, "customer_id", _KEY),
    "a number for text": ({"merchant_id": 7}, "merchant_id", "valid string"),
    "an empty text": ({"merchant_id": ""}, "merchant_id", "at least 1 character"),
    "no values": ({"inputs": ...}, "inputs.amount", "is missing"),
    "null for values": ({"inputs": None}, "inputs.amount", "is missing"),
    "no value": ({"inputs": {}}, "inputs.amount", "is missing"),
    "null for a value": ({"inputs": {"amount": None}}, "inputs.amount", "is missing"),
    "text for a number": ({"inputs": {"amount": PRIVATE}}, "inputs.amount", "must be a number"),
    "true for a number": ({"inputs": {"amount": True}}, "inputs.amount", "must be a number"),
    "a value out of range": ({"inputs": {"amount": 1, "items": 2**31}}, "inputs.items", "out of range for int32"),
    "a fraction for an int32": ({"inputs": {"amount": 1, "items": 1.5}}, "inputs.items", "whole number"),
    "a number for a boolean": ({"inputs": {"amount": 1, "gift": 1}}, "inputs.gift", "true or false"),
    "a time without a zone": ({"inputs": {"amount": 1, "at": "2026-01-31T12:00:00"}}, "inputs.at", "with a zone"),
    "no time": ({"inputs": {"amount": 1, "at": PRIVATE}}, "inputs.at", "with a zone"),
    "an unknown value": ({"inputs": {"amount": 1, "price": PRIVATE}}, "inputs.price", "not asked for"),
    "the request's own time": ({"inputs": {"amount": 1, "as_of": 5}}, "inputs.as_of", "not asked for"),
    "a list of values": ({"inputs": [PRIVATE]}, "inputs", "should be an object"),
    "an unknown member": ({"secret": PRIVATE}, "secret", "Extra inputs"),
    "a number for a category": ({"features": {SEGMENT: 7}}, f"features.{SEGMENT}", "must be text"),
    "text for a number category": ({"features": {REGION: PRIVATE}}, f"features.{REGION}", "must be a number"),
    "an unseen category": ({"features": {REGION: 4711}}, f"features.{REGION}", "not one of the model's categories"),
    "null where none is kept": ({"features": {REGION: None}}, f"features.{REGION}", "must be a number"),
    "null for an age": ({"features": {SIGNED_UP: None}}, f"features.{SIGNED_UP}", "must be a number"),
    "a whole array": ({"features": {TASTE: [1.0, 2.0]}}, f"features.{TASTE}", "is not an input"),
    "an infinity": ({"features": {BALANCE: 1e39}}, f"features.{BALANCE}", "finite number"),
}


@pytest.mark.parametrize("label", BAD)
@pytest.mark.parametrize("path", ["/predict", "/explain"])
async def test_what_is_wrong_is_named_and_never_repeated(path: str, label: str, open_typed: OpenTyped) -> None:
    api = open_typed()
    changes, field, said = BAD[label]
    body = {name: value for name, value in {**ASKED, **changes}.items() if value is not ...}

    response = await post(api, path, body)

    error = error_of(response, 400, "invalid_request")
    assert (field, True) == (error["field"], said in error["message"]), error
    assert "4711" not in text_of(response)
    assert 400 == await check(api, response)
    assert not api.store.asked


@pytest.mark.parametrize("label", [label for label, (changes, _, _) in BAD.items() if "features" not in changes])
async def test_what_is_wrong_with_a_row_of_a_batch_is_named_with_its_place(label: str, open_typed: OpenTyped) -> None:
    api = open_typed()
    changes, field, said = BAD[label]
    body = {name: value for name, value in {**ASKED, **changes}.items() if value is not ...}

    response = await post(api, "/predict_batch", {"rows": [ASKED, body, body]})

    error = error_of(response, 400, "invalid_request")
    assert (f"rows.1.{field}", True) == (error["field"], said in error["message"]), error
    assert PRIVATE not in response.text
    assert 400 == await check(api, response)


async def test_a_batch_answers_its_rows_in_their_order(open_typed: OpenTyped) -> None:
    api = open_typed({KEY: purchase(), (8, "m1"): purchase(balance=20.0)})
    rows = [
        ASKED,
        {**ASKED, "customer_id": 8},
        {**ASKED, "inputs": {"amount": 99}},
        {**ASKED, "merchant_id": "?"},
        ASKED,
    ]

    response = await post(api, "/predict_batch", {"rows": rows})

    predictions = without_request_id(response)["predictions"]
    assert 200 == await check(api, response)
    assert [(7, "m1"), (8, "m1"), (7, "m1"), (7, "?"), (7, "m1")] == [
        (row["customer_id"], row["merchant_id"]) for row in predictions
    ]
    assert ["ok", "ok", "ok", "unknown_purchase", "ok"] == [row["status"] for row in predictions]
    singles = [without_request_id(await post(api, "/predict", row)) for row in rows[:3]]
    assert singles == predictions[:3]
    assert predictions[0] == predictions[4] != predictions[2]


async def test_a_batch_has_no_more_rows_than_the_settings_allow(open_typed: OpenTyped) -> None:
    api = open_typed(max_batch=700)

    assert 200 == (await post(api, "/predict_batch", {"rows": [ASKED] * 700})).status_code
    error = error_of(await post(api, "/predict_batch", {"rows": [ASKED] * 701}), 413, "too_large")
    assert ("rows", "rows: at most 700 rows in one batch") == (error["field"], error["message"])


async def test_keys_alone_are_no_batch_of_several_keys(open_typed: OpenTyped) -> None:
    error = error_of(await post(open_typed(), "/predict_batch", {"customer_ids": [7]}), 400, "invalid_request")

    assert "rows" == error["field"]


async def test_an_unknown_entity_names_every_key(open_typed: OpenTyped) -> None:
    response = await post(open_typed({}), "/predict", ASKED)

    assert "customer_id, merchant_id" == error_of(response, 404, "unknown_purchase")["field"]


async def test_kept_nulls_are_named_and_do_not_degrade_an_answer(open_typed: OpenTyped) -> None:
    api = open_typed({KEY: purchase(segment=None), (8, "m1"): purchase()})
    rows = [ASKED, {**ASKED, "customer_id": 8}]

    response = await post(api, "/predict_batch", {"rows": rows})

    null, whole = without_request_id(response)["predictions"]
    assert 200 == await check(api, response)
    issue = {"feature": SEGMENT, "state": "missing", "age_seconds": DAY, "used": "null"}
    assert ("ok", [issue]) == (null["status"], null["feature_issues"])
    assert ("ok", []) == (whole["status"], whole["feature_issues"])
    assert null["returned_probability"] != whole["returned_probability"]
    assert 2 == api.metric("model_service_predictions_total", status="ok")
    assert 1 == api.metric("model_service_feature_issues_total", feature=SEGMENT, state="missing")


async def test_an_unseen_category_is_a_value_of_its_own_or_refused_by_the_contract(open_typed: OpenTyped) -> None:
    api = open_typed({KEY: purchase(segment=PRIVATE), (8, "m1"): purchase(region=4711)})

    taken, refused = [await post(api, "/predict", {**ASKED, "customer_id": at}) for at in (7, 8)]

    body = without_request_id(taken)
    issue = {name: body["feature_issues"][0][name] for name in ("feature", "state", "used")}
    assert ("degraded", {"feature": SEGMENT, "state": "unseen", "used": "value"}) == (body["status"], issue)
    assert f"{REGION} is unseen" in error_of(refused, 422, "features_refused")["message"]
    assert [200, 422] == [await check(api, response) for response in (taken, refused)]
    assert "4711" not in text_of(taken) + text_of(refused)


async def test_the_elements_of_an_array_are_one_issue(open_typed: OpenTyped) -> None:
    api = open_typed({KEY: purchase(merchant_age=31 * DAY)})

    body = without_request_id(await post(api, "/predict", ASKED))

    assert [(TASTE, "stale", "default")] == [(i["feature"], i["state"], i["used"]) for i in body["feature_issues"]]


OVERRIDES: dict[str, tuple[str, object, float]] = {
    "a text": (SEGMENT, "senior", 1),
    "an unseen text": (SEGMENT, PRIVATE, -1),
    "null for a category": (SEGMENT, None, -2),
    "null for a number": (BALANCE, None, np.nan),
    "a whole number that is a category": (REGION, 2**53, 2),
    "seconds for an age": (SIGNED_UP, 86400, 86400),
    "an element": (f"{TASTE}__1", 0.5, 0.5),
    "a boolean": (IS_NEW, True, 1),
    "a whole number": (VISITS, 9, 9),
}


@pytest.mark.parametrize("label", OVERRIDES)
async def test_an_override_has_the_inputs_own_type(label: str, open_typed: OpenTyped) -> None:
    api = open_typed()
    name, value, seen = OVERRIDES[label]

    response = await post(api, "/predict", {**ASKED, "features": {name: value}})

    assert 200 == await check(api, response)
    (issue,) = without_request_id(response)["feature_issues"]
    used = "null" if value is None else "value"
    assert (name.removesuffix("__1"), "overridden", used) == (issue["feature"], issue["state"], issue["used"])
    found = await api.serving.predictor.look_up(KEY, 1, {name: value}, given={"amount": 1.0, "items": 1, "gift": False})
    np.testing.assert_equal(found.resolved.matrix[0, list(DEFAULTS).index(name)], np.float32(seen))


class _Equal:
    """An explainer that gives every input the same."""

    def __init__(self, api: Api) -> None:
        self.model = api.serving.predictor.model

    def explain(self, matrix: Any, _classes: object = None) -> Explanation:
        return Explanation("log-odds", np.array([0.5]), np.full(matrix.shape, 0.25), None)


async def test_an_explanation_says_what_the_model_saw_in_the_inputs_own_words(open_typed: OpenTyped) -> None:
    rows = {
        KEY: purchase(segment="student", balance=None),
        (8, "m1"): purchase(segment=None),
        (9, "m1"): purchase(segment=PRIVATE),
    }
    api = open_typed(rows)
    object.__setattr__(api.serving, "explainer", _Equal(api))

    answers = [await post(api, "/explain", {**ASKED, "customer_id": at}) for at in (7, 8, 9)]

    assert [200] * 3 == [await check(api, response) for response in answers]
    seen = [{c["feature"]: (c["value"], c["state"]) for c in r.json()["contributions"]} for r in answers]
    assert [("student", "fresh"), (None, "missing"), ("__unseen__", "unseen")] == [row[SEGMENT] for row in seen]
    assert ((None, "missing"), ("20", "fresh"), (-1.0, "fresh")) == (
        seen[0][BALANCE],
        seen[0][REGION],
        seen[0][f"{TASTE}__1"],
    )
    assert list(DEFAULTS) == list(seen[0])
    assert PRIVATE not in answers[2].text


async def test_the_model_is_described_with_its_vocabularies_keys_request_values_and_runtime(
    open_typed: OpenTyped,
) -> None:
    api = open_typed()

    response = await api.client.get("/model")

    body = without_request_id(response)
    assert 200 == await check(api, response)
    assert {"name": "scikit-learn", "reason": "its trees split categories"} == body["runtime"]
    schema = body["contract"]["feature_schema"]
    assert ["int64", "string"] == [key["dtype"] for key in schema["entity_keys"]]
    assert ["amount", "channel", "items", "gift", "at", "as_of"] == [
        given["name"] for given in schema["request_inputs"]
    ]
    inputs = {given["name"]: given for given in body["contract"]["inputs"]}
    assert ["family", "senior", "student"] == inputs[SEGMENT]["vocabulary"]


async def test_the_document_types_every_member(open_typed: OpenTyped) -> None:
    document = (await open_typed().client.get("/docs.json")).json()
    schemas = document["components"]["schemas"]

    assert ["customer_id", "merchant_id", "inputs"] == schemas["PredictRequest"]["required"]
    assert ["customer_id", "merchant_id", "inputs"] == schemas["BatchRow"]["required"]
    assert (["amount"], "date-time") == (
        schemas["RequestInputs"]["required"],
        schemas["RequestInputs"]["properties"]["at"]["anyOf"][0]["format"],
    )
    overrides = schemas["FeatureOverrides"]["properties"]
    assert [10, 20, 2**53] == overrides[REGION]["enum"]
    assert (["family", "senior", "student"], "null") == (
        overrides[SEGMENT]["anyOf"][0]["examples"],
        overrides[SEGMENT]["anyOf"][1]["type"],
    )
    assert document["info"]["description"].startswith("A customer id and a merchant id in, a prediction out.")
    of_predict = validator({"$ref": "#/components/schemas/PredictRequest"}, document)
    assert of_predict.is_valid(ASKED)
    for label, (changes, _, _) in BAD.items():
        body = {name: value for name, value in {**ASKED, **changes}.items() if value is not ...}
        if label not in ("a float", "2^63 as text", "a time without a zone", "no time", "other digits"):  # looser there
            assert not of_predict.is_valid(body), label


def test_an_api_without_categories_nulls_and_values_of_requests_does_not_state_them() -> None:
    contract = typed_contract()
    plain = [given for given in contract.inputs if given.name in (VISITS, IS_NEW)]
    schema = contract.feature_schema.model_copy(update={"request_inputs": ()})
    without = contract.model_copy(update={"inputs": tuple(plain), "feature_schema": schema})
    document = openapi_document(without, Bodies.of(without), 10, keys_configured=False)

    schemas = document["components"]["schemas"]
    answers = {name: schemas[name] for name in ("FeatureIssueBody", "Contribution")}
    ours = openapi_document(small_contract(), Bodies.of(small_contract()), 10, keys_configured=False)
    assert answers == {name: ours["components"]["schemas"][name] for name in answers}
    assert {"customer_id", "merchant_id", "features"} == set(schemas["PredictRequest"]["properties"])
    assert {"customer_id", "merchant_id"} == set(schemas["BatchRow"]["properties"])
    assert {"rows"} == set(schemas["PredictBatchRequest"]["properties"])


def of_number_key(**request_inputs: Any) -> ModelContract:
    """A contract with one key, which is a number."""
    contract = typed_contract()
    schema = contract.feature_schema
    changed: dict[str, Any] = {"entity_keys": schema.entity_keys[:1], **request_inputs}
    return contract.model_copy(update={"feature_schema": schema.model_copy(update=changed)})


async def test_one_key_of_a_number_is_taken_in_a_list_or_in_rows(open_typed: OpenTyped) -> None:
    optional = tuple(given for given in typed_contract().feature_schema.request_inputs if given.name != "amount")
    api = open_typed({7: purchase(), 8: purchase(visits=1)}, contract=of_number_key(request_inputs=optional))
    object.__setattr__(api.store, "on_demand", {RATIO: lambda _rows, _as_of, given: given["items"] / 10})

    listed = await post(api, "/predict_batch", {"customer_ids": [8, "7"]})
    rows = await post(api, "/predict_batch", {"rows": [{"customer_id": "8"}, {"customer_id": 7, "inputs": {}}]})
    other = await post(api, "/predict_batch", {"rows": [{"customer_id": 8, "inputs": {"items": 9}}]})

    assert [200] * 3 == [await check(api, response) for response in (listed, rows, other)]
    assert without_request_id(listed) == without_request_id(rows)
    assert [8, 7] == [row["customer_id"] for row in rows.json()["predictions"]]
    assert rows.json()["predictions"][0] != other.json()["predictions"][0]
    assert [[8, 7], [8, 7], [8]] == api.store.asked


@pytest.mark.parametrize("body", [{}, {"customer_ids": [7], "rows": [{"customer_id": 7}]}])
async def test_a_batch_is_either_a_list_of_keys_or_rows(body: dict[str, Any], open_typed: OpenTyped) -> None:
    api = open_typed(contract=of_number_key(request_inputs=()))

    error = error_of(await post(api, "/predict_batch", body), 400, "invalid_request")

    assert ("rows", "rows: either customer_ids or rows is needed, and not both") == (error["field"], error["message"])
    document = (await api.client.get("/docs.json")).json()
    assert not validator({"$ref": "#/components/schemas/PredictBatchRequest"}, document).is_valid(body)


async def test_a_wrong_number_in_a_list_of_keys_is_named_by_its_place(open_typed: OpenTyped) -> None:
    api = open_typed(contract=of_number_key(request_inputs=()))

    error = error_of(await post(api, "/predict_batch", {"customer_ids": [7, 2**63, PRIVATE]}), 400, "invalid_request")

    assert ("customer_ids.1", f"customer_ids.1: {_KEY}") == (error["field"], error["message"])


async def test_values_that_the_model_needs_cannot_come_with_a_list_of_keys(open_typed: OpenTyped) -> None:
    api = open_typed(contract=of_number_key())

    error = error_of(await post(api, "/predict_batch", {"customer_ids": [7]}), 400, "invalid_request")

    assert "rows" == error["field"]


async def test_what_either_live_model_asks_for_is_taken_and_required_only_by_the_champion() -> None:
    champion = typed_contract()
    own, (amount, *others) = champion.feature_schema, champion.feature_schema.request_inputs
    coupon = RequestInput(name="coupon", dtype="string", default="none", filled_by="request")
    schema = own.model_copy(update={"request_inputs": (coupon, *others)})
    challenger = champion.model_copy(update={"feature_schema": schema, "model_version": "8"})
    union = FeatureUnion.of(champion, challenger)

    bodies = Bodies.of(champion, union)

    predict = bodies.requests.of_call["predict"]
    plain, more = (
        bodies.requests.given(parse(predict, json.dumps({**ASKED, "inputs": inputs}).encode()))
        for inputs in ({"amount": 1.5}, {"amount": 1.5, "coupon": "half"})
    )
    assert (1.5, "none", "half") == ((plain or {})["amount"], (plain or {})["coupon"], (more or {})["coupon"])
    stated = openapi_document(champion, bodies, 10, keys_configured=False)["components"]["schemas"]["RequestInputs"]
    assert ([amount.name], True) == (stated["required"], "coupon" in stated["properties"])


async def test_no_text_of_a_category_reaches_a_trace(open_typed: OpenTyped, spans: Spans) -> None:
    api = open_typed({KEY: purchase(segment=PRIVATE)})

    await post(api, "/predict", ASKED)
    await post(api, "/predict", {**ASKED, "features": {SEGMENT: PRIVATE}})
    await post(api, "/predict", {**ASKED, "features": {REGION: PRIVATE}})

    recorded = " ".join(span.to_json() for span in spans.all())
    assert "predict" in recorded
    assert PRIVATE not in recorded
