"""Spans of the running service, as an OpenTelemetry collector gets them over OTLP/HTTP."""

import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.loop import Loop
from tests.servers.serving import Service, serving

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
BURST = 100


class Collector:
    """What an OTLP/HTTP receiver has received; knows just enough of the protocol to be one."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        received = self.requests

        class Receiver(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert ("/v1/traces", "application/x-protobuf") == (self.path, self.headers["Content-Type"])
                received.append(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"

    def spans(self) -> list[Span]:
        return [
            span
            for request in self.requests
            for of in request.resource_spans
            for in_ in of.scope_spans
            for span in in_.spans
        ]

    def service_names(self) -> set[str]:
        return {
            attribute.value.string_value
            for request in self.requests
            for of in request.resource_spans
            for attribute in of.resource.attributes
            if attribute.key == "service.name"
        }


@contextmanager
def collecting() -> Iterator[Collector]:
    collector = Collector()
    thread = threading.Thread(target=collector.server.serve_forever)
    thread.start()
    try:
        yield collector
    finally:
        collector.server.shutdown()
        thread.join()
        collector.server.server_close()


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


def ask(service: Service, customer_id: str = "00042", **headers: str) -> int:
    return service.call("POST", "/predict", {"customer_id": customer_id}, headers).status


@pytest.fixture(scope="module")
def spans(loop: Loop, tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> list[Span]:
    """Of one traced request, some others and a burst; sent when the service ended: the interval is a minute."""
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "60000"}
    with serving(loop, tmp_path_factory.mktemp("tracing"), SERVICE_TRACING="true", **settings) as service:
        assert 200 == ask(service, traceparent=f"00-{TRACE}-{PARENT}-01")
        assert 404 == ask(service, "nobody")
        assert 200 == ask(service, traceparent=f"00-{'7' * 32}-{'8' * 16}-00")
        with ThreadPoolExecutor(16) as threads:
            assert {200} == set(threads.map(lambda _: ask(service), range(BURST)))
        assert [] == collector.requests
        service.stop()
    return collector.spans()


def named(spans: list[Span], name: str) -> list[Span]:
    return [span for span in spans if span.name == name]


def attributes(span: Span) -> dict[str, str | int]:
    return {a.key: a.value.string_value or a.value.int_value for a in span.attributes}


def test_what_has_not_been_sent_is_sent_when_the_service_ends(spans: list[Span], collector: Collector) -> None:
    assert BURST + 2 == len(named(spans, "POST /predict")), "all but the one that its caller did not sample"
    assert {"churn"} == collector.service_names()


def test_the_request_is_below_its_caller_and_reading_and_scoring_are_below_it(spans: list[Span]) -> None:
    (server,) = [span for span in named(spans, "POST /predict") if span.trace_id.hex() == TRACE]

    assert (PARENT, Span.SPAN_KIND_SERVER) == (server.parent_span_id.hex(), server.kind)
    told = attributes(server)
    assert ("POST", "/predict", 200) == tuple(
        told[key] for key in ("http.request.method", "http.route", "http.response.status_code")
    )
    assert ("predict", "ok") == (told["model.call"], told["model.outcome"])
    children = {span.name: span for span in spans if span.parent_span_id == server.span_id}
    assert {"read features", "score"} == children.keys()
    read, score = children["read features"], children["score"]
    assert server.start_time_unix_nano < read.start_time_unix_nano < read.end_time_unix_nano
    assert read.end_time_unix_nano <= score.start_time_unix_nano < score.end_time_unix_nano
    assert score.end_time_unix_nano < server.end_time_unix_nano
    assert 0 == server.status.code


def test_every_request_leads_to_the_work_that_was_done_for_it(spans: list[Span]) -> None:
    """As a parent, or by a link where several shared one read; no work is counted twice or lost."""
    work = {span.span_id: span for span in spans if span.name in ("read features", "score")}
    servers = {span.span_id: span for span in named(spans, "POST /predict")}

    found: dict[bytes, list[str]] = {span_id: [] for span_id in servers}
    for span in work.values():
        found[span.parent_span_id].append(span.name)
        for link in span.links:
            found[link.span_id].append(span.name)
    assert {("read features", "score")} == {tuple(sorted(names)) for names in found.values()}
    rows = Counter[str]()
    for span in work.values():
        assert 1 + len(span.links) == attributes(span)["rows"]
        rows[span.name] += int(attributes(span)["rows"])
    assert {"read features": len(servers), "score": len(servers)} == rows
    for server in servers.values():
        assert {link.span_id for link in server.links} <= work.keys()


def test_no_customer_and_no_value_is_in_a_span(spans: list[Span]) -> None:
    assert not {word for word in ("00042", "nobody") for span in spans if word in str(attributes(span))}


def test_a_collector_that_is_not_there_holds_up_neither_answers_nor_the_end(loop: Loop, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens, so it refuses
        nowhere = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with serving(loop, tmp_path, SERVICE_TRACING="true", OTEL_EXPORTER_OTLP_ENDPOINT=nowhere) as service:
            started = time.monotonic()
            assert {200} == {ask(service) for _ in range(50)}
            assert time.monotonic() - started < 5
            started = time.monotonic()
            service.stop()
            assert time.monotonic() - started < 10
        printed = service.log.read_text()

    assert "Traceback" not in printed.partition('"logger": "opentelemetry')[0]
