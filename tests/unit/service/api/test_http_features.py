"""`POST /features`: what is stored of an entity, how old it is, and what a model would take of it."""

import asyncio
from typing import Any

import numpy as np
import pytest

from service.errors import OnlineStoreUnavailableError
from tests.models.fakes import ACTIVITY_TTL, DAY, DAYS_SINCE, DEFAULTS, MEMBER, ORDERS, ORDERS_30D, SPEND
from tests.models.typed import BALANCE, IS_NEW, KEY, RATIO, REGION, SEGMENT, SIGNED_UP, TASTE, VISITS, purchase
from tests.unit.service.api.test_openapi import check
from tests.unit.service.api.test_routing import live_customer
from tests.unit.service.api.test_typed_api import ASKED, PRIVATE, OpenTyped, open_typed, post
from tests.unit.service.conftest import Api, OpenApi, error_of, text_of, without_request_id
from tests.unit.service.telemetry.test_tracing import Spans, spans

__all__ = ["open_typed", "spans"]  # fixtures


async def features(api: Api, *customer_ids: str) -> list[dict[str, Any]]:
    """The rows of an answer that the OpenAPI document states."""
    response = await post(api, "/features", {"customer_ids": customer_ids})
    assert 200 == await check(api, response), response.text
    rows: list[dict[str, Any]] = without_request_id(response)["rows"]
    return rows


async def test_a_fresh_entity_has_every_input_in_the_types_of_the_contract(open_api: OpenApi) -> None:
    (row,) = await features(open_api({"a": live_customer()}), "a")

    aged = {name: feature.pop("age_seconds") for name, feature in row["features"].items()}
    assert DAY / 2 <= aged[ORDERS_30D] < DAY
    assert 10 * DAY <= aged[SPEND] == aged[DAYS_SINCE] < 10 * DAY + 600
    fresh = {"state": "fresh"}
    assert {"value": pytest.approx(10.0, abs=0.1), "ttl_seconds": None, **fresh} == row["features"].pop(DAYS_SINCE)
    assert {
        "customer_id": "a",
        "status": "ok",
        "features": {
            ORDERS_30D: {"value": 2, "ttl_seconds": ACTIVITY_TTL, **fresh},
            SPEND: {"value": 120.0, "ttl_seconds": None, **fresh},
            MEMBER: {"value": True, "ttl_seconds": ACTIVITY_TTL, **fresh},
            ORDERS: {"value": 4, "ttl_seconds": None, **fresh},
        },
        "cached_seconds": None,
    } == row
    assert isinstance(row["features"][ORDERS]["value"], int)


async def test_what_was_read_and_the_default_that_stands_in_for_it_are_both_named(open_api: OpenApi) -> None:
    api = open_api({"old": live_customer(activity_age=3 * DAY), "null": live_customer(spend=None)})

    old, null = await features(api, "old", "null")

    assert ["degraded", "degraded"] == [old["status"], null["status"]]
    stale = old["features"][ORDERS_30D]
    assert ("stale", 2, 1.0, ACTIVITY_TTL) == tuple(stale[name] for name in ("state", "value", "used", "ttl_seconds"))
    assert 3 * DAY <= stale["age_seconds"] < 3 * DAY + 600
    assert (True, 0.0) == (old["features"][MEMBER]["value"], old["features"][MEMBER]["used"])
    missing = null["features"][SPEND]
    assert ("missing", None, 50.0) == tuple(missing[name] for name in ("state", "value", "used"))
    assert "used" not in old["features"][SPEND]


async def test_rows_come_in_the_order_asked_and_each_key_is_read_once(open_api: OpenApi) -> None:
    api = open_api({"a": live_customer(), "b": live_customer(orders=9)})

    rows = await features(api, "b", "nobody", "a", "b")

    assert ["b", "nobody", "a", "b"] == [row["customer_id"] for row in rows]
    assert {"customer_id": "nobody", "status": "unknown_customer", "features": None, "cached_seconds": None} == rows[1]
    assert [9, 4, 9] == [rows[at]["features"][ORDERS]["value"] for at in (0, 2, 3)]
    assert [["b", "nobody", "a"]] == api.store.asked
    assert [] == await features(api)


async def test_values_that_the_contract_refuses_are_shown_and_nothing_stands_in(open_api: OpenApi) -> None:
    api = open_api({"a": live_customer(orders_30d=None)}, policies={ORDERS_30D: {"on_missing": "refuse"}})

    (row,) = await features(api, "a")

    assert "refused" == row["status"]
    assert ("missing", None) == (row["features"][ORDERS_30D]["state"], row["features"][ORDERS_30D]["value"])
    assert not any("used" in feature for feature in row["features"].values())


