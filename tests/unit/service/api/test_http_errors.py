"""Every way a request can fail: the status, the code, the field, and what is never told."""

import asyncio
import hashlib
import json
import math
from collections.abc import Awaitable
from typing import Any

import httpx
import pytest

from service.errors import OnlineStoreUnavailableError
from tests.models.fakes import DAY, MEMBER, ORDERS, ORDERS_30D, SPEND, customer
from tests.unit.service.api.test_routing import live_customer
from tests.unit.service.conftest import Api, OpenApi, error_of, text_of, without_request_id

PLANTED = 31337.25
"""A value that no error may repeat."""


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", None),
        (b"{", None),
        (b'{"customer_id": "a",}', None),
        (b'{"customer_id": "caf\xe9"}', None),
        (b'\xef\xbb\xbf{"customer_id": "a"}', None),
        (b'{"customer_id": "\\ud800"}', None),
        (b"[" * 100_000, None),
        (b"null", None),
        (b'["a"]', None),
        (b'"a"', None),
        (b"{}", "customer_id"),
        (b'{"customer_id": 42}', "customer_id"),
        (b'{"customer_id": 4.2}', "customer_id"),
        (b'{"customer_id": true}', "customer_id"),
        (b'{"customer_id": null}', "customer_id"),
        (b'{"customer_id": ["a"]}', "customer_id"),
        (b'{"customer_id": ""}', "customer_id"),
        (b'{"customer_id": "%s"}' % (b"x" * 257), "customer_id"),
        (b'{"customer_id": "a", "Features": {}}', "Features"),
        (b'{"customer_id": "a", "features": []}', "features"),
        (b'{"customer_id": "a", "features": "none"}', "features"),
    ],
)
async def test_a_malformed_body_of_predict_is_400_with_the_field_named(
    open_api: OpenApi, body: bytes, field: str | None
) -> None:
    api = open_api({"a": customer()})

    error = error_of(await api.send("/predict", body), 400, "invalid_request")

    assert field == error.get("field")
    assert [] == api.store.asked


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{", None),
        (b'{"customer_ids": ["a", "\xff"]}', None),
        (b'["a"]', None),
        (b"{}", "customer_ids"),
        (b'{"customer_ids": null}', "customer_ids"),
        (b'{"customer_ids": "a"}', "customer_ids"),
        (b'{"customer_ids": {"0": "a"}}', "customer_ids"),
        (b'{"customer_ids": ["a", 42]}', "customer_ids.1"),
        (b'{"customer_ids": ["a", "b", null]}', "customer_ids.2"),
        (b'{"customer_ids": [""]}', "customer_ids.0"),
        (b'{"customer_ids": ["a"], "customer_id": "a"}', "customer_id"),
        (b'{"customer_ids": ["a"], "features": {}}', "features"),
    ],
)
async def test_a_malformed_body_of_predict_batch_is_400_with_the_field_named(
    open_api: OpenApi, body: bytes, field: str | None
) -> None:
    api = open_api({"a": customer()})

    error = error_of(await api.send("/predict_batch", body), 400, "invalid_request")

    assert field == error.get("field")
    assert [] == api.store.asked


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        ({"no_such__feature": 1}, "features.no_such__feature"),
        ({"spend": 1}, "features.spend"),
        ({SPEND: "31337.25"}, f"features.{SPEND}"),
        ({SPEND: None}, f"features.{SPEND}"),
        ({SPEND: [PLANTED]}, f"features.{SPEND}"),
        ({SPEND: True}, f"features.{SPEND}"),
        ({SPEND: math.nan}, f"features.{SPEND}"),
        ({SPEND: math.inf}, f"features.{SPEND}"),
        ({SPEND: 10**400}, f"features.{SPEND}"),
        ({ORDERS: PLANTED}, f"features.{ORDERS}"),
        ({ORDERS: 2**63}, f"features.{ORDERS}"),
        ({MEMBER: 1}, f"features.{MEMBER}"),
    ],
)
async def test_an_override_that_cannot_be_used_is_400_and_its_value_is_not_repeated(
    open_api: OpenApi, overrides: dict[str, Any], field: str
) -> None:
    api = open_api({"a": customer()})
    body = json.dumps({"customer_id": "a", "features": overrides}).encode()

    response = await api.send("/predict", body)

    assert field == error_of(response, 400, "invalid_request")["field"]
    assert "31337" not in text_of(response)


