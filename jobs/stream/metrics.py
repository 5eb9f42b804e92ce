"""Prometheus metrics of the stream."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from jobs.stream.micro_batch import BatchRecord


class StreamMetrics:
    """Counts the results of batches.

    Args:
        model: the registered model's name.
        port: on loopback; None serves no metrics.
    """

    def __init__(self, model: str, port: int | None, registry: CollectorRegistry | None = None) -> None:
        self._model = model
        self.registry = registry or CollectorRegistry()
        self._events = Counter(
            "model_jobs_stream_events", "Events by what became of them", ["model", "outcome"], registry=self.registry
        )
        self._predictions = Counter(
            "model_jobs_stream_predictions", "Entities scored, by status", ["model", "status"], registry=self.registry
        )
        self._lag = Gauge(
            "model_jobs_stream_lag_seconds",
            "From the newest event's time to the end of its batch",
            ["model"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "model_jobs_stream_batch_seconds",
            "How long a batch took",
            ["model"],
            buckets=(0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
            registry=self.registry,
        )
        if port is not None:
            start_http_server(port, addr="127.0.0.1", registry=self.registry)

    def count(self, record: BatchRecord) -> None:
        """Add a batch."""
        timely = record.orders - record.late
        outcomes = {"new": timely, "late": record.late, "repeated": record.repeated, "refused": record.refused}
        for outcome, rows in outcomes.items():
            self._events.labels(self._model, outcome).inc(rows)
        for status, rows in record.statuses.items():
            self._predictions.labels(self._model, status).inc(rows)
        if record.lag_seconds is not None:
            self._lag.labels(self._model).set(record.lag_seconds)
        self._seconds.labels(self._model).observe(record.seconds)
