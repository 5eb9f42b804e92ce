"""`POST /invocations`: what the route adds to the protocol; tests/unit/service/api/test_mlflow_protocol.py has that."""

import asyncio
import hashlib
import json
from typing import Any

import httpx
import pytest

from service.prediction.predictor import Predictor
from tests.models.fakes import DAYS_SINCE, DEFAULTS, ORDERS, SPEND
from tests.unit.service.api.test_http_errors import PLANTED
from tests.unit.service.api.test_routing import live_customer
from tests.unit.service.conftest import IDENTITY, Api, OpenApi, error_of, text_of, without_request_id

ROW = dict(DEFAULTS)
CSV = ",".join(ROW) + "\n" + ",".join(str(value) for value in ROW.values()) + "\n"


async def score(api: Api, body: object) -> list[list[float]]:
    response = await api.client.post("/invocations", json=body)
    assert 200 == response.status_code, response.text
    predictions: list[list[float]] = response.json()["predictions"]
    return predictions


async def test_the_answer_is_mlflows_and_the_headers_are_ours(open_api: OpenApi) -> None:
    response = await open_api({}).client.post(
        "/invocations", json={"dataframe_records": [ROW, ROW]}, headers={"X-Request-ID": "abc-1"}
    )

    assert 200 == response.status_code
    assert "application/json" == response.headers["Content-Type"]
    assert {"predictions"} == response.json().keys(), "MLflow's clients know nothing else"
    assert "abc-1" == response.headers["X-Request-ID"]
    assert list(IDENTITY.values()) == [response.headers[f"X-Model-{key}"] for key in ("Name", "Version", "Role")]
    first, second = response.json()["predictions"]
    assert first == second
    assert 1 == pytest.approx(sum(first), abs=1e-6)


async def test_every_form_gives_the_same_answer_and_reads_no_store(open_api: OpenApi) -> None:
    api = open_api({"a": live_customer()})
    split = {"columns": list(ROW)[::-1], "data": [list(ROW.values())[::-1]]}

    answers = [
        await score(api, body)
        for body in (
            {"dataframe_split": split},
            {"dataframe_records": [ROW]},
            {"instances": [ROW]},
            {"inputs": ROW},
            {"inputs": {name: [value] for name, value in ROW.items()}},
        )
    ]
    csv = await api.send("/invocations", CSV.encode(), "text/csv; charset=utf-8")

    assert 1 == len({json.dumps(answer) for answer in [*answers, csv.json()["predictions"]]})
    assert [] == api.store.asked


async def test_features_in_the_request_score_as_the_same_features_looked_up(open_api: OpenApi) -> None:
    api = open_api({"a": live_customer()})
    override = {DAYS_SINCE: 33.0}

    by_id = without_request_id(await api.predict("a", features=override))["churn_probability"]
    explained = await api.client.post("/explain", json={"customer_id": "a", "features": override})
    row = {c["feature"]: c["value"] for c in explained.json()["contributions"]}

    assert by_id == pytest.approx((await score(api, {"inputs": row}))[0][1], abs=1e-7)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", None),
        (b"{", None),
        (b'{"inputs": "\xff"}', None),
        (b"[" * 100_000, None),
        (b"{}", None),
        (json.dumps({"inputs": {**ROW, SPEND: None}}).encode(), f"inputs.{SPEND}"),
        (json.dumps({"dataframe_records": [ROW, {**ROW, ORDERS: "many"}]}).encode(), f"dataframe_records.1.{ORDERS}"),
        (json.dumps({"inputs": {**ROW, SPEND: [PLANTED, [PLANTED]]}}).encode(), f"inputs.{SPEND}.1"),
        (b'{"inputs": {}, "instances": []}', None),
    ],
)
async def test_a_body_that_cannot_be_read_is_400_in_the_designed_form(
    open_api: OpenApi, body: bytes, field: str | None
) -> None:
    response = await open_api({}).send("/invocations", body)

    assert field == error_of(response, 400, "invalid_request").get("field")
    assert "31337" not in text_of(response)


@pytest.mark.parametrize("content_type", ["text/plain", "application/json; charset=latin-1", "multipart/form-data", ""])
async def test_another_content_type_is_415(open_api: OpenApi, content_type: str) -> None:
    response = await open_api({}).send("/invocations", json.dumps({"inputs": ROW}).encode(), content_type)

    assert "Content-Type" == error_of(response, 415, "unsupported_media_type")["field"]


async def test_no_content_type_is_415(open_api: OpenApi) -> None:
    error_of(await open_api({}).client.post("/invocations", content=b"{}"), 415, "unsupported_media_type")


async def test_rows_and_bytes_over_their_limits_are_413(open_api: OpenApi) -> None:
    api = open_api({}, max_batch=2, max_body_bytes=10_000)

    assert 2 == len(await score(api, {"instances": [ROW, ROW]}))
    rows = await api.client.post("/invocations", json={"instances": [ROW, ROW, ROW]})
    assert "instances" == error_of(rows, 413, "too_large")["field"]
    error_of(await api.send("/invocations", b" " * 10_001), 413, "too_large")


async def test_its_rows_count_with_those_of_the_other_calls(open_api: OpenApi, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = asyncio.Event()
    api = open_api({"a": live_customer()}, gate=gate, max_rows=3, max_batch=3)
    held = asyncio.ensure_future(api.predict_batch("a", "b"))
    while not api.store.asked:
        await asyncio.sleep(0)

    shed = await api.client.post("/invocations", json={"instances": [ROW, ROW]})
    one = await api.client.post("/invocations", json={"instances": [ROW]})
    gate.set()

    error_of(shed, 429, "overloaded")
    assert int(shed.headers["Retry-After"]) >= 1
    assert [200, 200] == [one.status_code, (await held).status_code]


async def test_values_that_the_model_has_no_probability_for_are_400_with_the_row_named(
    open_api: OpenApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Predictor, "score", lambda _self, matrix: matrix[:, 0] * float("nan"))

    response = await open_api({}).client.post("/invocations", json={"instances": [ROW]})

    assert "0" == error_of(response, 400, "invalid_request")["field"]


async def test_a_failure_is_500_without_its_text(open_api: OpenApi, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(_self: Predictor, matrix: Any) -> Any:
        raise RuntimeError(f"{PLANTED} {matrix}")

    monkeypatch.setattr(Predictor, "score", failing)
    response = await open_api({}).client.post("/invocations", json={"instances": [ROW]})

    error_of(response, 500, "internal")
    assert "31337" not in text_of(response)


async def test_it_asks_for_a_key_and_counts_by_outcome(open_api: OpenApi) -> None:
    api = open_api({}, api_keys=f"shop:{hashlib.sha256(b'the key').hexdigest()}")
    key = {"Authorization": "Bearer the key"}

    async def ask(**headers: str) -> httpx.Response:
        return await api.client.post("/invocations", json={"instances": [ROW]}, headers=headers)

    error_of(await ask(), 401, "unauthenticated")
    assert 200 == (await ask(**key)).status_code
    assert 1 == api.metric("model_service_requests_total", call="invocations", outcome="ok", client="shop")
    assert 1 == api.metric("model_service_stage_seconds_count", stage="model")
    assert 0 == api.metric("model_service_stage_seconds_count", stage="features")
