"""BentoML's methods on the service class: what its clients find, and what callers in the same process get."""

import asyncio
import pickle
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import bentoml
import httpx
import numpy as np
import pytest
from _bentoml_impl.client.http import AsyncHTTPClient  # type: ignore[import-untyped]  # of `bentoml.depends`
from bentoml.exceptions import BentoMLException, InvalidArgument, NotFound, ServiceUnavailable, UnprocessableEntity

from contract import EntityKey, ModelContract
from service.api.answers_to_dependents import AnswersToDependents
from service.api.endpoints import ENDPOINTS, Endpoint
from service.api.quotas import Quotas, parse_quotas
from service.api.routing import ROUTES, HttpApi, ServingSlot
from service.bento_methods import with_bento_methods
from service.errors import ServiceError, UnknownEntityError
from service.in_process import CallsInProcess
from tests.models.fakes import NOW_US, SPEND, customer, small_contract
from tests.models.typed import KEY, purchase, typed_contract, typed_model, typed_store
from tests.unit.service.conftest import Api, OpenApi, bentoml_app, opened_api, without_request_id

CALLS = [endpoint.name for endpoint in ENDPOINTS if endpoint.method == "POST"]
PICKLE = "application/vnd.bentoml+pickle"
ASKED: dict[str, Any] = {"customer_id": 7, "merchant_id": "m1", "inputs": {"amount": 12.5}}


def service_of(contract: ModelContract | None, api: Api | None = None) -> Any:
    """A BentoML service with the methods of a contract, over what `api` serves."""

    async def nothing() -> None:
        pass

    @with_bento_methods(contract, 100)
    class Small:
        def __init__(self) -> None:
            self.calls = CallsInProcess(ServingSlot(None if api is None else api.serving), nothing)

        def answer_in_process(self, endpoint: Endpoint, arguments: Mapping[str, Any]) -> dict[str, Any]:
            return self.calls.answer(endpoint, arguments)

        async def close(self) -> None:
            await self.calls.close()

    return bentoml.service(name="small")(Small)


@pytest.fixture
async def typed_api(tmp_path: Path) -> AsyncIterator[Api]:
    """Two keys, one of them int64, and values of the request."""
    contract = typed_contract()
    store = typed_store({KEY: purchase()}, contract)
    api = opened_api(store, typed_model(tmp_path, contract), {}, lambda: NOW_US * 1000)
    async with AsyncExitStack() as opened:
        opened.push_async_callback(api.client.aclose)
        yield api


async def in_process(service: Any, name: str, /, *values: Any, **named: Any) -> dict[str, Any]:
    """Call a method as a script does that has no event loop."""
    async with aclosing(_Closing(service())) as opened:
        answer: dict[str, Any] = await asyncio.to_thread(getattr(opened.instance, name), *values, **named)
    return answer


class _Closing:
    def __init__(self, instance: Any) -> None:
        self.instance = instance

    async def aclose(self) -> None:
        await self.instance.close()


def test_the_schema_names_every_call_that_takes_a_body() -> None:
    routes = {route["name"]: route for route in service_of(small_contract()).schema()["routes"]}

    assert sorted(CALLS) == sorted(routes)
    assert {f"/{name}" for name in CALLS} == {route["route"] for route in routes.values()}


def test_arguments_and_answers_are_typed_by_the_contract() -> None:
    routes = {route["name"]: route for route in service_of(typed_contract()).schema()["routes"]}
    predict = routes["predict"]

    assert ["customer_id", "merchant_id", "inputs", "features"] == list(predict["input"]["properties"])
    assert {"customer_id", "merchant_id"} <= set(predict["input"]["required"])
    contract = typed_contract()
    answered = {output.name for output in contract.outputs} | {"customer_id", "merchant_id", "status"}
    assert answered <= set(predict["output"]["properties"])
    assert "$ref" not in str(routes)


