"""Quotas over HTTP: what counts, what is refused, and what the answer says."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from service.api.authentication import new_key
from service.api.quotas import Quotas, parse_quotas
from service.inference_log.history import AnswerHistory
from tests.models.fakes import DEFAULTS
from tests.unit.service.api.test_openapi import check
from tests.unit.service.api.test_quotas import Clock
from tests.unit.service.api.test_routing import live_customer
from tests.unit.service.conftest import Api, OpenApi, error_of

KEYS = {name: new_key(name) for name in ("shop", "reports")}
ROW = {"dataframe_records": [dict.fromkeys(DEFAULTS, 1.0)] * 3}


def with_quotas(open_api: OpenApi, quotas: str, **settings: object) -> tuple[Api, Clock]:
    """The API with two keys and a clock that the test turns."""
    entries = " ".join(entry for _, entry in KEYS.values())
    api = open_api({"a": live_customer()}, api_keys=entries, quotas=quotas, **settings)
    clock = Clock()
    object.__setattr__(api.serving, "quotas", Quotas(parse_quotas(quotas), api.serving.metrics.quotas, clock=clock))
    return api, clock


async def ask(api: Api, path: str, body: Any = None, client: str = "shop") -> httpx.Response:
    headers = {"Authorization": f"Bearer {KEYS[client][0]}"}
    return await api.client.request("GET" if body is None else "POST", path, json=body, headers=headers)


async def test_a_request_over_the_quota_is_429_until_it_fits(open_api: OpenApi) -> None:
    api, clock = with_quotas(open_api, "shop=2/-")
    body = {"customer_id": "a"}

    taken = [(await ask(api, path, body)).status_code for path in ("/predict", "/explain")]
    refused = await ask(api, "/predict", body)

    assert [200, 200] == taken
    error = error_of(refused, 429, "quota_exceeded")
    assert "the quota of this API key is used up: 2 requests a minute" == error["message"]
    assert "30" == refused.headers["Retry-After"]
    assert 429 == await check(api, refused)
    assert 429 == (await ask(api, "/model")).status_code
    assert 200 == (await ask(api, "/predict", body, client="reports")).status_code
    clock.now += 30
    assert 200 == (await ask(api, "/predict", body)).status_code
    labels = {"call": "predict", "outcome": "quota_exceeded", "client": "shop"}
    assert 1 == api.metric("model_service_requests_total", **labels)


async def test_it_is_refused_before_its_body_is_read_and_after_the_key_is_known(open_api: OpenApi) -> None:
    api, _ = with_quotas(open_api, "*=1/-")
    await ask(api, "/model")

    async def never() -> Any:
        pytest.fail("the body was read")
        yield b""

    headers = {"Authorization": f"Bearer {KEYS['shop'][0]}"}
    error_of(await api.client.post("/predict", content=never(), headers=headers), 429, "quota_exceeded")
    error_of(await api.client.post("/predict", content=b"{}"), 401, "unauthenticated")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/predict_batch", {"customer_ids": ["a", "nobody", "a"]}),
        ("/features", {"customer_ids": ["a", "nobody", "a"]}),
        ("/invocations", ROW),
    ],
)
async def test_rows_count_however_they_are_asked_for(open_api: OpenApi, path: str, body: Any) -> None:
    api, clock = with_quotas(open_api, "shop=-/5")

    assert 200 == (await ask(api, path, body)).status_code
    refused = await ask(api, path, body)

    assert 200 == (await ask(api, "/predict", {"customer_id": "a"})).status_code
    assert (
        "the quota of this API key is used up: 5 rows a minute" == error_of(refused, 429, "quota_exceeded")["message"]
    )
    assert ("12", 429) == (refused.headers["Retry-After"], await check(api, refused))
    clock.now += 24
    assert 200 == (await ask(api, path, body)).status_code


async def test_a_look_into_the_history_is_one_row(open_api: OpenApi, tmp_path: Path) -> None:
    api, _ = with_quotas(open_api, "shop=-/2", history=True, inference_log=True)
    object.__setattr__(api.serving, "history", AnswerHistory(tmp_path))

    wrong, *asked = [await ask(api, f"/history?customer_id=a&limit={limit}") for limit in (0, 100, 100, 1)]

    assert [400, 200, 200, 429] == [wrong.status_code, *(response.status_code for response in asked)]
    assert "the quota of this API key is used up: 2 rows a minute" == asked[2].json()["error"]["message"]


@pytest.mark.parametrize("path", ["/predict_batch", "/features"])
async def test_a_batch_that_no_wait_makes_fit_is_413(open_api: OpenApi, path: str) -> None:
    api, _ = with_quotas(open_api, "shop=-/2", max_batch=4)

    over_quota, over_limit = [await ask(api, path, {"customer_ids": ["a"] * rows}) for rows in (3, 5)]

    whole = "3 rows are more than the whole quota of this API key, 2 rows a minute"
    assert whole == error_of(over_quota, 413, "too_large")["message"]
    assert "customer_ids" == error_of(over_limit, 413, "too_large")["field"]
    assert 200 == (await ask(api, path, {"customer_ids": ["a"] * 2})).status_code


async def test_a_batch_that_is_refused_for_another_reason_costs_no_rows(open_api: OpenApi) -> None:
    api, _ = with_quotas(open_api, "shop=-/3", max_batch=3)

    bodies: list[dict[str, Any]] = [{"customer_ids": ["a"] * 4}, {"customer_ids": [1, 2]}, {"rows": []}]
    for body in bodies:
        assert (await ask(api, "/predict_batch", body)).status_code in (400, 413)

    assert 200 == (await ask(api, "/predict_batch", {"customer_ids": ["a"] * 3})).status_code


async def test_without_quotas_the_document_and_the_answers_are_as_before(open_api: OpenApi) -> None:
    plain = open_api({"a": live_customer()})
    limited, _ = with_quotas(open_api, "shop=1/1")

    codes = [
        (await api.client.get("/docs.json")).json()["paths"]["/model"]["get"]["responses"]["429"]["content"]
        for api in (plain, limited)
    ]

    assert ["quota_exceeded" in str(code) for code in codes] == [False, True]
    assert plain.serving.quotas is None
    assert 200 == (await plain.client.get("/livez")).status_code == (await limited.client.get("/metrics")).status_code


async def test_what_needs_no_key_counts_for_nobody(open_api: OpenApi) -> None:
    api, _ = with_quotas(open_api, "*=1/1")

    for path in ("/metrics", "/docs.json", "/nowhere", "/", "/livez"):
        await ask(api, path)

    assert 200 == (await ask(api, "/model")).status_code
