"""HTTP around the predictor: which call is made by which path, and what comes of each outcome.

ASGI middleware in front of BentoML's own routes, so that neither BentoML's nor a framework's routing and validation
stands between a request and its answer. Why: docs/adr/0007.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service.api.authentication import UNAUTHENTICATED
from service.api.endpoints import Asked, Serving, explain, invocations, model, model_headers, predict, predict_batch
from service.api.exchange import (
    ClientGoneError,
    SlowBodyError,
    answer,
    error_content,
    header,
    is_encoded,
    read_body,
    request_id_of,
    send_bytes,
)
from service.asgi import Headers, Receive, Scope, Send
from service.errors import (
    EncodedBodyError,
    MethodNotAllowedError,
    NotFoundError,
    ServiceError,
    UnsupportedMediaTypeError,
)
from service.telemetry.tracing import note_answer, request_span

if TYPE_CHECKING:
    from opentelemetry.trace import Span

logger = logging.getLogger(__name__)

App = Callable[[Scope, Receive, Send], Awaitable[None]]
Call = Callable[[Serving, Asked], Awaitable[dict[str, Any]]]


@dataclass(frozen=True)
class Route:
    """One call of the API.

    method: what it takes; empty for any.
    guarded: it asks for an API key, if there are keys.
    identified: the answer's body carries `request_id` and `model`; MLflow's protocol has no place for them.
    """

    name: str
    method: str
    call: Call
    guarded: bool = True
    json_only: bool = True
    identified: bool = True

    @property
    def methods(self) -> tuple[str, ...]:
        """What the path takes: whatever answers GET answers HEAD, whose body the server then leaves out."""
        return ("GET", "HEAD") if self.method == "GET" else (self.method,)


ROUTES = {
    "/predict": Route("predict", "POST", predict),
    "/predict_batch": Route("predict_batch", "POST", predict_batch),
    "/explain": Route("explain", "POST", explain),
    "/invocations": Route("invocations", "POST", invocations, json_only=False, identified=False),
    "/model": Route("model", "GET", model),
}
_METRICS, _DOCUMENT = _PAGES = "/metrics", "/docs.json"
_BENTOML = ("/livez", "/readyz", "/healthz", "/schema.json")
_STATIC = "/static_content/"
"""With the page at `/` and what lies under this, what BentoML answers itself."""


@dataclass
class ServingSlot:
    """Where the worker leaves what the API works with, once it has started."""

    serving: Serving | None = None


class HttpApi:
    """The ASGI application.

    Args:
        app: what answers the paths that are not ours.
        slot: filled before the first request.
    """

    def __init__(self, app: App, slot: ServingSlot) -> None:
        self._app = app
        self._slot = slot

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        serving = self._slot.serving
        if scope["type"] != "http" or serving is None:
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        route = ROUTES.get(path)
        if route is not None:
            await _answer(serving, route, scope, receive, send)
        elif path in _PAGES:
            await _page(serving, scope, receive, send)
        elif path == "/" or path in _BENTOML or path.startswith(_STATIC):
            await self._app(scope, receive, send)
        else:
            await _answer(serving, _UNKNOWN, scope, receive, send)


class BeforeBentoML:
    """BentoML middleware that puts `HttpApi` before all of BentoML's own when the server starts.

    Middleware added to a service stands behind BentoML's, whose `TimeoutMiddleware` cannot be left out and keeps every
    finished request in memory for as long as its timeout, and whose spans cost what a whole prediction does.
    """

    def __init__(self, app: App, slot: ServingSlot) -> None:
        self._app = app
        self._slot = slot

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification; a server starts an application once, with the scope `lifespan`."""
        if scope["type"] == "lifespan":
            server = scope["app"]  # Starlette's application, which passes each request to its `middleware_stack`
            server.middleware_stack = HttpApi(server.middleware_stack, self._slot)
        await self._app(scope, receive, send)


async def _no_such_path(_serving: Serving, _asked: Asked) -> dict[str, Any]:
    raise NotFoundError("there is nothing at this path; GET /docs.json lists what there is")


_UNKNOWN = Route("unknown", "", _no_such_path, guarded=False)
_PAGE = Route("page", "GET", _no_such_path, guarded=False)


