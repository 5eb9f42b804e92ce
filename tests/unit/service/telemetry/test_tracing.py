"""Spans of the API over a store in memory: whose child each is, what it says, and what it must not say."""

import asyncio
import json
import logging
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from service.errors import OnlineStoreUnavailableError
from service.telemetry import tracing
from service.telemetry.logs import JsonFormatter
from tests.unit.service.api.test_routing import live_customer
from tests.unit.service.conftest import Api, OpenApi

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"


class Spans:
    """What has been recorded."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()

    def all(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.all() if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spans]:
    found, provider = Spans(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(found.exporter))
    monkeypatch.setattr(tracing, "_tracer", provider.get_tracer("test"))
    yield found
    provider.shutdown()


def ids(span: ReadableSpan) -> tuple[str, str]:
    """Of its trace and of itself."""
    return f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"


def parent(span: ReadableSpan) -> str | None:
    return None if span.parent is None else f"{span.parent.span_id:016x}"


def linked(span: ReadableSpan) -> set[str]:
    return {f"{link.context.span_id:016x}" for link in span.links}


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


async def ask(api: Api, customer_id: object = "a", traceparent: str = SAMPLED) -> httpx.Response:
    headers = {"traceparent": traceparent, "X-Request-ID": "abc-1", "User-Agent": "shop/1"}
    return await api.client.post("/predict", json={"customer_id": customer_id}, headers=headers)


async def test_a_request_is_a_server_span_below_its_traceparent(open_api: OpenApi, spans: Spans) -> None:
    assert 200 == (await ask(open_api({"a": live_customer()}))).status_code

    server = spans.one("POST /predict")
    assert (TRACE, PARENT) == (ids(server)[0], parent(server))
    assert (SpanKind.SERVER, StatusCode.UNSET) == (server.kind, server.status.status_code)
    assert {
        "http.request.method": "POST",
        "http.route": "/predict",
        "http.response.status_code": 200,
        "url.path": "/predict",
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "user_agent.original": "shop/1",
        "model.call": "predict",
        "model.outcome": "ok",
        "model.request_id": "abc-1",
    } == attributes(server)


async def test_reading_and_scoring_are_spans_of_the_request(open_api: OpenApi, spans: Spans) -> None:
    api = open_api({"a": live_customer()})

    await ask(api)
    await api.predict_batch("a", "nobody")

    for name, rows in (("POST /predict", 1), ("POST /predict_batch", 2)):
        server = spans.one(name)
        children = [span for span in spans.all() if parent(span) == ids(server)[1]]
        assert ["read features", "score"] == [child.name for child in children]
        assert [{"rows": rows}] * 2 == [attributes(child) for child in children]
        assert {ids(server)[0]} == {ids(child)[0] for child in children}
        assert [] == [link for child in children for link in child.links]


async def test_an_explanation_is_a_span_too(open_api: OpenApi, spans: Spans) -> None:
    await open_api({"a": live_customer()}).client.post("/explain", json={"customer_id": "a"})

    server = ids(spans.one("POST /explain"))[1]
    assert {server} == {parent(spans.one(name)) for name in ("read features", "score", "explain")}


@pytest.mark.parametrize("traceparent", ["", "00-zz", f"00-{'0' * 32}-{PARENT}-01", f"ff-{TRACE}-{PARENT}-01", "\xff"])
async def test_a_traceparent_that_is_none_begins_a_trace(open_api: OpenApi, spans: Spans, traceparent: str) -> None:
    headers = httpx.Headers([(b"traceparent", traceparent.encode("latin-1"))])

    assert 200 == (await open_api({}).client.get("/model", headers=headers)).status_code

    assert parent(spans.one("GET /model")) is None


async def test_what_the_caller_does_not_sample_is_not_recorded(open_api: OpenApi, spans: Spans) -> None:
    assert 200 == (await ask(open_api({"a": live_customer()}), traceparent=UNSAMPLED)).status_code

    assert [] == spans.all()


async def together(api: Api, gate: asyncio.Event, *traceparents: str) -> None:
    """Requests that are answered by one read, after a first that holds up nobody but makes them wait for a turn."""
    first = asyncio.ensure_future(ask(api, traceparent=UNSAMPLED))
    while not api.store.asked:
        await asyncio.sleep(0)
    others = [asyncio.ensure_future(ask(api, traceparent=traceparent)) for traceparent in traceparents]
    while len(api.store.asked) < 2:
        await asyncio.sleep(0)
    gate.set()
    assert {200} == {response.status_code for response in await asyncio.gather(first, *others)}
    assert len(traceparents) == len(api.store.asked[1])


def traceparent(number: int, flags: str = "01") -> str:
    return f"00-{number:032x}-{number:016x}-{flags}"


async def test_requests_that_are_worked_on_together_are_linked_with_the_spans_of_that_work(
    open_api: OpenApi, spans: Spans
) -> None:
    gate = asyncio.Event()

    await together(open_api({"a": live_customer()}, gate=gate), gate, *map(traceparent, (1, 2, 3)))

    servers = {int(ids(span)[0], 16): span for span in spans.named("POST /predict")}
    work = [spans.one("read features"), spans.one("score")]
    assert {1, 2, 3} == servers.keys()
    first, *others = (servers[number] for number in (1, 2, 3))
    for span in work:
        assert ids(first) == (ids(span)[0], parent(span))
        assert {ids(other)[1] for other in others} == linked(span)
        assert {"rows": 3} == attributes(span)
    assert set() == linked(first)
    assert [{ids(span)[1] for span in work}] * 2 == [linked(other) for other in others]


async def test_one_that_is_not_sampled_does_not_hide_the_work_from_the_others(open_api: OpenApi, spans: Spans) -> None:
    gate = asyncio.Event()

    await together(open_api({"a": live_customer()}, gate=gate), gate, traceparent(1, "00"), traceparent(2))

    server = spans.one("POST /predict")
    assert {ids(server)[1]} == {parent(spans.one(name)) for name in ("read features", "score")}
    assert 2 == attributes(spans.one("score"))["rows"]


@pytest.mark.parametrize(
    ("failure", "outcome", "status"),
    [
        (OnlineStoreUnavailableError("planted"), "online_store_unavailable", 503),
        (RuntimeError("planted"), "internal", 500),
    ],
)
async def test_a_failure_is_marked_without_its_text(
    open_api: OpenApi, spans: Spans, failure: Exception, outcome: str, status: int
) -> None:
    await ask(open_api({}, failure=failure))

    server, read = spans.one("POST /predict"), spans.one("read features")
    assert (StatusCode.ERROR, outcome, status) == (
        server.status.status_code,
        attributes(server)["error.type"],
        attributes(server)["http.response.status_code"],
    )
    assert (StatusCode.ERROR, type(failure).__name__) == (read.status.status_code, attributes(read)["error.type"])
    assert not [span for span in spans.all() if "planted" in span.to_json() or span.events]


async def test_what_the_client_does_wrong_is_no_error_of_the_service(open_api: OpenApi, spans: Spans) -> None:
    await ask(open_api({}), 7)

    server = spans.one("POST /predict")
    assert StatusCode.UNSET == server.status.status_code
    assert "error.type" not in attributes(server)
    assert "invalid_request" == attributes(server)["model.outcome"]


async def test_a_path_that_is_not_there_gives_no_name_to_a_span(open_api: OpenApi, spans: Spans) -> None:
    await open_api({}).client.request("BREW", "/planted")

    span = spans.one("_OTHER")
    assert "http.route" not in attributes(span)
    assert ("_OTHER", "/planted") == (attributes(span)["http.request.method"], attributes(span)["url.path"])


async def test_health_and_metrics_make_no_spans(open_api: OpenApi, spans: Spans) -> None:
    for path in ("/livez", "/readyz", "/metrics", "/docs.json"):
        await open_api({}).client.get(path)

    assert [] == spans.all()


async def test_a_log_line_says_which_trace_it_belongs_to(
    open_api: OpenApi, spans: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    written: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: written.append(JsonFormatter().format(record))  # type: ignore[method-assign]
    logging.getLogger("service").addHandler(handler)
    try:
        await ask(open_api({}, failure=RuntimeError("broken")))
    finally:
        logging.getLogger("service").removeHandler(handler)

    (line,) = map(json.loads, written)
    assert ids(spans.one("POST /predict")) == (line["trace_id"], line["span_id"])


async def test_while_it_is_off_nothing_is_made(open_api: OpenApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TracerProvider, "get_tracer", lambda *_, **__: pytest.fail("made"))

    assert 200 == (await ask(open_api({"a": live_customer()}))).status_code

    assert tracing.span("a") is tracing.span("b", rows=1) is tracing.together([None])
    assert ({}, None) == (tracing.trace_ids(), tracing.current_request())
    tracing.stop_tracing()
