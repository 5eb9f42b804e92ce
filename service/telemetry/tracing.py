"""OpenTelemetry tracing: a server span per request, with spans for its slow steps. Off unless `SERVICE_TRACING` is set.

While it is off, no function here calls OpenTelemetry.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from artefacts.process.loopback import keep_loopback_direct

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

    from service.asgi import Scope

_METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"})
_FLUSH_SECONDS = 3.0

_off: AbstractContextManager[None] = nullcontext()
_tracer: "Tracer | None" = None
_provider: "TracerProvider | None" = None
_others: ContextVar[Sequence["Span"]] = ContextVar("_others", default=())
"""Spans of the other requests of the current batch."""


def request_span(scope: "Scope", route: str | None) -> AbstractContextManager["Span | None"]:
    """Open the server span of one request, below its `traceparent` if it has one; None while tracing is off.

    Args:
        route: the call's path; None for an unknown path, because a span's name must not be a client's text.
    """
    return _off if _tracer is None else _request_span(_tracer, scope, route)


def note_answer(span: "Span | None", call: str, outcome: str, status: int, request_id: str) -> None:
    """Set the outcome on a request's span."""
    if span is None:
        return
    from opentelemetry.trace import StatusCode

    span.set_attributes(
        {
            "http.response.status_code": status,
            "model.call": call,
            "model.outcome": outcome,
            "model.request_id": request_id,
        }
    )
    if status >= 500:
        span.set_attribute("error.type", outcome)
        span.set_status(StatusCode.ERROR)


def span(name: str, **attributes: str | int) -> AbstractContextManager[None]:
    """Open a span around the `with` block, below the current one; nothing while tracing is off."""
    return _off if _tracer is None else _span(_tracer, name, attributes)


def current_request() -> "Span | None":
    """Return the span of the current request, for `together`; None while tracing is off."""
    if _tracer is None:
        return None
    from opentelemetry import trace

    return trace.get_current_span()


def together(requests: Sequence["Span | None"]) -> AbstractContextManager[None]:
    """Trace the `with` block for all these requests.

    Its spans are below the first request's span and linked with the others in both directions: a span has one parent.
    """
    # A span that is not recorded, because it is not sampled or has ended, must not become the parent.
    return (
        _off if _tracer is None else _together([request for request in requests if request and request.is_recording()])
    )


def trace_ids() -> dict[str, str]:
    """Return the current span's ids for a log line; empty while tracing is off."""
    if _tracer is None:
        return {}
    from opentelemetry import trace

    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": trace.format_trace_id(context.trace_id), "span_id": trace.format_span_id(context.span_id)}


def start_tracing(service: str) -> None:
    """Send spans to the collector that OpenTelemetry's variables name (`OTEL_EXPORTER_OTLP_ENDPOINT`, …).

    Args:
        service: its name if the variables do not give one.
    """
    global _tracer, _provider
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    keep_loopback_direct(os.environ)  # a collector on this machine is not behind the proxy
    named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    resource = Resource.create({"process.pid": os.getpid(), **({} if named else {SERVICE_NAME: service})})
    _provider = TracerProvider(resource=resource)
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _tracer = _provider.get_tracer("service")


def stop_tracing() -> None:
    """Send the remaining spans, for a few seconds at most, and turn tracing off."""
    global _tracer, _provider
    provider, _provider, _tracer = _provider, None, None
    if provider is not None:
        # The SDK would wait half a minute for a collector that is gone.
        flushing = threading.Thread(target=provider.shutdown, daemon=True)
        flushing.start()
        flushing.join(_FLUSH_SECONDS)


@contextmanager
def _request_span(tracer: "Tracer", scope: "Scope", route: str | None) -> Iterator["Span"]:
    from opentelemetry.propagate import extract
    from opentelemetry.trace import SpanKind

    carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
    attributes: dict[str, Any] = {
        "http.request.method": method,
        "url.scheme": scope.get("scheme", "http"),
        "url.path": scope["path"][:1000],
        "network.protocol.version": scope.get("http_version", "1.1"),
    }
    if route is not None:
        attributes["http.route"] = route
    if "user-agent" in carrier:
        attributes["user_agent.original"] = carrier["user-agent"][:1000]
    name = method if route is None else f"{method} {route}"
    with tracer.start_as_current_span(
        name, extract(carrier), SpanKind.SERVER, attributes, record_exception=False, set_status_on_exception=False
    ) as started:
        yield started


@contextmanager
def _span(tracer: "Tracer", name: str, attributes: dict[str, str | int]) -> Iterator[None]:
    from opentelemetry.trace import Link, StatusCode

    others = _others.get()
    links = [Link(other.get_span_context()) for other in others]
    with tracer.start_as_current_span(
        name, attributes=attributes, links=links, record_exception=False, set_status_on_exception=False
    ) as started:
        for other in others:
            if other.is_recording():
                other.add_link(started.get_span_context())
        try:
            yield
        except BaseException as error:
            # Only the type: a text or a traceback may hold confidential values.
            started.set_attribute("error.type", type(error).__name__)
            started.set_status(StatusCode.ERROR)
            raise


@contextmanager
def _together(requests: Sequence["Span"]) -> Iterator[None]:
    from opentelemetry import context, trace

    if not requests:
        yield
        return
    token = context.attach(trace.set_span_in_context(requests[0]))
    others = _others.set(requests[1:])
    try:
        yield
    finally:
        _others.reset(others)
        context.detach(token)
