"""What the calls answer, byte for byte as designed, and what the metrics say of it."""

import re
import time
from typing import Any

import httpx
import pytest

from service.errors import OnlineStoreUnavailableError
from tests.models.fakes import (
    DAY,
    DAYS_SINCE,
    MEMBER,
    ORDERS,
    ORDERS_30D,
    SPEND,
    Rows,
    StoredRow,
    customer,
    small_contract,
)
from tests.unit.service.conftest import Api, OpenApi, error_of, without_request_id


def live_customer(**features: Any) -> Rows:
    """`customer()` as of the real clock, which the API reads."""
    rows = customer(**features)
    shift = time.time() - 1_750_000_000.0
    last = rows["profile"].values["last_order_unix_us"]
    return {
        "profile": StoredRow(
            rows["profile"].event_time + shift,
            {**rows["profile"].values, "last_order_unix_us": None if last is None else last + shift * 1e6},
        ),
        "activity": StoredRow(rows["activity"].event_time + shift, rows["activity"].values),
    }


async def test_predict_answers_with_the_designed_body(open_api: OpenApi) -> None:
    api = open_api({"00042": live_customer()})

    body = without_request_id(await api.predict("00042"))

    probability = body.pop("churn_probability")
    assert 0 < probability < 0.5
    expected = {"customer_id": "00042", "churn": False, "status": "ok", "feature_issues": [], "cached_seconds": None}
    assert expected == body


async def test_predict_tells_every_feature_that_was_not_simply_fresh(open_api: OpenApi) -> None:
    api = open_api({"a": live_customer(spend=None, activity_age=3 * DAY)})

    body = without_request_id(await api.predict("a", features={ORDERS: 5}))

    assert "degraded" == body["status"]
    issues = body["feature_issues"]
    assert [{"feature", "state", "age_seconds", "used"}] * 4 == [set(issue) for issue in issues]
    assert [
        (ORDERS_30D, "stale", "default"),
        (SPEND, "missing", "default"),
        (MEMBER, "stale", "default"),
        (ORDERS, "overridden", "value"),
    ] == [(i["feature"], i["state"], i["used"]) for i in issues]
    assert 3 * DAY <= issues[0]["age_seconds"] < 3 * DAY + 600


async def test_predict_batch_answers_one_row_per_id_as_designed(open_api: OpenApi) -> None:
    refused = live_customer(orders_30d=None)
    api = open_api({"a": live_customer(), "b": refused}, policies={ORDERS_30D: {"on_missing": "refuse"}})

    body = without_request_id(await api.predict_batch("a", "nobody", "b", "a"))

    assert {"predictions"} == set(body)
    first, unknown, refused_row, again = body["predictions"]
    members = {"customer_id", "churn_probability", "churn", "status", "feature_issues", "cached_seconds"}
    assert [members] * 4 == [set(row) for row in body["predictions"]]
    assert first == again
    assert ("a", "ok", False, []) == (first["customer_id"], first["status"], first["churn"], first["feature_issues"])
    nothing = {"churn_probability": None, "churn": None, "cached_seconds": None}
    assert {"customer_id": "nobody", "status": "unknown_customer", "feature_issues": [], **nothing} == unknown
    age = refused_row["feature_issues"][0].pop("age_seconds")
    assert DAY / 2 <= age < DAY
    issue = {"feature": ORDERS_30D, "state": "missing", "used": None}
    assert {"customer_id": "b", "status": "refused", "feature_issues": [issue], **nothing} == refused_row


async def test_an_empty_batch_is_answered_with_no_rows(open_api: OpenApi) -> None:
    assert {"predictions": []} == without_request_id(await open_api({}).predict_batch())


async def test_a_batch_agrees_with_single_predictions(open_api: OpenApi) -> None:
    api = open_api({"a": live_customer(days_since=5.0), "b": live_customer(days_since=200.0)})

    batch = without_request_id(await api.predict_batch("b", "a"))["predictions"]
    singles = [without_request_id(await api.predict(customer_id)) for customer_id in ("b", "a")]

    # the requests are milliseconds apart, which is what days_since_last_order differs by
    assert [s["churn_probability"] for s in singles] == pytest.approx([b["churn_probability"] for b in batch], abs=1e-5)
    assert [True, False] == [b["churn"] for b in batch]


async def test_model_answers_with_the_live_contract(open_api: OpenApi) -> None:
    contract = small_contract()

    body = without_request_id(await open_api({}).client.get("/model"))

    assert {
        "tag": "small_churn:v7",
        "contract_sha256": contract.sha256,
        "contract": contract.model_dump(mode="json"),
        "challenger": None,
        "release": {"version": None, "commit": None, "bento": None, "image": None},
        "runtime": {"name": "onnx", "reason": None},
    } == body


@pytest.mark.parametrize("customer_id", ["Zoë-Ω-客户", "a b", "00042", "x" * 256, "😀", "'; DROP", "a\nb", "{id}"])
async def test_any_non_empty_text_is_an_id(open_api: OpenApi, customer_id: str) -> None:
    api = open_api({customer_id: live_customer()})

    assert customer_id == without_request_id(await api.predict(customer_id))["customer_id"]
    assert "ok" == without_request_id(await api.predict_batch(customer_id))["predictions"][0]["status"]