@pytest.mark.parametrize("magnitude", [1e6, 1e12, 1e30, 3.4e38])
async def test_any_override_that_is_accepted_is_answered_with_a_probability(
    open_api: OpenApi, magnitude: float
) -> None:
    api = open_api({"a": live_customer()})

    for value in (magnitude, -magnitude):
        body = without_request_id(await api.predict("a", features={SPEND: value}))
        assert 0 <= body["churn_probability"] <= 1


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "text/json", ""])
async def test_a_body_that_is_not_declared_as_json_is_415(open_api: OpenApi, content_type: str) -> None:
    response = await open_api({}).send("/predict", b'{"customer_id": "a"}', content_type)

    assert "Content-Type" == error_of(response, 415, "unsupported_media_type")["field"]


async def test_json_that_cannot_be_read_is_told_where(open_api: OpenApi) -> None:
    response = await open_api({}).send("/predict", b'{"customer_id": "\\ud800"}')

    message = error_of(response, 400, "invalid_request")["message"]
    assert message.startswith("body is not valid JSON: ")
    assert message.endswith(" at line 1 column 24")


async def test_a_huge_member_name_is_not_sent_back_whole(open_api: OpenApi) -> None:
    body = json.dumps({"customer_id": "a", "x" * 100_000: 1}).encode()

    response = await open_api({}).send("/predict", body)

    error_of(response, 400, "invalid_request")
    assert len(response.content) < 5000


async def test_an_unknown_customer_alone_is_404(open_api: OpenApi) -> None:
    error = error_of(await open_api({"a": customer()}).predict("nobody"), 404, "unknown_customer")

    assert "customer_id" == error["field"]


@pytest.mark.parametrize("path", ["/predict", "/predict_batch"])
async def test_a_body_over_the_limit_is_413(open_api: OpenApi, path: str) -> None:
    api = open_api({}, max_body_bytes=1000)
    body = b'{"customer_id": "%s"}' % (b"x" * 1000)

    assert "1000" in error_of(await api.send(path, body), 413, "too_large")["message"]


async def test_a_body_that_arrives_in_parts_is_cut_off_at_the_limit(open_api: OpenApi) -> None:
    api = open_api({}, max_body_bytes=1000)
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        while sent < 1000:
            sent += 1
            yield b"x" * 100

    response = await api.client.post("/predict", content=endless(), headers={"Content-Type": "application/json"})

    error_of(response, 413, "too_large")
    assert sent < 20


async def test_a_batch_over_the_limit_is_413_and_one_at_the_limit_is_not(open_api: OpenApi) -> None:
    api = open_api({"a": live_customer()}, max_batch=3)

    error = error_of(await api.predict_batch("a", "a", "a", "a"), 413, "too_large")

    assert "customer_ids" == error["field"]
    assert "3" in error["message"]
    assert 3 == len(without_request_id(await api.predict_batch("a", "a", "a"))["predictions"])


async def test_a_customer_whom_the_contract_refuses_is_422_with_the_feature_named(open_api: OpenApi) -> None:
    api = open_api(
        {"a": live_customer(orders_30d=PLANTED, activity_age=3 * DAY)}, policies={ORDERS_30D: {"on_stale": "refuse"}}
    )

    response = await api.predict("a")

    assert f"{ORDERS_30D} is stale" in error_of(response, 422, "features_refused")["message"]
    assert "31337" not in text_of(response)


async def started(call: Awaitable[httpx.Response], api: Api, reads: int) -> "asyncio.Future[httpx.Response]":
    """Send a request and come back when it waits for the store."""
    task = asyncio.ensure_future(call)
    async with asyncio.timeout(10):
        while len(api.store.asked) < reads:
            await asyncio.sleep(0.001)
    return task


async def test_a_request_over_the_concurrency_limit_is_429_and_the_others_are_answered(open_api: OpenApi) -> None:
    gate = asyncio.Event()
    api = open_api({"a": live_customer()}, gate=gate, max_concurrency=2)
    held = [await started(api.predict("a"), api, 1), await started(api.predict_batch("a"), api, 2)]

    shed = await api.predict("a")
    gate.set()
    answered = await asyncio.gather(*held)

    error_of(shed, 429, "overloaded")
    assert int(shed.headers["Retry-After"]) >= 1
    assert [200, 200] == [response.status_code for response in answered]
    assert 2 == len(api.store.asked), "a request that is shed must not reach the store"
    together = await asyncio.gather(api.predict("a"), api.predict("a"))
    assert [200, 200] == [response.status_code for response in together], "every place is free again"