def test_a_client_can_drop_no_member_of_a_row_that_it_does_not_know() -> None:
    routes = {route["name"]: route for route in service_of(typed_contract()).schema()["routes"]}

    assert "properties" not in routes["predict_batch"]["input"]["properties"]["rows"]["items"]


def test_what_bentoml_build_writes_of_a_service_can_be_made() -> None:
    paths = service_of(typed_contract()).openapi_spec.paths

    assert {f"/{name}" for name in CALLS} <= set(paths)


def test_without_a_pinned_model_there_are_no_methods() -> None:
    assert [] == service_of(None).schema()["routes"]


async def test_a_call_in_the_process_answers_as_over_http(typed_api: Api) -> None:
    over_http = without_request_id(await typed_api.client.post("/predict", json=ASKED))

    answer = await in_process(service_of(typed_contract(), typed_api), "predict", **ASKED)

    assert {"name", "version", "role"} == set(answer.pop("model"))
    assert 32 == len(answer.pop("request_id"))
    assert over_http == answer


async def test_arguments_may_be_given_by_their_place(open_api: OpenApi) -> None:
    service = service_of(small_contract(), open_api({"a": customer()}))

    assert "a" == (await in_process(service, "predict", "a"))["customer_id"]
    with pytest.raises(TypeError, match="more than one value for customer_id"):
        await in_process(service, "predict", "a", customer_id="a")
    with pytest.raises(TypeError, match="at most 2 arguments, customer_id, features"):
        await in_process(service, "predict", "a", None, None)


async def test_several_keys_numbers_of_numpy_and_values_of_the_request(typed_api: Api) -> None:
    service = service_of(typed_contract(), typed_api)
    over_http = without_request_id(await typed_api.client.post("/predict", json=ASKED))

    for asked in (ASKED, {**ASKED, "customer_id": np.int64(7)}, {**ASKED, "customer_id": "7"}):
        answer = await in_process(service, "predict", **asked)
        assert over_http.items() <= answer.items()
    rows = (await in_process(service, "predict_batch", rows=[ASKED, ASKED]))["predictions"]
    assert [7, 7] == [row["customer_id"] for row in rows]


@pytest.mark.parametrize(
    ("asked", "kind", "status", "message"),
    [
        ({"customer_id": "nobody"}, NotFound, 404, "no features are stored for this customer"),
        ({}, InvalidArgument, 400, "customer_id: Field required"),
        ({"customer_id": "a", "colour": 1}, InvalidArgument, 400, "colour: Extra inputs are not permitted"),
        ({"customer_id": object()}, InvalidArgument, 400, "an argument cannot be written as JSON"),
        ({"customer_id": "a", "features": {SPEND: "much"}}, InvalidArgument, 400, "must be a number"),
    ],
)
async def test_our_errors_become_bentomls(
    asked: dict[str, Any], kind: type[BentoMLException], status: int, message: str, open_api: OpenApi
) -> None:
    service = service_of(small_contract(), open_api({"a": customer()}))

    with pytest.raises(kind) as raised:
        await in_process(service, "predict", **asked)

    assert (kind, status) == (type(raised.value), raised.value.error_code)
    assert message in str(raised.value)


async def test_the_cause_of_an_error_is_ours(open_api: OpenApi) -> None:
    with pytest.raises(NotFound) as raised:
        await in_process(service_of(small_contract(), open_api({})), "predict", customer_id="a")

    assert isinstance(raised.value.__cause__, UnknownEntityError)
    assert ("unknown_customer", "customer_id") == (raised.value.__cause__.code, raised.value.__cause__.field)


@pytest.mark.parametrize("error", ServiceError.__subclasses__())
def test_every_status_of_ours_is_one_that_bentoml_can_carry(error: type[ServiceError]) -> None:
    kind = BentoMLException.error_mapping.get(error.status, BentoMLException)  # type: ignore[call-overload]

    known = {400: InvalidArgument, 404: NotFound, 422: UnprocessableEntity, 503: ServiceUnavailable}
    assert known.get(error.status, BentoMLException) is kind


