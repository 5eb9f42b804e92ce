"""`POST /explain` of the running service: it adds up, says what the model saw, and does not hold up predictions."""

import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.loop import Answer, Loop
from tests.servers.serving import serving

CUSTOMERS = ["00001", "00002", "00007", "00042", "01234", "11111", "23570"]
COUNT, RECENT_COUNT = "customer_lifetime__order_count", "customer_orders_windowed__order_count_90d"
DEADLINE_SECONDS = 0.25


def explain(loop: Loop, customer_id: str = "00042", **members: object) -> dict[str, Any]:
    answer = loop.call("POST", "/explain", {"customer_id": customer_id, **members})
    assert 200 == answer.status, answer.body
    body: dict[str, Any] = answer.body
    return body


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


@pytest.mark.parametrize("customer_id", CUSTOMERS)
def test_base_value_and_contributions_add_up_to_the_log_odds(loop: Loop, customer_id: str) -> None:
    body = explain(loop, customer_id)

    total = body["base_value"] + sum(c["contribution"] for c in body["contributions"])
    assert total == pytest.approx(logit(body["churn_probability"]), abs=1e-5)


def test_the_base_value_is_everybodys(loop: Loop) -> None:
    assert 1 == len({explain(loop, customer_id)["base_value"] for customer_id in CUSTOMERS})


def test_the_prediction_is_that_of_predict(loop: Loop) -> None:
    explained = explain(loop)
    predicted = loop.call("POST", "/predict", {"customer_id": "00042"}).body

    assert predicted.keys() | {"base_value", "contributions", "space"} == explained.keys()
    same = ("model", "customer_id", "churn", "status", "feature_issues")
    assert [predicted[name] for name in same] == [explained[name] for name in same]
    # The requests are milliseconds apart, and so are the recency features.
    assert predicted["churn_probability"] == pytest.approx(explained["churn_probability"], abs=1e-5)


def test_every_input_of_the_contract_is_there_with_its_view(loop: Loop) -> None:
    inputs = loop.call("GET", "/model").body["contract"]["inputs"]

    contributions = explain(loop)["contributions"]

    assert [(i["name"], i["view"]) for i in inputs] == [(c["feature"], c["view"]) for c in contributions]
    assert {"fresh"} == {c["state"] for c in contributions}


def test_values_and_ages_are_of_the_rows_that_were_read(loop: Loop) -> None:
    """Views of one row have one age; values agree with what the same values in a request would score."""
    contributions = explain(loop)["contributions"]

    ages = {view: {c["age_seconds"] for c in contributions if c["view"] == view} for view in views(contributions)}
    assert {1} == {len(found) for found in ages.values()}, ages
    (lifetime,), (windowed,) = ages["customer_lifetime"], ages["customer_orders_windowed"]
    assert 0 < windowed < 2 * 86_400 < lifetime, "a daily snapshot; and 00042 has not ordered for long"
    days = {c["feature"]: c["value"] for c in contributions}["customer_recency__days_since_last_order"]
    assert days == pytest.approx(lifetime / 86_400, abs=1), "the row was written after the last order"
    row = {c["feature"]: c["value"] for c in contributions}
    scored = loop.call("POST", "/invocations", {"inputs": row}).body["predictions"][0][1]
    assert scored == pytest.approx(explain(loop)["churn_probability"], abs=1e-5)


def views(contributions: list[dict[str, Any]]) -> set[str]:
    return {c["view"] for c in contributions}


def test_an_override_is_what_is_explained(loop: Loop) -> None:
    usual = {c["feature"]: c for c in explain(loop)["contributions"]}

    body = explain(loop, features={RECENT_COUNT: 9})

    changed = {c["feature"]: c for c in body["contributions"]}
    assert ("overridden", 9, None) == tuple(changed[RECENT_COUNT][key] for key in ("state", "value", "age_seconds"))
    assert usual[RECENT_COUNT]["contribution"] != pytest.approx(changed[RECENT_COUNT]["contribution"], abs=1e-3)
    assert usual[COUNT]["value"] == changed[COUNT]["value"]
    assert "degraded" == body["status"]
    total = body["base_value"] + sum(c["contribution"] for c in body["contributions"])
    assert total == pytest.approx(logit(body["churn_probability"]), abs=1e-5)


def test_an_override_replaces_the_input_it_names_and_nothing_computed_from_the_stored_value(loop: Loop) -> None:
    gap, computed = "customer_lifetime__mean_gap_days", "customer_recency__recency_over_mean_gap"
    usual = {c["feature"]: c["value"] for c in explain(loop)["contributions"]}

    changed = {c["feature"]: c for c in explain(loop, features={gap: 2 * usual[gap]})["contributions"]}

    assert 2 * usual[gap] == changed[gap]["value"]
    assert (usual[computed], "fresh") == (
        pytest.approx(changed[computed]["value"], rel=1e-3),
        changed[computed]["state"],
    )
    assert {gap} == {name for name, c in changed.items() if c["state"] != "fresh"}


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        ({"customer_id": "nobody"}, 404, "unknown_customer", "customer_id"),
        ({"customer_id": 42}, 400, "invalid_request", "customer_id"),
        ({"customer_id": "00042", "features": {"nope": 1}}, 400, "invalid_request", "features.nope"),
        ({"customer_id": "00042", "features": {COUNT: 1.5}}, 400, "invalid_request", f"features.{COUNT}"),
        (b" " * 1_000_001, 413, "too_large", None),
    ],
)
def test_what_cannot_be_explained_is_refused_by_name(
    loop: Loop, body: object, status: int, code: str, field: str | None
) -> None:
    answer = loop.call("POST", "/explain", body)

    error = answer.body["error"]
    assert (status, code, field) == (answer.status, error["code"], error.get("field"))


def test_the_first_explanation_holds_up_no_prediction_and_only_so_many_run_at_once(loop: Loop, tmp_path: Path) -> None:
    """It loads scikit-learn, for seconds, and holds Python's lock for up to 0.1 s at a time; predictions go on."""
    ask = {"customer_id": "00042"}
    with serving(loop, tmp_path, SERVICE_MAX_EXPLANATIONS="1") as service, ThreadPoolExecutor(4) as threads:
        first_is_done = threading.Event()

        def first() -> Answer:
            try:
                return service.call("POST", "/explain", ask)
            finally:
                first_is_done.set()

        def predictions() -> list[tuple[int, float]]:
            found = []
            while not first_is_done.is_set():
                started = time.perf_counter()
                status = service.call("POST", "/predict", ask).status
                found.append((status, time.perf_counter() - started))
                time.sleep(0.005)
            return found

        for _ in range(20):
            service.call("POST", "/predict", ask)
        explaining, predicting = threads.submit(first), threads.submit(predictions)
        time.sleep(0.2)
        shed = service.call("POST", "/explain", ask)
        answers, explained = predicting.result(), explaining.result()

    seconds = sorted(taken for _, taken in answers)
    p95, p99 = (seconds[int(len(seconds) * share)] for share in (0.95, 0.99))
    print(f"{len(answers)} predictions during the first explanation: p95 {p95:.3f} s, p99 {p99:.3f} s")
    assert 200 == explained.status, explained.body
    assert (429, "overloaded", "1") == (shed.status, shed.body["error"]["code"], shed.headers["retry-after"])
    assert len(answers) > 20, "the explanation was over before a prediction could be held up"
    # On cores that others want too, an import can hold the lock for longer than the deadline now and then.
    assert p95 < DEADLINE_SECONDS
    assert {200, 503} >= {status for status, _ in answers}
    assert [status for status, _ in answers].count(503) <= len(answers) * 0.03
