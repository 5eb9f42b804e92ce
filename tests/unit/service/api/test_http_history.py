"""`GET /history` answers what was last answered for a key, where the settings offer it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from service.inference_log.history import AnswerHistory, Bounds
from tests.models.answers import small_model
from tests.models.fakes import FakeOnlineFeatures, small_contract
from tests.models.typed import KEY, purchase, typed_contract, typed_model, typed_store
from tests.unit.docs.pages import text_of
from tests.unit.service.api.test_openapi import check
from tests.unit.service.conftest import Api, OpenApi, error_of, opened_api, without_request_id
from tests.unit.service.inference_log.test_history import asked_at, minutes, written
from tests.unit.service.inference_log.test_typed_rows import logged

PRIVATE = "private-4711"
ON = {"history": True, "inference_log": True}
Opened = Callable[..., Api]


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Opened]:
    """Opens the API of the small model over a log with three answers of `c1` and one of `c2`."""
    model = small_model(tmp_path / "model")
    written(tmp_path / "log", asked_at(model, minutes(0, 1, 2, 3), ["c1", "c2", "c1", "c1"]))
    async with AsyncExitStack() as stack:

        def opened(bounds: Bounds = Bounds(), **settings: object) -> Api:  # noqa: B008 (it is immutable)
            history = AnswerHistory(tmp_path / "log", bounds=bounds)
            store = FakeOnlineFeatures(small_contract(), {})
            api = opened_api(store, model, {**ON, **settings}, history=history)
            stack.push_async_callback(api.client.aclose)
            return api

        yield opened


async def test_the_last_answers_come_newest_first(opened: Opened) -> None:
    api = opened()

    response = await api.client.get("/history", params={"customer_id": "c1", "limit": "2"})

    assert 200 == await check(api, response)
    body = without_request_id(response)
    assert (["01T120300", "01T120200"], True) == (
        [answer["request_id"] for answer in body["answers"]],
        body["complete"],
    )
    assert "2026-03-01T12:03:00Z" == body["answers"][0]["time"]
    outputs = {"churn_probability", "churn"}
    assert {"time", "request_id", "model_version", "status", "role", "shadow"} | outputs == set(body["answers"][0])
    assert 3 == len((await api.client.get("/history?customer_id=c1")).json()["answers"])


async def test_of_a_key_that_was_never_answered_there_are_no_answers(opened: Opened) -> None:
    assert {"answers": [], "complete": True} == without_request_id(await opened().client.get("/history?customer_id=c9"))


async def test_a_look_that_a_bound_has_ended_says_so(opened: Opened) -> None:
    body = without_request_id(await opened(Bounds(seconds=0)).client.get("/history?customer_id=c1"))

    assert {"answers": [], "complete": False} == body


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("", "customer_id"),
        ("customer_id=", "customer_id"),
        (f"customer_id={'x' * 257}", "customer_id"),
        (f"customer_id=c1&customer_id={PRIVATE}", "customer_id"),
        (f"customer_id=c1&secret={PRIVATE}", "secret"),
        (f"customer_id=c1&limit={PRIVATE}", "limit"),
        ("customer_id=c1&limit=0", "limit"),
        ("customer_id=c1&limit=101", "limit"),
        (f"customer_id=c1&{PRIVATE}", None),
        (f"customer_id=%ff{PRIVATE}", None),
        ("&".join(f"a{at}=1" for at in range(60)), None),
    ],
)
async def test_a_query_that_is_wrong_is_400_with_the_parameter_named(
    opened: Opened, query: str, field: str | None
) -> None:
    api = opened()

    response = await api.client.get(f"/history?{query}")

    assert field == error_of(response, 400, "invalid_request").get("field")
    assert PRIVATE not in response.text
    assert 400 == await check(api, response)


async def test_every_key_of_several_is_asked_for(tmp_path: Path) -> None:
    await logged(tmp_path, {KEY: purchase(), (8, "m1"): purchase()})
    contract = typed_contract()
    model = typed_model(tmp_path, contract)
    history = AnswerHistory(tmp_path / "log")
    api = opened_api(typed_store({}, contract), model, ON, history=history)

    async with api.client as client:
        found = await client.get("/history?customer_id=7&merchant_id=m1")
        half = await client.get("/history?customer_id=7")

    assert ["ok"] == [answer["status"] for answer in without_request_id(found)["answers"]]
    assert "merchant_id" == error_of(half, 400, "invalid_request")["field"]


async def test_without_the_setting_the_path_is_unknown_and_not_in_the_document(open_api: OpenApi) -> None:
    api = open_api({})

    asked, nowhere = [await api.client.get(path) for path in ("/history?customer_id=c1", "/nowhere")]

    def error(of: Any) -> dict[str, Any]:
        found = error_of(of, 404, "not_found")
        del found["request_id"]
        return found

    assert error(nowhere) == error(asked)
    document = (await api.client.get("/docs.json")).json()
    assert "/history" not in document["paths"]
    assert "HistoryResponse" not in document["components"]["schemas"]


async def test_it_is_guarded_and_takes_no_body(opened: Opened) -> None:
    api = opened(api_keys="shop:" + "ab" * 32)

    error_of(await api.client.get("/history?customer_id=c1"), 401, "unauthenticated")
    error_of(await opened().client.post("/history?customer_id=c1"), 405, "method_not_allowed")


def test_the_page_of_the_log_says_how_far_it_looks_back() -> None:
    bounds, page = Bounds(), text_of("docs/inference-log.md")

    assert f"{bounds.seconds:g} s, {bounds.files:,} files or {bounds.size // 1_000_000} MB" in " ".join(page.split())