async def test_a_leading_zero_tells_customers_apart(open_api: OpenApi) -> None:
    api = open_api({"042": live_customer()})

    error_of(await api.predict("42"), 404, "unknown_customer")


async def test_a_content_type_with_a_charset_or_none_is_json(open_api: OpenApi) -> None:
    api = open_api({"a": live_customer()})
    body = b'{"customer_id": "a"}'

    assert 200 == (await api.send("/predict", body, "Application/JSON; charset=utf-8")).status_code
    assert 200 == (await api.client.post("/predict", content=body)).status_code


@pytest.mark.parametrize(
    "given",
    [
        *("abc-123", "x" * 128, "550e8400-e29b-41d4-a716-446655440000", "01ARZ3NDEKTSV4RRFFQ69G5FAV"),
        *("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "Root=1-67891233-abcdef012345678912345678"),
        *("dGVzdC9pZCs=", "-_aBc", "shop@eu:orders/7.1"),
    ],
)
async def test_a_safe_request_id_is_echoed(open_api: OpenApi, given: str) -> None:
    api = open_api({"a": live_customer()})

    for path in ("/predict", "/predict_batch"):
        response = await api.client.post(path, content=b"{", headers={"X-Request-ID": given})
        assert given == error_of(response, 400, "invalid_request")["request_id"]
    response = await api.client.get("/model", headers={"X-Request-ID": given})
    assert given == response.json()["request_id"] == response.headers["X-Request-ID"]


@pytest.mark.parametrize(
    "given",
    [
        *(b"", b"x" * 129, b"two words", b"tab\there", b"caf\xc3\xa9", b"\x1b[31mred", b"\xc2\x9b31m", b"a\n"),
        *(b"a" + bytes([letter]) for letter in b"`$;|&<>()[]{}'\"\\!#%*?~^,"),
    ],
)
async def test_an_unsafe_or_absent_request_id_is_replaced(open_api: OpenApi, given: bytes) -> None:
    response = await open_api({}).client.get("/model", headers=httpx.Headers([(b"X-Request-ID", given)]))

    assert re.fullmatch("[0-9a-f]{32}", response.json()["request_id"])
    assert response.headers["X-Request-ID"] == response.json()["request_id"]


async def test_two_requests_without_an_id_get_different_ones(open_api: OpenApi) -> None:
    api = open_api({})

    ids = {(await api.client.get("/model")).json()["request_id"] for _ in range(3)}

    assert 3 == len(ids)


async def test_answers_are_counted_by_call_and_outcome(open_api: OpenApi) -> None:
    api = open_api({"a": live_customer()})
    down = open_api({}, failure=OnlineStoreUnavailableError("down"))
    broken = open_api({}, failure=RuntimeError("broken"))

    for response in (api.predict("a"), api.predict("a"), api.predict("nobody"), api.predict(7), down.predict("a")):
        await response
    for response in (api.predict_batch("a", "nobody"), broken.predict_batch("a"), api.client.get("/model")):
        await response

    def counted(of: Api, call: str, outcome: str) -> float:
        return of.metric("model_service_requests_total", call=call, outcome=outcome, client="anonymous")

    outcomes = [("predict", "ok"), ("predict", "unknown_customer"), ("predict", "invalid_request")]
    assert [2, 1, 1] == [counted(api, *outcome) for outcome in outcomes]
    assert [1, 1] == [counted(api, call, "ok") for call in ("predict_batch", "model")]
    assert [1, 1] == [
        counted(down, "predict", "online_store_unavailable"),
        counted(broken, "predict_batch", "internal"),
    ]
    assert 4 == api.metric("model_service_request_seconds_count", call="predict")


async def test_feature_issues_are_counted_by_feature_and_state(open_api: OpenApi) -> None:
    api = open_api({"a": live_customer(days_since=None), "b": live_customer(activity_age=3 * DAY)})

    await api.predict_batch("a", "b", "b")
    await api.predict("b", features={SPEND: 1.5})

    cells = [(DAYS_SINCE, "missing"), (MEMBER, "stale"), (SPEND, "overridden")]
    # a row that is asked for twice is looked at once
    assert [1, 2, 1] == [api.metric("model_service_feature_issues_total", feature=f, state=s) for f, s in cells]


async def test_issues_of_a_refused_customer_are_counted_alike_alone_and_in_a_batch(open_api: OpenApi) -> None:
    api = open_api({"a": live_customer(orders_30d=None)}, policies={ORDERS_30D: {"on_missing": "refuse"}})

    await api.predict_batch("a")
    after_batch = api.metric("model_service_feature_issues_total", feature=ORDERS_30D, state="missing")
    error_of(await api.predict("a"), 422, "features_refused")

    assert (1, 2) == (
        after_batch,
        api.metric("model_service_feature_issues_total", feature=ORDERS_30D, state="missing"),
    )