async def test_every_type_of_a_contract_is_written(open_typed: OpenTyped) -> None:
    api = open_typed({KEY: purchase(), (8, "m1"): purchase(segment=None, balance=None, taste=None)})

    response = await post(api, "/features", {"rows": [ASKED, {**ASKED, "customer_id": 8}]})

    assert 200 == await check(api, response)
    whole, lacking = without_request_id(response)["rows"]
    assert (7, "m1", "ok") == (whole["customer_id"], whole["merchant_id"], whole["status"])
    assert {
        RATIO: 0.25,
        SEGMENT: "student",
        BALANCE: 50.0,
        REGION: "20",
        SIGNED_UP: 100 * DAY,
        TASTE: [0.5, -1.0],
        VISITS: 3,
        IS_NEW: False,
    } == {name: feature["value"] for name, feature in whole["features"].items()}
    assert {"value": [0.5, -1.0], "state": "fresh", "age_seconds": DAY, "ttl_seconds": 30 * DAY} == whole["features"][
        TASTE
    ]
    kept = {"value": None, "state": "missing", "age_seconds": DAY, "ttl_seconds": None}
    assert [kept, kept] == [lacking["features"][name] for name in (SEGMENT, BALANCE)]  # the model takes these nulls
    absent = {"value": [None, None], "state": "missing", "age_seconds": DAY, "ttl_seconds": 30 * DAY}
    assert {**absent, "used": [0.0, 0.0]} == lacking["features"][TASTE]


async def test_an_unseen_category_is_named_as_such_and_its_text_stays_in_the_store(open_typed: OpenTyped) -> None:
    api = open_typed({KEY: purchase(segment=PRIVATE), (8, "m1"): purchase(region=4711)})

    response = await post(api, "/features", {"rows": [ASKED, {**ASKED, "customer_id": 8}]})

    assert 200 == await check(api, response)
    taken, refused = without_request_id(response)["rows"]
    assert ("degraded", "__unseen__", "unseen") == (
        taken["status"],
        taken["features"][SEGMENT]["value"],
        taken["features"][SEGMENT]["state"],
    )
    assert ("refused", "unseen") == (refused["status"], refused["features"][REGION]["state"])
    assert "4711" not in text_of(response)


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"customer_id": "x" + PRIVATE}, "rows.0.customer_id"), ({"inputs": {"amount": PRIVATE}}, "rows.0.inputs.amount")],
)
async def test_what_is_wrong_is_named_and_its_value_not_repeated(
    open_typed: OpenTyped, changes: dict[str, Any], field: str
) -> None:
    api = open_typed()

    response = await post(api, "/features", {"rows": [{**ASKED, **changes}]})

    assert field == error_of(response, 400, "invalid_request")["field"]
    assert PRIVATE not in response.text
    assert 400 == await check(api, response)


async def test_it_keeps_to_the_limits_and_the_deadline_of_a_batch(open_api: OpenApi) -> None:
    hung = open_api({}, gate=asyncio.Event(), deadline_ms=20)
    down = open_api({}, failure=OnlineStoreUnavailableError("down"))
    small = open_api({"a": live_customer()}, max_batch=2, max_rows=2)

    assert 413 == (await post(small, "/features", {"customer_ids": ["a"] * 3})).status_code
    error_of(await post(hung, "/features", {"customer_ids": ["a"]}), 503, "deadline_exceeded")
    error_of(await post(down, "/features", {"customer_ids": ["a"]}), 503, "online_store_unavailable")
    with small.serving.rows.take(1):
        error_of(await post(small, "/features", {"customer_ids": ["a", "b"]}), 429, "overloaded")


async def test_last_known_good_features_are_told_from_those_just_read(open_api: OpenApi) -> None:
    api = open_api({"a": live_customer()}, cache_rows=10)
    (before,) = await features(api, "a")
    api.store.failure = OnlineStoreUnavailableError("down")

    (row,) = await features(api, "a")

    assert (None, "ok") == (before["cached_seconds"], before["status"])
    assert 0 <= row["cached_seconds"] < 60
    assert ("degraded", 4) == (row["status"], row["features"][ORDERS]["value"])
    error_of(await post(api, "/features", {"customer_ids": ["a", "b"]}), 503, "online_store_unavailable")


async def test_it_counts_as_a_call_and_not_as_predictions(open_api: OpenApi, spans: Spans) -> None:
    api = open_api({"a": live_customer(spend=None)})

    await features(api, "a")

    assert 1 == api.metric("model_service_requests_total", call="features", outcome="ok", client="anonymous")
    assert 0 == api.metric("model_service_predictions_total", status="degraded")
    assert 1 == api.metric("model_service_stage_seconds_count", stage="features")
    assert {"read features", "POST /features"} <= {span.name for span in spans.all()}


async def test_the_model_takes_what_is_said_to_be_used(open_api: OpenApi) -> None:
    api = open_api({"a": live_customer(activity_age=3 * DAY, spend=None)})

    (row,) = await features(api, "a")

    found = await api.serving.predictor.look_up("a", api.store.as_of[0])
    used = [row["features"][name].get("used", row["features"][name]["value"]) for name in DEFAULTS]
    np.testing.assert_allclose(found.resolved.matrix[0], np.array(used, dtype=np.float32))


async def test_a_large_batch_is_written_beside_other_requests_and_alike(open_api: OpenApi) -> None:
    known = {f"{number:03}": live_customer(orders=number) for number in range(120)}
    api = open_api(known)

    rows = await features(api, *known)

    assert list(known) == [row["customer_id"] for row in rows]
    assert [*range(120)] == [row["features"][ORDERS]["value"] for row in rows]
