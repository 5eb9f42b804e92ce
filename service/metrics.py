"""What Prometheus is told. Made inside the worker, after BentoML has set up the multi-process registry."""

from collections.abc import Iterable

from contract import FeatureIssue


class ServiceMetrics:
    """Counters and histograms of one worker; `/metrics` adds the workers up."""

    def __init__(self) -> None:
        # prometheus_client decides at import whether several processes share its values.
        from prometheus_client import Counter, Gauge, Histogram

        self._requests = Counter("churn_requests", "Requests by call and outcome", ["call", "outcome"])
        self._seconds = Histogram(
            "churn_request_seconds",
            "Seconds from the body read to the answer ready, by call",
            ["call"],
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0),
        )
        self._issues = Counter("churn_feature_issues", "Features that were not simply fresh", ["feature", "state"])
        self._live = Gauge(
            "churn_model_live",
            "1 for the model version that answers",
            ["name", "version", "role"],
            multiprocess_mode="livemax",
        )

    def answered(self, call: str, outcome: str, seconds: float) -> None:
        """Count one answer; `outcome` is `ok` or the error's code."""
        self._requests.labels(call, outcome).inc()
        self._seconds.labels(call).observe(seconds)

    def issues(self, issues: Iterable[FeatureIssue]) -> None:
        """Count the feature issues of one row."""
        for issue in issues:
            self._issues.labels(issue.feature, issue.state).inc()

    def live(self, identity: dict[str, str]) -> None:
        """Name the model that answers from now on."""
        self._live.labels(**identity).set(1)
