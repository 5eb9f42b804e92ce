"""OpenTelemetry spans around the read of features and the call of the model; off unless `SERVICE_TRACING` is set."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

_off: AbstractContextManager[None] = nullcontext()
_tracer: "Tracer | None" = None


def span(name: str, **attributes: str | int) -> AbstractContextManager[None]:
    """A span around what the `with` block does; nothing at all while tracing is off."""
    return _off if _tracer is None else _span(_tracer, name, attributes)


@contextmanager
def _span(tracer: "Tracer", name: str, attributes: dict[str, str | int]) -> Iterator[None]:
    with tracer.start_as_current_span(name, attributes=attributes):
        yield


def start_tracing() -> None:
    """Send spans to where OpenTelemetry's own variables say (`OTEL_EXPORTER_OTLP_ENDPOINT`, …)."""
    global _tracer
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _tracer = trace.get_tracer("churn", tracer_provider=provider)
