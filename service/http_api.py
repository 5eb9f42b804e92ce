"""HTTP around the predictor: bodies, limits, error bodies, headers, and the OpenAPI document.

A FastAPI app that BentoML mounts; why not `@bentoml.api` is in docs/adr/0003. Handlers take the raw
request, so that FastAPI's own validation and its error bodies stay out of the way.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from service.errors import (
    FeaturesRefusedError,
    InvalidRequestError,
    OverloadedError,
    RequestTooLargeError,
    ServiceError,
    UnknownCustomerError,
)
from service.metrics import ServiceMetrics
from service.predictor import Prediction, Predictor
from service.schemas import (
    ErrorResponse,
    ModelResponse,
    PredictBatchRequest,
    PredictBatchResponse,
    PredictRequest,
    PredictResponse,
    parse,
)
from service.settings import ServiceSettings

logger = logging.getLogger(__name__)


@dataclass
class ServingState:
    """What the handlers work with; set once, when the worker has started.

    contract_body: the contract as JSON values, made once.
    """

    predictor: Predictor
    settings: ServiceSettings
    metrics: ServiceMetrics
    contract_body: dict[str, Any]
    in_flight: int = 0


Call = Callable[[ServingState, bytes], Awaitable[dict[str, Any]]]


def create_api() -> FastAPI:
    """The routes. `app.state.serving` must hold a `ServingState` before the first request."""
    app = FastAPI(title="customer churn", openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    _route(app, "POST", "/predict", _predict, PredictResponse, PredictRequest, (400, 404, 413, 422, 429, 503))
    _route(
        app, "POST", "/predict_batch", _predict_batch, PredictBatchResponse, PredictBatchRequest, (400, 413, 429, 503)
    )
    _route(app, "GET", "/model", _model, ModelResponse, None, (429,))
    app.add_exception_handler(HTTPException, _wrong_method)
    return app


async def _wrong_method(request: Request, error: Exception) -> JSONResponse:
    """The one error that routing itself raises here, in the designed body instead of FastAPI's."""
    refused = cast(HTTPException, error)
    serving: ServingState = request.app.state.serving
    request_id = _request_id(request)
    message = f"{request.method} is not offered here"
    identity = serving.predictor.model.identity
    body = _error("method_not_allowed", message, request_id, identity)
    headers = {**(refused.headers or {}), **_headers(request_id, identity)}
    return JSONResponse(body, status_code=refused.status_code, headers=headers)


async def _predict(serving: ServingState, raw: bytes) -> dict[str, Any]:
    body = parse(PredictRequest, raw)
    (prediction,) = await serving.predictor.predict([body.customer_id], _now_unix_us(), body.features)
    serving.metrics.issues(prediction.feature_issues)
    if prediction.status == "unknown_customer":
        raise UnknownCustomerError("no features are stored for this customer", field="customer_id")
    if prediction.status == "refused":
        named = ", ".join(f"{i.feature} is {i.state}" for i in prediction.feature_issues)
        raise FeaturesRefusedError(f"the model's contract refuses to score: {named}")
    return _row(prediction)


async def _predict_batch(serving: ServingState, raw: bytes) -> dict[str, Any]:
    body = parse(PredictBatchRequest, raw)
    if len(body.customer_ids) > serving.settings.max_batch:
        raise RequestTooLargeError(
            f"customer_ids: at most {serving.settings.max_batch} ids in one batch", field="customer_ids"
        )
    predictions = await serving.predictor.predict(body.customer_ids, _now_unix_us())
    for prediction in predictions:
        serving.metrics.issues(prediction.feature_issues)
    return {"predictions": [_row(prediction) for prediction in predictions]}


async def _model(serving: ServingState, _: bytes) -> dict[str, Any]:
    model = serving.predictor.model
    return {"tag": model.tag, "contract_sha256": model.contract_sha256, "contract": serving.contract_body}


def _row(prediction: Prediction) -> dict[str, Any]:
    return {
        "customer_id": prediction.customer_id,
        "churn_probability": prediction.churn_probability,
        "churn": prediction.churn,
        "status": prediction.status,
        "feature_issues": [asdict(issue) for issue in prediction.feature_issues],
    }


