"""Prometheus metrics of the stream."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from jobs.stream.micro_batch import BatchRecord


class StreamMetrics:
    """Counts what batches did.

    Args:
        port: on loopback; None counts without showing.
    """

    def __init__(self, port: int | None, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._orders = Counter(
            "churn_stream_orders", "Orders by what became of them", ["outcome"], registry=self.registry
        )
        self._predictions = Counter(
            "churn_stream_predictions", "Customers scored, by status", ["status"], registry=self.registry
        )
        self._lag = Gauge(
            "churn_stream_lag_seconds",
            "From the newest order's event time to the end of its batch",
            registry=self.registry,
        )
        self._seconds = Histogram(
            "churn_stream_batch_seconds",
            "How long a batch took",
            buckets=(0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
            registry=self.registry,
        )
        if port is not None:
            start_http_server(port, addr="127.0.0.1", registry=self.registry)

    def count(self, made: BatchRecord) -> None:
        """Add a batch."""
        timely = made.orders - made.late
        outcomes = {"new": timely, "late": made.late, "repeated": made.repeated, "refused": made.refused}
        for outcome, rows in outcomes.items():
            self._orders.labels(outcome).inc(rows)
        for status, rows in made.statuses.items():
            self._predictions.labels(status).inc(rows)
        if made.lag_seconds is not None:
            self._lag.set(made.lag_seconds)
        self._seconds.observe(made.seconds)
