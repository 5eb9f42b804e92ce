"""The running service: answers, refusals, and what it does while Redis is in trouble."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.loop import Answer, Loop

ERROR_MEMBERS = {"code", "message", "request_id"}


def predict(loop: Loop, customer_id: str = "00042") -> Answer:
    return loop.call("POST", "/predict", {"customer_id": customer_id})


def test_a_known_customer_gets_a_prediction_and_the_model_that_made_it(loop: Loop) -> None:
    answer = loop.call("POST", "/predict", {"customer_id": "00042"}, {"X-Request-ID": "abc-1"})

    assert 200 == answer.status
    assert {
        *(
            "request_id",
            "model",
            "customer_id",
            "churn_probability",
            "churn",
            "status",
            "feature_issues",
            "cached_seconds",
        )
    } == answer.body.keys()
    assert ("abc-1", "abc-1") == (answer.body["request_id"], answer.headers["x-request-id"])
    assert answer.body["model"] == {key: answer.headers[f"x-model-{key}"] for key in ("name", "version", "role")}
    assert 0 < answer.body["churn_probability"] < 1


def test_a_batch_keeps_order_and_duplicates_and_says_who_is_unknown(loop: Loop) -> None:
    ids = ["00042", "nobody", "00007", "00042", "ünknown", "00001"]

    rows = loop.call("POST", "/predict_batch", {"customer_ids": ids}).body["predictions"]

    assert ids == [row["customer_id"] for row in rows]
    assert ["ok", "unknown_customer", "ok", "ok", "unknown_customer", "ok"] == [row["status"] for row in rows]
    assert rows[0] == rows[3]
    assert (None, None, []) == (rows[1]["churn_probability"], rows[1]["churn"], rows[1]["feature_issues"])


def test_a_batch_of_one_thousand_is_answered_and_one_more_is_too_large(loop: Loop) -> None:
    ids = [f"{i:05d}" for i in range(1, 1002)]

    assert 1000 == len(loop.call("POST", "/predict_batch", {"customer_ids": ids[:1000]}).body["predictions"])
    assert 413 == loop.call("POST", "/predict_batch", {"customer_ids": ids}).status


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "field"),
    [
        ("/predict", b"{", 400, "invalid_request", None),
        ("/predict", {"customer_id": 42}, 400, "invalid_request", "customer_id"),
        ("/predict", {"customer_id": None}, 400, "invalid_request", "customer_id"),
        ("/predict", {"customer_id": ""}, 400, "invalid_request", "customer_id"),
        ("/predict", {"customer_id": "1", "features": {"nope": 1}}, 400, "invalid_request", "features.nope"),
        ("/predict", {"customer_id": "nobody"}, 404, "unknown_customer", "customer_id"),
        (
            "/predict",
            {"customer_id": "nobody", "features": {"customer_lifetime__order_count": 1}},
            404,
            "unknown_customer",
            "customer_id",
        ),
        ("/predict_batch", {"customer_ids": ["00042", 7]}, 400, "invalid_request", "customer_ids.1"),
        ("/predict", b" " * 1_000_001, 413, "too_large", None),
    ],
)
def test_what_cannot_be_answered_is_refused_by_name(
    loop: Loop, path: str, body: object, status: int, code: str, field: str | None
) -> None:
    answer = loop.call("POST", path, body)

    error = answer.body["error"]
    assert (status, code, field) == (answer.status, error["code"], error.get("field"))
    assert ERROR_MEMBERS <= error.keys() <= ERROR_MEMBERS | {"field"}


def test_the_wrong_method_is_refused_in_the_same_form(loop: Loop) -> None:
    answer = loop.call("GET", "/predict")

    assert (405, "method_not_allowed") == (answer.status, answer.body["error"]["code"])


def test_an_override_replaces_the_looked_up_value_and_is_flagged(loop: Loop) -> None:
    name = "customer_orders_windowed__order_count_90d"

    answer = loop.call("POST", "/predict", {"customer_id": "00042", "features": {name: 9}}).body

    assert "degraded" == answer["status"]
    assert [(name, "overridden", "value")] == [(i["feature"], i["state"], i["used"]) for i in answer["feature_issues"]]
    assert answer["churn_probability"] != pytest.approx(predict(loop).body["churn_probability"], abs=1e-3)


def test_the_model_call_shows_the_live_contract(loop: Loop) -> None:
    body = loop.call("GET", "/model").body

    assert 27 == len(body["contract"]["inputs"])
    assert "churn_v1" == body["contract"]["feature_schema"]["feature_service"]
    assert body["tag"] == (loop.root / "var" / "model_tag").read_text().strip()
    assert {None} == set(body["release"].values())  # from the source tree


def test_metrics_count_requests_by_outcome(loop: Loop) -> None:
    def unknown() -> float:
        lines = str(loop.call("GET", "/metrics").body).splitlines()
        found = [
            line for line in lines if line.startswith("model_service_requests_total{") and "unknown_customer" in line
        ]
        return sum(float(line.rsplit(" ", 1)[1]) for line in found)

    before = unknown()
    predict(loop, "nobody")

    assert before + 1 == unknown()


def test_the_openapi_document_names_every_call_and_its_errors(loop: Loop) -> None:
    paths = loop.call("GET", "/docs.json").body["paths"]

    assert {"/predict", "/predict_batch", "/model"} <= paths.keys()
    assert {"200", "400", "404", "413", "422", "429", "500", "503"} <= paths["/predict"]["post"]["responses"].keys()
    assert "requestBody" in paths["/predict_batch"]["post"]


def test_a_hung_redis_costs_the_deadline_and_no_more(loop: Loop) -> None:
    with hung_redis(loop):
        started = time.monotonic()
        answer = predict(loop)
        seconds = time.monotonic() - started

        assert (503, "deadline_exceeded", "1") == (
            answer.status,
            answer.body["error"]["code"],
            answer.headers["retry-after"],
        )
        assert seconds < 5, "stock Feast is still blocked after 20 s"
        assert (503, 200) == (loop.call("GET", "/readyz").status, loop.call("GET", "/livez").status)
    wait_until(lambda: predict(loop).status == 200)
    assert 200 == loop.call("GET", "/readyz").status


def test_a_redis_that_was_down_is_used_again_by_itself(loop: Loop) -> None:
    folder = loop.root / "var" / "redis"
    assert 0 == loop.make("down").returncode

    answer = predict(loop)
    ready, alive = loop.call("GET", "/readyz").status, loop.call("GET", "/livez").status
    assert 0 == loop.make("redis").returncode

    assert (503, "online_store_unavailable") == (answer.status, answer.body["error"]["code"])
    assert (503, 200) == (ready, alive)
    assert (folder / "dump.rdb").exists()
    wait_until(lambda: predict(loop).status == 200)


@contextmanager
def hung_redis(loop: Loop) -> Iterator[None]:
    process = int(Path(loop.root / "var" / "redis" / "valkey.pid").read_text())
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


def wait_until(holds: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)
