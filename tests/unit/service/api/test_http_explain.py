"""`POST /explain`: the prediction taken apart, what the model saw of each feature, and what it costs the others."""

import asyncio
import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from scoring.explanation import Explanation
from service.errors import OnlineStoreUnavailableError
from service.prediction.lazy_explainer import LazyExplainer
from tests.models.fakes import ACTIVITY, DAY, DAYS_SINCE, DEFAULTS, MEMBER, ORDERS, ORDERS_30D, PROFILE, RECENCY, SPEND
from tests.unit.service.api.test_routing import live_customer
from tests.unit.service.conftest import Api, OpenApi, error_of, without_request_id


async def explain(api: Api, customer_id: object, **members: object) -> dict[str, Any]:
    """The body, after checking that it adds up to its own probability."""
    response = await api.client.post("/explain", json={"customer_id": customer_id, **members})
    body = without_request_id(response)
    logit = body["base_value"] + sum(c["contribution"] for c in body["contributions"])
    probability = body["churn_probability"]
    assert logit == pytest.approx(math.log(probability / (1 - probability)), abs=1e-4)
    return body


async def test_every_input_is_there_in_the_contracts_order_with_what_the_model_saw(open_api: OpenApi) -> None:
    api = open_api({"a": live_customer()})

    contributions = (await explain(api, "a"))["contributions"]

    assert [{"feature", "view", "contribution", "value", "age_seconds", "state"}] * 5 == [set(c) for c in contributions]
    assert list(DEFAULTS) == [c["feature"] for c in contributions]
    by_name = {c["feature"]: c for c in contributions}
    views = {DAYS_SINCE: RECENCY, ORDERS_30D: ACTIVITY, SPEND: PROFILE, MEMBER: ACTIVITY, ORDERS: PROFILE}
    assert views == {name: c["view"] for name, c in by_name.items()}
    stored = {ORDERS_30D: 2, SPEND: 120, MEMBER: 1, ORDERS: 4, DAYS_SINCE: pytest.approx(10, abs=0.01)}
    assert stored == {name: c["value"] for name, c in by_name.items()}
    half_a_day, ten_days = pytest.approx(DAY / 2, abs=600), pytest.approx(10 * DAY, abs=600)
    ages = {ORDERS_30D: half_a_day, MEMBER: half_a_day, SPEND: ten_days, ORDERS: ten_days, DAYS_SINCE: ten_days}
    assert ages == {name: c["age_seconds"] for name, c in by_name.items()}
    assert {"fresh"} == {c["state"] for c in contributions}


async def test_the_prediction_is_the_one_of_predict(open_api: OpenApi) -> None:
    api = open_api({"a": live_customer(spend=None, activity_age=3 * DAY)})

    explained = await explain(api, "a", features={ORDERS: 5})
    predicted = without_request_id(await api.predict("a", features={ORDERS: 5}))

    assert predicted.keys() | {"base_value", "contributions", "space"} == explained.keys()
    assert "log-odds" == explained["space"]
    for body in (explained, predicted):
        for issue in body["feature_issues"]:
            issue["age_seconds"] = pytest.approx(issue["age_seconds"], abs=600)
        body["churn_probability"] = pytest.approx(body["churn_probability"], abs=1e-5)
    assert predicted == {name: explained[name] for name in predicted}


async def test_what_stands_in_is_what_is_explained(open_api: OpenApi) -> None:
    """Stale, missing, overridden and not there at all: the value is the model's, the age the row's."""
    api = open_api({"a": live_customer(spend=None, activity_age=3 * DAY), "b": {PROFILE: live_customer()[PROFILE]}})

    stale = {c["feature"]: c for c in (await explain(api, "a", features={ORDERS: 5, MEMBER: True}))["contributions"]}
    absent = {c["feature"]: c for c in (await explain(api, "b"))["contributions"]}

    told = {name: (c["state"], c["value"]) for name, c in stale.items() if name != DAYS_SINCE}
    assert {
        ORDERS_30D: ("stale", DEFAULTS[ORDERS_30D]),
        SPEND: ("missing", DEFAULTS[SPEND]),
        MEMBER: ("overridden", 1.0),
        ORDERS: ("overridden", 5.0),
    } == told
    assert 3 * DAY == pytest.approx(stale[ORDERS_30D]["age_seconds"], abs=600)
    assert ("missing", DEFAULTS[MEMBER], None) == tuple(
        absent[MEMBER][key] for key in ("state", "value", "age_seconds")
    )


