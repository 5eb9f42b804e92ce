"""What API keys with a quota have used of it."""

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from prometheus_client import Counter, Gauge

QuotaKind = Literal["requests", "rows"]
QuotaOutcome = Literal["used", "refused"]


class _MakeCounter(Protocol):
    def __call__(self, name: str, meaning: str, *labels: str) -> "Counter": ...


class _MakeGauge(Protocol):
    def __call__(self, name: str, meaning: str, mode: Literal["livemax"], *labels: str) -> "Gauge": ...


class QuotaMetrics:
    """A counter and a gauge of the service's metrics.

    Args:
        counter, gauge: make one with the service's prefix and the label `model`.
    """

    def __init__(self, counter: _MakeCounter, gauge: _MakeGauge) -> None:
        labels = "client", "kind"
        self._used = counter(
            "quota", "Requests and rows of API keys with a quota, by what came of them", *labels, "outcome"
        )
        self._limit = gauge("quota_limit", "Requests and rows a minute that an API key may use", "livemax", *labels)
        self._limits: dict[tuple[str, QuotaKind], int] = {}
        self._model = ""

    def bind(self, model: str) -> None:
        """Count for this model from now on."""
        for of_key, limit in self._limits.items():
            self._limit.labels(self._model, *of_key).set(0)
            self._limit.labels(model, *of_key).set(limit)
        self._model = model

    def count(self, client: str, kind: QuotaKind, outcome: QuotaOutcome, count: int) -> None:
        """Count requests or rows of an API key that has a quota of them."""
        self._used.labels(self._model, client, kind, outcome).inc(count)

    def limit(self, client: str, kind: QuotaKind, limit: int) -> None:
        """Set the quota of an API key."""
        self._limits[client, kind] = limit
        self._limit.labels(self._model, client, kind).set(limit)
