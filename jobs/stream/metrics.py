"""Prometheus metrics of the stream."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from jobs.stream.micro_batch import BatchRecord


class StreamMetrics:
    """Counts the results of batches.

    Args:
        port: on loopback; None serves no metrics.
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

    def count(self, record: BatchRecord) -> None:
        """Add a batch."""
        timely = record.orders - record.late
        outcomes = {"new": timely, "late": record.late, "repeated": record.repeated, "refused": record.refused}
        for outcome, rows in outcomes.items():
            self._orders.labels(outcome).inc(rows)
        for status, rows in record.statuses.items():
            self._predictions.labels(status).inc(rows)
        if record.lag_seconds is not None:
            self._lag.set(record.lag_seconds)
        self._seconds.observe(record.seconds)