def _route(
    app: FastAPI,
    method: str,
    path: str,
    call: Call,
    answer: type[Any],
    body: type[Any] | None,
    errors: tuple[int, ...],
) -> None:
    name = path.lstrip("/")

    async def endpoint(request: Request) -> JSONResponse:
        return await _answer(request, name, call)

    extra: dict[str, Any] = {}
    if body is not None:
        schema = body.model_json_schema()
        extra["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    app.add_api_route(
        path,
        endpoint,
        methods=[method],
        name=name,
        operation_id=name,
        response_model=answer,
        responses={status: {"model": ErrorResponse} for status in (*errors, 500)},
        openapi_extra=extra,
    )


async def _answer(request: Request, name: str, call: Call) -> JSONResponse:
    """Run one call and turn whatever comes of it into the designed body, headers and metrics."""
    serving: ServingState = request.app.state.serving
    request_id = _request_id(request)
    identity = serving.predictor.model.identity
    headers = _headers(request_id, identity)
    started = time.perf_counter()
    outcome, status = "ok", 200
    try:
        raw = await _body(request, serving.settings) if request.method == "POST" else b""
        started = time.perf_counter()  # how slowly a client sends is not our latency, nor does it take a place
        with _place(serving):
            content = {"request_id": request_id, "model": identity, **await call(serving, raw)}
    except ServiceError as error:
        outcome, status = error.code, error.status
        content = _error(error.code, error.message, request_id, identity, error.field)
        if error.retry_after_seconds is not None:
            headers["Retry-After"] = str(error.retry_after_seconds)
    except ClientDisconnect:
        outcome, status, content = "cancelled", 400, {}  # nobody is left to read it
    except asyncio.CancelledError:
        outcome = "cancelled"
        raise
    except Exception:
        logger.exception("request %s failed", request_id)
        outcome, status = "internal", 500
        content = _error("internal", "the service failed; its log has the request id", request_id, identity)
    finally:
        serving.metrics.answered(name, outcome, time.perf_counter() - started)
    return JSONResponse(content, status_code=status, headers=headers)


def _headers(request_id: str, identity: dict[str, str]) -> dict[str, str]:
    return {"X-Request-ID": request_id} | {f"X-Model-{key.title()}": value for key, value in identity.items()}


def _error(
    code: str, message: str, request_id: str, identity: dict[str, str], field: str | None = None
) -> dict[str, Any]:
    error = {"code": code, "message": message, "request_id": request_id}
    if field is not None:
        error["field"] = field
    return {"error": error, "request_id": request_id, "model": identity}


@contextmanager
def _place(serving: ServingState) -> Iterator[None]:
    """One of the places for requests in flight.

    Raises:
        OverloadedError: all are taken.
    """
    if serving.in_flight >= serving.settings.max_concurrency:
        raise OverloadedError("too many requests at once")
    serving.in_flight += 1
    try:
        yield
    finally:
        serving.in_flight -= 1


async def _body(request: Request, settings: ServiceSettings) -> bytes:
    """Read the body, stopping as soon as it is over the limit or takes too long.

    Raises:
        RequestTooLargeError, InvalidRequestError: too large; too slow, or not declared as JSON.
    """
    kind = request.headers.get("content-type", "application/json").split(";")[0].strip().lower()
    if kind != "application/json":
        raise InvalidRequestError("Content-Type must be application/json", field="Content-Type")
    parts, size = [], 0
    try:
        async with asyncio.timeout(settings.body_timeout_ms / 1000):
            async for part in request.stream():
                size += len(part)
                if size > settings.max_body_bytes:
                    raise RequestTooLargeError(f"the body is over {settings.max_body_bytes} bytes")
                parts.append(part)
    except TimeoutError:
        raise InvalidRequestError("the body did not arrive in time") from None
    return b"".join(parts)


def _request_id(request: Request) -> str:
    """The client's `X-Request-ID` if it is safe to repeat in headers and logs, else a new one."""
    given = request.headers.get("x-request-id", "")
    if 0 < len(given) <= 128 and given.isascii() and given.isprintable() and " " not in given:
        return given
    return uuid.uuid4().hex


def _now_unix_us() -> int:
    return time.time_ns() // 1000