async def test_a_service_that_has_not_started_says_so() -> None:
    with pytest.raises(ServiceUnavailable, match="has not started"):
        await in_process(service_of(small_contract()), "predict", customer_id="a")


async def test_a_call_in_the_process_is_counted_as_a_request_of_no_api_key(open_api: OpenApi) -> None:
    api = open_api({"a": customer()})
    quotas = Quotas(parse_quotas("*=1/1"), api.serving.metrics.quotas)
    service = service_of(small_contract(), replace(api, serving=replace(api.serving, quotas=quotas)))

    await in_process(service, "predict", "a")
    await in_process(service, "predict_batch", ["a", "nobody"])
    with pytest.raises(NotFound):
        await in_process(service, "predict", "nobody")

    asked = [("predict", "ok"), ("predict", "unknown_customer"), ("predict_batch", "ok")]
    assert [1, 1, 1] == [
        api.metric("model_service_requests_total", call=call, outcome=outcome, client="in_process")
        for call, outcome in asked
    ]
    assert 2 == api.metric("model_service_request_seconds_count", call="predict")


async def test_a_join_key_may_have_any_name_of_an_argument() -> None:
    schema = small_contract().feature_schema
    keys = {"entity_keys": (EntityKey(join_key="service", dtype="string"),)}
    contract = small_contract().model_copy(update={"feature_schema": schema.model_copy(update=keys)})

    with pytest.raises(ServiceUnavailable, match="has not started"):
        await in_process(service_of(contract), "predict", service="a")


async def test_many_threads_may_call_at_once(open_api: OpenApi) -> None:
    instance = service_of(small_contract(), open_api({"a": customer()}))()
    answers = await asyncio.gather(*(asyncio.to_thread(instance.predict, "a") for _ in range(20)))
    also = await instance.to_async.predict("a")
    await instance.close()

    assert {"a"} == {answer["customer_id"] for answer in [*answers, also]}


@asynccontextmanager
async def client_of(app: Any, service: Any, media_type: str = "application/json") -> AsyncIterator[Any]:
    """BentoML's own client over an application in this process."""
    client = AsyncHTTPClient("http://service", service=service, media_type=media_type)
    client.app = app
    async with client:
        yield client
    client._temp_dir.cleanup()


async def test_a_client_that_has_the_class_sends_what_was_given_and_nothing_else(typed_api: Api) -> None:
    app = HttpApi(bentoml_app, ServingSlot(typed_api.serving))
    async with client_of(app, service_of(typed_contract())) as client:
        one = await client.predict(**ASKED)
        batch = await client.predict_batch(rows=[ASKED])

    assert (7, [7]) == (one["customer_id"], [row["customer_id"] for row in batch["predictions"]])


async def test_a_dependent_beside_asks_in_json_and_reads_pickles(typed_api: Api) -> None:
    over_http = without_request_id(await typed_api.client.post("/predict", json=ASKED))
    app = AnswersToDependents(HttpApi(bentoml_app, ServingSlot(typed_api.serving)), ROUTES)
    async with client_of(app, service_of(typed_contract()), PICKLE) as client:
        answer = await client.predict(**ASKED)
        with pytest.raises(NotFound, match="no features are stored for this purchase"):
            await client.predict(**{**ASKED, "customer_id": 8})

    assert over_http.items() <= answer.items()


async def test_nothing_is_unpickled(typed_api: Api) -> None:
    app = AnswersToDependents(HttpApi(bentoml_app, ServingSlot(typed_api.serving)), ROUTES)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://service") as client:
        answer = await client.post("/predict", content=pickle.dumps(ASKED), headers={"Content-Type": PICKLE})

    assert (415, "unsupported_media_type") == (answer.status_code, answer.json()["error"]["code"])