async def test_a_feature_that_is_changed_changes_its_own_contribution_only(open_api: OpenApi) -> None:
    """True of a logistic regression, which this model is."""
    api = open_api({"a": live_customer()})

    usual, changed = await explain(api, "a"), await explain(api, "a", features={SPEND: 900.0})

    assert usual["base_value"] == changed["base_value"]
    differing = [
        before["feature"]
        for before, after in zip(usual["contributions"], changed["contributions"], strict=True)
        if before["contribution"] != pytest.approx(after["contribution"], abs=1e-6)
    ]
    assert [SPEND] == differing


async def test_what_cannot_be_predicted_cannot_be_explained(open_api: OpenApi) -> None:
    api = open_api({"a": live_customer(orders_30d=None)}, policies={ORDERS_30D: {"on_missing": "refuse"}})
    post = api.client.post

    error_of(await post("/explain", json={"customer_id": "nobody"}), 404, "unknown_customer")
    error_of(await post("/explain", json={"customer_id": "a"}), 422, "features_refused")
    error_of(await post("/explain", json={"customer_id": 7}), 400, "invalid_request")
    error_of(await post("/explain", json={"customer_id": "a", "features": {"x": 1}}), 400, "invalid_request")
    error_of(await post("/explain", json={"customer_ids": ["a"]}), 400, "invalid_request")
    down = open_api({}, failure=OnlineStoreUnavailableError("down")).client.post
    error_of(await down("/explain", json={"customer_id": "a"}), 503, "online_store_unavailable")


async def test_a_model_that_cannot_be_taken_apart_is_501_and_still_predicts(open_api: OpenApi, tmp_path: Path) -> None:
    api = open_api({"a": live_customer()})
    (tmp_path / "model" / "model.skops").unlink()

    error = error_of(await api.client.post("/explain", json={"customer_id": "a"}), 501, "not_explainable")

    assert "model.skops is missing" in error["message"]
    assert 200 == (await api.predict("a")).status_code


class Slow:
    """An explainer whose first call waits until it is told to go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()
        explain = LazyExplainer.explain

        def slow(explainer: LazyExplainer, matrix: NDArray[np.float32], classes: list[int] | None) -> Explanation:
            self.reached.set()
            assert self.go_on.wait(20)
            return explain(explainer, matrix, classes)

        monkeypatch.setattr(LazyExplainer, "explain", slow)


async def test_predictions_are_answered_while_an_explanation_is_computed(
    open_api: OpenApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, slow = open_api({"a": live_customer()}, deadline_ms=200), Slow(monkeypatch)
    explaining = asyncio.ensure_future(explain(api, "a"))
    await asyncio.to_thread(slow.reached.wait, 20)

    assert 200 == (await api.predict("a")).status_code
    assert not explaining.done()
    slow.go_on.set()

    assert 5 == len((await explaining)["contributions"])


async def test_one_explanation_too_many_is_429_and_takes_no_place_of_a_prediction(
    open_api: OpenApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, slow = open_api({"a": live_customer()}, max_explanations=1), Slow(monkeypatch)
    explaining = asyncio.ensure_future(explain(api, "a"))
    await asyncio.to_thread(slow.reached.wait, 20)

    shed = await api.client.post("/explain", json={"customer_id": "a"})
    predicted = await api.predict("a")
    slow.go_on.set()
    await explaining

    error_of(shed, 429, "overloaded")
    assert int(shed.headers["Retry-After"]) >= 1
    assert 200 == predicted.status_code
    assert await explain(api, "a"), "the place is free again"


async def test_an_explanation_that_fails_is_500_and_frees_its_place(
    open_api: OpenApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = open_api({"a": live_customer()}, max_explanations=1)
    with monkeypatch.context() as failing:
        failing.setattr(LazyExplainer, "explain", lambda *_: [][0])
        error_of(await api.client.post("/explain", json={"customer_id": "a"}), 500, "internal")

    assert await explain(api, "a")
    assert 1 == api.metric("model_service_requests_total", call="explain", outcome="internal", client="anonymous")
    assert 1 == api.metric("model_service_requests_total", call="explain", outcome="ok", client="anonymous")
