"""The HTTP API over an online store in memory: no sockets, the real routes."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from contract.tasks import TaskKind
from scoring.models.imported_model import ImportedModel
from service.api.authentication import ApiKeys
from service.api.exchange import send_bytes
from service.api.routing import HttpApi, ServingSlot
from service.api.serving import Serving
from service.asgi import Receive, Scope, Send
from service.assembly import serving_of
from service.features.guard import GuardedFeatures, LastKnownGood
from service.inference_log.history import AnswerHistory
from service.prediction.predictor import Predictor
from service.settings import ServiceSettings
from service.telemetry.metrics import ServiceMetrics
from tests.models.fakes import FakeOnlineFeatures, Rows, contract_of, small_contract, store_model


@dataclass(frozen=True)
class Api:
    """The API as a client sees it, and what lies behind it."""

    client: httpx.AsyncClient
    store: FakeOnlineFeatures
    serving: Serving
    registry: CollectorRegistry

    def metric(self, name: str, **labels: str) -> float:
        """A sample of the service's metrics; 0 if there is none yet."""
        return self.registry.get_sample_value(name, {"model": "small_churn", **labels}) or 0.0

    async def predict(self, customer_id: object, **members: object) -> httpx.Response:
        return await self.client.post("/predict", json={"customer_id": customer_id, **members})

    async def predict_batch(self, *customer_ids: object) -> httpx.Response:
        return await self.client.post("/predict_batch", json={"customer_ids": list(customer_ids)})

    async def send(self, path: str, body: bytes, content_type: str = "application/json") -> httpx.Response:
        return await self.client.post(path, content=body, headers={"Content-Type": content_type})


OpenApi = Callable[..., Api]

IDENTITY = {"name": "small_churn", "version": "7", "role": "champion"}


def text_of(response: httpx.Response) -> str:
    """The body without its request id, whose hexadecimal digits may be any number."""
    return response.text.replace(response.headers["X-Request-ID"], "")


def error_of(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The `error` member of an answer, after checking all that holds for every error."""
    assert (status, code) == (response.status_code, response.json()["error"]["code"]), response.text
    assert "Traceback" not in response.text
    body: dict[str, Any] = response.json()
    assert {"error", "request_id", "model"} == set(body)
    assert {"code", "message", "request_id"} <= set(body["error"]) <= {"code", "message", "request_id", "field"}
    assert IDENTITY == body["model"]
    assert response.headers["X-Request-ID"] == body["request_id"] == body["error"]["request_id"]
    assert body["error"]["message"]
    error: dict[str, Any] = body["error"]
    return error


def without_request_id(response: httpx.Response) -> dict[str, Any]:
    """A 200 body after checking that it and the headers name the request and the model."""
    assert 200 == response.status_code, response.text
    body: dict[str, Any] = json.loads(response.content)
    assert response.headers["X-Request-ID"] == body.pop("request_id")
    assert IDENTITY == body.pop("model")
    assert list(IDENTITY.values()) == [response.headers[f"X-Model-{key}"] for key in ("Name", "Version", "Role")]
    return body


async def bentoml_app(scope: Scope, receive: Receive, send: Send) -> None:
    """Stands where BentoML's own application does."""
    await send_bytes(send, 200, b"bentoml", b"text/plain", [])


@pytest.fixture
async def open_api(tmp_path: Path) -> AsyncIterator[OpenApi]:
    """Opens the API over given rows; its clients are closed when the test ends."""
    async with AsyncExitStack() as opened:

        def open_api(
            rows: Mapping[str, Rows],
            *,
            policies: Mapping[str, Mapping[str, str]] | None = None,
            gate: asyncio.Event | None = None,
            failure: Exception | None = None,
            kind: TaskKind = "binary",
            **settings: object,
        ) -> Api:
            inputs = small_contract(policies=policies).inputs
            contract = contract_of(kind).model_copy(update={"inputs": inputs})
            store = FakeOnlineFeatures(contract, rows, gate=gate, failure=failure)
            api = opened_api(store, store_model(tmp_path / "model", contract).load(), settings)
            opened.push_async_callback(api.client.aclose)
            return api

        yield open_api


def opened_api(
    store: FakeOnlineFeatures,
    model: ImportedModel,
    settings: Mapping[str, object],
    clock: Callable[[], int] = time.time_ns,
    history: AnswerHistory | None = None,
) -> Api:
    """The API over a store and a model; its client has to be closed."""
    chosen = ServiceSettings.model_validate({"deadline_ms": 2500, **settings})
    registry = CollectorRegistry()
    metrics = ServiceMetrics("small_churn", registry)
    cache = LastKnownGood(chosen.cache_rows, chosen.cache_max_age_seconds) if chosen.cache_rows else None
    features = GuardedFeatures(store, chosen.deadline_ms / 1000, metrics, cache)
    predictor = Predictor(model, features, metrics)
    serving = serving_of(predictor, chosen, metrics, ApiKeys.of(chosen.api_keys, chosen.api_keys_file))
    serving = replace(serving, clock=clock, history=history)
    app = HttpApi(bentoml_app, ServingSlot(serving))
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://service")
    return Api(client, store, serving, registry)
