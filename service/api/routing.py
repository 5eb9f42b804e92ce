"""Maps paths to calls, and every result or error to an HTTP response.

ASGI middleware in front of BentoML's own routes: a request passes neither BentoML's nor a framework's routing and
validation. Why: docs/adr/0007.
"""

import asyncio
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from service.api.authentication import UNAUTHENTICATED
from service.api.endpoints import ENDPOINTS, Endpoint
from service.api.exchange import (
    ClientGoneError,
    SlowBodyError,
    answer,
    error_content,
    header,
    is_encoded,
    model_headers,
    read_body,
    request_id_of,
    send_bytes,
)
from service.api.serving import Serving
from service.asgi import App, Headers, Receive, Scope, Send
from service.console.pages import CONTENT_TYPE
from service.errors import (
    EncodedBodyError,
    MethodNotAllowedError,
    NotFoundError,
    ServiceError,
    UnsupportedMediaTypeError,
)
from service.telemetry.tracing import note_answer, request_span

logger = logging.getLogger(__name__)

ROUTES = {endpoint.path: endpoint for endpoint in ENDPOINTS}
_METRICS, _DOCUMENT = _PAGES = "/metrics", "/docs.json"
_BENTOML = ("/livez", "/readyz", "/healthz", "/schema.json")
_STATIC = "/static_content/"
"""BentoML answers these paths, and everything below `_STATIC`, which Swagger's page loads."""


@dataclass
class ServingSlot:
    """Holds what the API works with; the worker fills it when it has started.

    bound: a server has started this process's application, so that clients reach it over the network.
    """

    serving: Serving | None = None
    bound: bool = False


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
        endpoint = ROUTES.get(path)
        if endpoint is not None and (endpoint.offered is None or endpoint.offered(serving.settings)):
            await _answer(serving, endpoint, scope, receive, send)
        elif path in _PAGES or path in serving.pages:
            await _page(serving, scope, receive, send)
        elif path in _BENTOML or path.startswith(_STATIC):
            await self._app(scope, receive, send)
        else:
            await _answer(serving, _UNKNOWN, scope, receive, send)


async def _no_such_path(_serving: Serving, _body: None, _as_of_unix_us: int, _request_id: str) -> dict[str, Any]:
    raise NotFoundError("there is nothing at this path; GET /docs.json lists what there is")


_UNKNOWN = Endpoint("unknown", "", "", "", _no_such_path, (NotFoundError,), guarded=False)
_PAGE = replace(_UNKNOWN, name="page", method="GET")


async def _page(serving: Serving, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer `/metrics`, `/docs.json` or a page for people: without an API key, and not counted."""
    if scope["method"] not in _PAGE.methods:
        await _answer(serving, _PAGE, scope, receive, send)
        return
    headers = answer_headers(request_id_of(scope), serving.model_headers)
    page = serving.pages.get(scope["path"])
    if page is not None:
        await send_bytes(send, 200, page.body, CONTENT_TYPE, [*headers, *page.headers])
    elif scope["path"] == _METRICS:
        body = await serving.metrics.scrape()
        await send_bytes(send, 200, body, b"text/plain; version=0.0.4; charset=utf-8", headers)
    else:
        await answer(send, 200, serving.document, headers)


async def _answer(serving: Serving, endpoint: Endpoint, scope: Scope, receive: Receive, send: Send) -> None:
    """Run one call. Turn its result or error into the response, the log line, the metrics and the span."""
    request_id = request_id_of(scope)
    identity = serving.identity
    model = serving.model_headers
    extra: Headers = []
    outcome, status, client = "ok", 200, UNAUTHENTICATED
    failure: Exception | None = None
    content: dict[str, Any]
    with request_span(scope, None if endpoint is _UNKNOWN else scope["path"]) as traced:
        started = time.perf_counter()
        try:
            if endpoint.guarded:
                client = serving.keys.authenticate(header(scope, b"authorization"))
                if serving.quotas is not None:
                    serving.quotas.take_request(client)
            if endpoint.method and scope["method"] not in endpoint.methods:
                raise MethodNotAllowedError(f"{scope['method'][:20]} is not offered here; {endpoint.method} is")
            content_type, raw = None, scope.get("query_string", b"")
            if endpoint.method == "POST":
                content_type = header(scope, b"content-type")
                if not endpoint.mlflow:
                    _check_json(content_type)
                if is_encoded(scope):
                    raise EncodedBodyError(
                        "Content-Encoding must be absent: send the body uncompressed", field="Content-Encoding"
                    )
                raw = await read_body(receive, serving.settings.body_timeout_ms / 1000, serving.settings.max_body_bytes)
                started = time.perf_counter()  # a slow client is not our latency, and its body counts towards no limit
            content = await endpoint.answer(serving, content_type, raw, request_id, client)
            if not endpoint.mlflow and content["model"] is not identity:
                model = model_headers(content["model"])
        except ServiceError as error:
            outcome, status = error.code, error.status
            if error.model is not None:
                identity, model = error.model, model_headers(error.model)
            content = error_content(error.code, error.message, request_id, identity, error.field)
            extra = _error_headers(error, endpoint)
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
            serving.metrics.answered(endpoint.name, outcome, client, seconds)
            note_answer(traced, endpoint.name, outcome, status, request_id)
            if status >= 500 or serving.settings.log_requests:
                about = {"request_id": request_id, "client": client, "status": status, "seconds": round(seconds, 6)}
                level = logging.ERROR if failure else logging.WARNING if status >= 500 else logging.INFO
                logger.log(level, "%s: %s", endpoint.name, outcome, exc_info=failure, extra=about)
        if outcome != "cancelled":
            await answer(send, status, content, answer_headers(request_id, model, extra))


def answer_headers(request_id: str, model: Headers, extra: Iterable[tuple[bytes, bytes]] = ()) -> Headers:
    """Make the headers of every answer of ours, beside its type and length.

    Args:
        model: `model_headers` of the model that answered.
        extra: headers of this kind of answer alone.
    """
    return [(b"x-request-id", request_id.encode()), *model, *extra]


def _check_json(content_type: bytes | None) -> None:
    if content_type is not None and content_type.partition(b";")[0].strip().lower() != b"application/json":
        raise UnsupportedMediaTypeError("Content-Type must be application/json", field="Content-Type")


def _error_headers(error: ServiceError, endpoint: Endpoint) -> Headers:
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
        headers.append((b"allow", ", ".join(endpoint.methods).encode()))
    return headers