async def _page(serving: Serving, scope: Scope, receive: Receive, send: Send) -> None:
    """What is no call: answered without a key, and not counted."""
    if scope["method"] not in _PAGE.methods:
        await _answer(serving, _PAGE, scope, receive, send)
        return
    headers = [(b"x-request-id", request_id_of(scope).encode()), *serving.model_headers]
    if scope["path"] == _METRICS:
        body = await serving.metrics.scrape()
        await send_bytes(send, 200, body, b"text/plain; version=0.0.4; charset=utf-8", headers)
    else:
        await answer(send, 200, serving.document, headers)


async def _answer(serving: Serving, route: Route, scope: Scope, receive: Receive, send: Send) -> None:
    with request_span(scope, scope["path"] if route is not _UNKNOWN else None) as traced:
        await _answer_traced(serving, route, scope, receive, send, traced)


async def _answer_traced(
    serving: Serving, route: Route, scope: Scope, receive: Receive, send: Send, traced: "Span | None"
) -> None:
    """Run one call and turn whatever comes of it into the designed body, headers, log line, metrics and span."""
    request_id = request_id_of(scope)
    identity = serving.predictor.model.identity
    headers = [(b"x-request-id", request_id.encode()), *serving.model_headers]
    started = time.perf_counter()
    outcome, status, client = "ok", 200, UNAUTHENTICATED
    failure: Exception | None = None
    content: dict[str, Any]
    try:
        if route.guarded:
            client = serving.keys.authenticate(header(scope, b"authorization"))
        if route.method and scope["method"] not in route.methods:
            raise MethodNotAllowedError(f"{scope['method'][:20]} is not offered here; {route.method} is")
        content_type = header(scope, b"content-type")
        raw = b""
        if route.method == "POST":
            if route.json_only:
                _check_json(content_type)
            if is_encoded(scope):
                raise EncodedBodyError(
                    "Content-Encoding must be absent: send the body uncompressed", field="Content-Encoding"
                )
            raw = await read_body(receive, serving.settings.body_timeout_ms / 1000, serving.settings.max_body_bytes)
            started = time.perf_counter()  # how slowly a client sends is not our latency, nor does it take a place
        with serving.requests.take():
            content = await route.call(serving, Asked(raw, content_type, serving.clock() // 1000, request_id))
        if route.identified:
            content = {"request_id": request_id, "model": identity, **content}
            if content["model"] is not identity:
                headers = [headers[0], *model_headers(content["model"])]
    except ServiceError as error:
        outcome, status = error.code, error.status
        if error.model is not None:
            identity, headers = error.model, [headers[0], *model_headers(error.model)]
        content = error_content(error.code, error.message, request_id, identity, error.field)
        headers += _error_headers(error, route)
    except ClientGoneError:
        outcome, status = "cancelled", 499
    except asyncio.CancelledError:
        outcome, status = "cancelled", 499
        raise
    except Exception as error:
        failure = error
        outcome, status = "internal", 500
        content = error_content(
            "internal", "the service failed; its log has the request id", request_id, identity, None
        )
    finally:
        seconds = time.perf_counter() - started
        serving.metrics.answered(route.name, outcome, client, seconds)
        note_answer(traced, route.name, outcome, status, request_id)
        if status >= 500 or serving.settings.log_requests:
            about = {"request_id": request_id, "client": client, "status": status, "seconds": round(seconds, 6)}
            level = logging.ERROR if failure else logging.WARNING if status >= 500 else logging.INFO
            logger.log(level, "%s: %s", route.name, outcome, exc_info=failure, extra=about)
    if outcome != "cancelled":
        await answer(send, status, content, headers)


def _check_json(content_type: bytes | None) -> None:
    if content_type is not None and content_type.partition(b";")[0].strip().lower() != b"application/json":
        raise UnsupportedMediaTypeError("Content-Type must be application/json", field="Content-Type")


def _error_headers(error: ServiceError, route: Route) -> Headers:
    headers: Headers = []
    if error.retry_after_seconds is not None:
        headers.append((b"retry-after", b"%d" % error.retry_after_seconds))
    if isinstance(error, SlowBodyError):
        headers.append((b"connection", b"close"))
    if isinstance(error, EncodedBodyError):
        headers.append((b"accept-encoding", b"identity"))
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if error.status == 405:
        headers.append((b"allow", ", ".join(route.methods).encode()))
    return headers
