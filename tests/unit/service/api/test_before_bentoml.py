"""Our API stands before all middleware of BentoML's, by the attribute through which Starlette calls them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from service.api.authentication import new_key
from service.api.before_bentoml import BeforeBentoML
from service.api.routing import HttpApi, ServingSlot
from service.api.serving import Serving
from tests.models.fakes import customer
from tests.unit.service.conftest import OpenApi, error_of


async def test_what_stands_in_starlettes_stack_is_asked_first(monkeypatch: pytest.MonkeyPatch) -> None:
    app, asked = Starlette(), []
    app.add_middleware(BeforeBentoML, slot=ServingSlot())
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        pass

    async def answer(_api: HttpApi, scope: Any, _receive: Any, _send: Any) -> None:
        asked.append(scope["path"])

    await app({"type": "lifespan"}, receive, send)
    monkeypatch.setattr(HttpApi, "__call__", answer)

    await app({"type": "http", "path": "/predict"}, receive, send)

    assert ["/predict"] == asked


@asynccontextmanager
async def front(serving: Serving | None, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API before an application that has BentoML's routes, started as a server starts it."""

    async def bentoml_route(request: Request) -> Response:
        return PlainTextResponse(f"bentoml {request.url.path}")

    app = Starlette(routes=[Route("/{rest:path}", bentoml_route, methods=["GET", "POST"])])
    app.add_middleware(BeforeBentoML, slot=ServingSlot(serving), **options)
    started: asyncio.Queue[Any] = asyncio.Queue()
    messages: asyncio.Queue[Any] = asyncio.Queue()
    messages.put_nowait({"type": "lifespan.startup"})
    running = asyncio.create_task(app({"type": "lifespan"}, messages.get, started.put))
    await started.get()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://service") as client:
        yield client
    messages.put_nowait({"type": "lifespan.shutdown"})
    await running


async def test_a_request_before_the_start_reaches_no_route(open_api: OpenApi) -> None:
    app = Starlette()
    app.add_middleware(BeforeBentoML, slot=ServingSlot(open_api({}).serving))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://service") as client:
        with pytest.raises(RuntimeError, match="lifespan has not begun"):
            await client.post("/predict", json={"customer_id": "a"})


SWAGGER = "/static_content/swagger-ui.css"
OUTSIDE = ["/predict", "/v1", "/v1/churn", "/v1/churnpredict", "/docs.json", "/v1/churn/v1/churn/predict"]
SHOP = "https://shop.example.com"
PREFLIGHT = {"Origin": SHOP, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}


@pytest.fixture
def keyed(open_api: OpenApi) -> Serving:
    return open_api({"a": customer()}, api_keys=new_key("shop")[1]).serving


@pytest.mark.parametrize("path", ["/predict", "/history", "/readyz", "/nowhere"])
async def test_a_preflight_is_answered_without_a_key(keyed: Serving, path: str) -> None:
    async with front(keyed, cors_origins=(SHOP,)) as client:
        allowed = await client.options(path, headers=PREFLIGHT)
        other = await client.options(path, headers={**PREFLIGHT, "Origin": "https://other.example.com"})

    assert (200, SHOP) == (allowed.status_code, allowed.headers["Access-Control-Allow-Origin"])
    assert "Authorization" in allowed.headers["Access-Control-Allow-Headers"]
    assert (400, None) == (other.status_code, other.headers.get("Access-Control-Allow-Origin"))


@pytest.mark.parametrize(("origins", "said"), [((SHOP,), SHOP), (("*",), "*")])
async def test_answers_and_errors_may_be_read_by_the_origin_and_never_with_credentials(
    keyed: Serving, origins: tuple[str, ...], said: str
) -> None:
    async with front(keyed, cors_origins=origins) as client:
        answers = [
            await client.post("/predict", json={"customer_id": "a"}, headers={"Origin": SHOP}),
            await client.get("/nowhere", headers={"Origin": SHOP}),
            await client.get("/docs.json", headers={"Origin": SHOP}),
            await client.get("/readyz", headers={"Origin": SHOP}),
            await client.options("/predict", headers=PREFLIGHT),
        ]

    assert [401, 404, 200, 200, 200] == [answer.status_code for answer in answers]
    assert {said} == {answer.headers["Access-Control-Allow-Origin"] for answer in answers}
    assert not [answer for answer in answers if "Access-Control-Allow-Credentials" in answer.headers]
    assert "X-Request-ID" in answers[0].headers["Access-Control-Expose-Headers"]


async def test_without_origins_nothing_of_cors_is_answered(keyed: Serving) -> None:
    async with front(keyed) as client:
        preflight = await client.options("/predict", headers=PREFLIGHT)
        page = await client.get("/docs.json", headers={"Origin": SHOP})

    assert 401 == preflight.status_code
    assert not [name for answer in (preflight, page) for name in answer.headers if name.startswith("access-control")]


async def test_below_a_prefix_calls_pages_and_bentomls_paths_answer(open_api: OpenApi) -> None:
    serving = open_api({"a": customer()}).serving
    async with front(serving, path_prefix="/v1/churn") as client:
        predicted = await client.post("/v1/churn/predict", json={"customer_id": "a"})
        texts = [
            (await client.get(path)).text
            for path in ("/v1/churn/readyz", "/readyz", "/v1/churn/static_content/swagger-ui.css")
        ]
        schema = (await client.get("/schema.json")).text
        pages = [(await client.get(path)).status_code for path in ("/v1/churn/docs.json", "/metrics", "/v1/churn/docs")]

    assert (200, "a") == (predicted.status_code, predicted.json()["customer_id"])
    assert ["bentoml /v1/churn/readyz"] * 2 + [f"bentoml /v1/churn{SWAGGER}"] == texts
    assert "bentoml /schema.json" == schema
    assert [200, 200, 200] == pages


@pytest.mark.parametrize(
    "path", ["/predict", "/v1", "/v1/churn", "/v1/churnpredict", "/docs.json", "/v1/churn/v1/churn/predict"]
)
async def test_outside_the_prefix_there_is_nothing(open_api: OpenApi, path: str) -> None:
    async with front(open_api({"a": customer()}).serving, path_prefix="/v1/churn") as client:
        answer = await client.post(path, json={"customer_id": "a"})

    error_of(answer, 404, "not_found")