async def test_batches_that_are_too_many_rows_together_are_429(open_api: OpenApi) -> None:
    gate = asyncio.Event()
    api = open_api({"a": live_customer()}, gate=gate, max_rows=3, max_batch=3)
    held = await started(api.predict_batch("a", "b"), api, 1)

    shed = await api.predict_batch("a", "b")
    single = await started(api.predict("a"), api, 2)
    gate.set()

    error_of(shed, 429, "overloaded")
    assert [200, 200] == [(await held).status_code, (await single).status_code]


async def test_a_path_that_is_not_there_is_404_in_the_designed_body(open_api: OpenApi) -> None:
    for method in ("GET", "POST", "DELETE"):
        error_of(await open_api({}).client.request(method, "/predictions"), 404, "not_found")


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz", "/static_content/x.js", "/schema.json"])
async def test_health_and_pages_are_bentomls_and_need_no_key(open_api: OpenApi, path: str) -> None:
    assert "bentoml" == (await open_api({}, api_keys=f"shop:{'0' * 64}").client.get(path)).text


@pytest.mark.parametrize("call", ["predict", "predict_batch"])
async def test_without_a_key_it_is_401_before_anything_is_read(open_api: OpenApi, call: str) -> None:
    api = open_api({"a": live_customer()}, api_keys=f"shop:{hashlib.sha256(b'the key').hexdigest()}")
    right = {"Authorization": "Bearer the key"}

    refused = await getattr(api, call)("a")
    answered = await api.client.post(f"/{call}", content=b"{", headers=right)
    wrong = await api.client.post(f"/{call}", content=b"{", headers={"Authorization": "Bearer another"})

    error_of(refused, 401, "unauthenticated")
    error_of(wrong, 401, "unauthenticated")
    assert "Bearer" == refused.headers["WWW-Authenticate"]
    error_of(answered, 400, "invalid_request")
    assert [] == api.store.asked
    assert 1 == api.metric("model_service_requests_total", call=call, outcome="invalid_request", client="shop")
    assert 2 == api.metric(
        "model_service_requests_total", call=call, outcome="unauthenticated", client="unauthenticated"
    )


async def test_a_client_that_goes_away_frees_its_place(open_api: OpenApi) -> None:
    gate = asyncio.Event()
    api = open_api({"a": live_customer()}, gate=gate, max_concurrency=1)
    gone = await started(api.predict("a"), api, 1)

    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    gate.set()

    assert 200 == (await api.predict("a")).status_code


@pytest.mark.parametrize("call", ["predict", "predict_batch"])
async def test_an_online_store_that_fails_is_503_with_retry_after(open_api: OpenApi, call: str) -> None:
    api = open_api({}, failure=OnlineStoreUnavailableError("the online store is not available"))

    response = await getattr(api, call)("a")

    error_of(response, 503, "online_store_unavailable")
    assert int(response.headers["Retry-After"]) >= 1


@pytest.mark.parametrize("call", ["predict", "predict_batch"])
async def test_an_online_store_that_never_answers_is_503_at_the_deadline(open_api: OpenApi, call: str) -> None:
    api = open_api({}, gate=asyncio.Event(), deadline_ms=50)

    async with asyncio.timeout(5):
        response = await getattr(api, call)("a")

    error_of(response, 503, "deadline_exceeded")
    assert int(response.headers["Retry-After"]) >= 1


@pytest.mark.parametrize("call", ["predict", "predict_batch"])
async def test_an_unexpected_failure_is_500_without_its_text(
    open_api: OpenApi, call: str, caplog: pytest.LogCaptureFixture
) -> None:
    api = open_api({}, failure=RuntimeError(f"redis://:secret@host and {PLANTED}"))

    response = await getattr(api, call)("a")

    request_id = error_of(response, 500, "internal")["request_id"]
    assert not {word for word in ("secret", "31337", "RuntimeError", "redis") if word in response.text}
    logged = [getattr(record, "request_id", None) for record in caplog.records if record.exc_info]
    assert [request_id] == logged, "the log must tell what happened to which request"


@pytest.mark.parametrize(("method", "path"), [("GET", "/nowhere"), ("GET", "/predict"), ("POST", "/model")])
async def test_a_call_that_does_not_exist_is_told_in_the_same_form(open_api: OpenApi, method: str, path: str) -> None:
    response = await open_api({}).client.request(method, path)

    assert response.status_code in (404, 405)
    assert {"code", "message", "request_id"} <= set(response.json().get("error", {}))
