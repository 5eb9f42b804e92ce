"""The service's Prometheus metrics; docs/metrics.md explains each. They are made in the worker, after the fork."""

import asyncio
import os
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from contract import FeatureIssue
from service.own_threads import in_own_thread
from service.telemetry.quota_metrics import QuotaMetrics
from service.telemetry.workers import PREFIX, UNREADABLE, UNREADABLE_HELP, announce, registry_of_workers

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

Stage = Literal["features", "model", "challenger"]
LogOutcome = Literal["written", "dropped_full", "dropped_failed"]
ChallengerOutcome = Literal["scored", "late", "failed", "dropped"]
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128)
_HOUR, _DAY = 3600.0, 86_400.0
_LONGEST_REASON = 200
_AGES = (60.0, 600.0, _HOUR, 6 * _HOUR, 12 * _HOUR, _DAY, 2 * _DAY, 3 * _DAY, 7 * _DAY, 30 * _DAY, 180 * _DAY)


class LiveRuntime(NamedTuple):
    """What a live model runs on, and why, if that is not ONNX."""

    identity: dict[str, str]
    runtime: str
    reason: str


@cache
def metrics_of_process(model: str) -> "ServiceMetrics":
    """The metrics of this process: a second service object in it counts in the same ones."""
    return ServiceMetrics(model)


class ServiceMetrics:
    """Counters, gauges and histograms of one worker; `exposition` adds up all workers.

    Args:
        model: the champion's registered name, their label `model`; `live` changes it.
        registry: where they are registered; None: the process's own.

    Attributes:
        folder: where the workers of one server keep theirs; None: this process is the only one.
        quotas: of API keys.
    """

    def __init__(self, model: str, registry: "CollectorRegistry | None" = None) -> None:
        # prometheus_client decides at import whether several processes share its values.
        from prometheus_client import REGISTRY, Counter, Gauge, Histogram

        to = registry or REGISTRY
        self._registry = to
        folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        self.folder = None if registry is not None or folder is None else Path(folder)
        self._alive = self.folder and announce(self.folder)
        self._scraping: asyncio.Future[bytes] | None = None

        def counter(name: str, meaning: str, *labels: str) -> Counter:
            return Counter(PREFIX + name, meaning, ["model", *labels], registry=to)

        def histogram(name: str, meaning: str, buckets: Sequence[float], *labels: str) -> Histogram:
            return Histogram(PREFIX + name, meaning, ["model", *labels], buckets=buckets, registry=to)

        def gauge(name: str, meaning: str, mode: Literal["livesum", "livemax"], *labels: str) -> Gauge:
            return Gauge(PREFIX + name, meaning, ["model", *labels], multiprocess_mode=mode, registry=to)

        self._requests = counter(
            "requests", "Requests by call, outcome and name of the API key", "call", "outcome", "client"
        )
        self._seconds = histogram(
            "request_seconds", "Seconds from the body read to the answer ready, by call", _SECONDS, "call"
        )
        self._stage_seconds = histogram(
            "stage_seconds",
            "Seconds of one read of features and of one call of a model, each for one or more rows",
            _SECONDS,
            "stage",
        )
        self._rows = counter("predictions", "Rows looked up and scored, or not, by status", "status")
        self._issues = counter("feature_issues", "Features that were not simply fresh", "feature", "state")
        self._ages = histogram(
            "feature_age_seconds", "Age of the oldest row in one read, by feature view", _AGES, "view"
        )
        self._coalesced = histogram(
            "coalesced_rows", "Single requests answered by one read and one call of the model", _ROWS
        )
        self._cached = counter("cached_rows", "Rows answered with last known good values")
        self._unreadable_rows = counter(
            "unreadable_rows", "Rows that were not answered because of what is stored of them, by reason", "reason"
        )
        self._store_errors = counter(
            "online_store_errors", "Failed reads of the online store, by class of error", "error"
        )
        self._breaker = gauge(
            "breaker_open", "Workers whose circuit breaker keeps requests away from the online store", "livesum"
        )
        self._mismatch = gauge(
            "contract_mismatch", "1 if the live feature registry no longer keeps what the contract promises", "livemax"
        )
        self._live = gauge("model_live", "1 for the model version that answers", "livemax", "version", "role")
        self._runtime = gauge(
            "model_runtime_info",
            "1 for each live model, by what it runs on: onnx, or scikit-learn and why",
            "livemax",
            *("version", "role", "runtime", "reason"),
        )
        self._challenger = counter(
            "challenger_rows", "Rows that the challenger should score, by what came of it", "outcome"
        )
        self._switches = counter(
            "model_switches", "Changes of the models that are live, by what came of them", "outcome"
        )
        self._switch_failing = gauge(
            "model_switch_failing", "1 while the models that should be live cannot be", "livemax"
        )
        self.quotas = QuotaMetrics(counter, gauge)
        self._logged = counter("log_rows", "Rows for the inference log, by what became of them", "outcome")
        self._log_waiting = gauge(
            "log_waiting_rows", "Rows that the last write to the inference log took from the queue", "livesum"
        )
        self._log_failing = gauge("log_failing", "Workers whose inference log cannot be written", "livesum")
        # This one stays 0: `registry_of_workers` exposes the number.
        self._unreadable_files = Gauge(UNREADABLE, UNREADABLE_HELP, multiprocess_mode="livemax", registry=to)
        self._identities: tuple[dict[str, str], ...] = ()
        self._runtimes: tuple[LiveRuntime, ...] = ()
        states = self._breaker, self._mismatch, self._switch_failing, self._log_waiting, self._log_failing
        self._states: dict[Gauge, float] = dict.fromkeys(states, 0)
        self._bind(model)

    def _bind(self, model: str) -> None:
        """Count for this model from now on.

        What every request counts is bound to its labels once, because looking labels up takes as long as counting.
        """
        self._model = model
        self._by_outcome: dict[tuple[str, str, str], tuple[Counter, Histogram]] = {}
        self._by_view: dict[str, Histogram] = {}
        self._stages = {s: self._stage_seconds.labels(model, s) for s in ("features", "model", "challenger")}
        self._rows_ok = self._rows.labels(model, "ok")
        self._coalesced_rows = self._coalesced.labels(model)
        self._cached_rows = self._cached.labels(model)
        for gauge, value in self._states.items():
            gauge.labels(model).set(value)
        self.quotas.bind(model)

    def _set(self, gauge: "Gauge", value: float) -> None:
        self._states[gauge] = value
        gauge.labels(self._model).set(value)

    def answered(self, call: str, outcome: str, client: str, seconds: float) -> None:
        """Count one answer; `outcome` is `ok` or the error's code."""
        labels = (call, outcome, client)
        found = self._by_outcome.get(labels)
        if found is None:
            counted, timed = self._requests.labels(self._model, *labels), self._seconds.labels(self._model, call)
            found = self._by_outcome[labels] = counted, timed
        found[0].inc()
        found[1].observe(seconds)

    def stage(self, stage: Stage, seconds: float) -> None:
        """Time one read of features or one call of the model."""
        self._stages[stage].observe(seconds)

    def coalesced(self, rows: int) -> None:
        """Count the single requests of one batch."""
        self._coalesced_rows.observe(rows)

    def rows_ok(self, rows: int) -> None:
        """Count rows with the status `ok`."""
        self._rows_ok.inc(rows)

    def row(self, status: str) -> None:
        """Count one row by its status."""
        self._rows.labels(self._model, status).inc()

    def issues(self, issues: Iterable[FeatureIssue]) -> None:
        """Count the feature issues of one row."""
        for issue in issues:
            self._issues.labels(self._model, issue.feature, issue.state).inc()

    def age(self, view: str, seconds: float) -> None:
        """Observe the age of a view's oldest row in one read."""
        found = self._by_view.get(view)
        if found is None:
            found = self._by_view[view] = self._ages.labels(self._model, view)
        found.observe(seconds)

    def cached_rows(self, rows: int) -> None:
        """Count rows that the last-known-good cache answered."""
        self._cached_rows.inc(rows)

    def store_failed(self, error: str) -> None:
        """Count a read that failed as a whole; `error` is a class of Python's or of a driver's."""
        self._store_errors.labels(self._model, error).inc()

    def unreadable(self, reason: str, rows: int) -> None:
        """Count rows whose stored values cannot be decoded or break a rule."""
        self._unreadable_rows.labels(self._model, reason).inc(rows)

    def breaker(self, is_open: bool) -> None:
        """Set whether the circuit breaker keeps requests away from the online store."""
        self._set(self._breaker, is_open)

    def contract_mismatch(self, found: bool) -> None:
        """Set whether the live registry breaks the contract."""
        self._set(self._mismatch, found)

    def challenger(self, outcome: ChallengerOutcome, rows: int) -> None:
        """Count rows that the challenger should score."""
        self._challenger.labels(self._model, outcome).inc(rows)

    def log_rows(self, outcome: LogOutcome, rows: int) -> None:
        """Count rows for the inference log."""
        self._logged.labels(self._model, outcome).inc(rows)

    def log_waiting(self, rows: int) -> None:
        """Set how many rows waited to be logged."""
        self._set(self._log_waiting, rows)

    def log_failing(self, failing: bool) -> None:
        """Set whether the inference log cannot be written."""
        self._set(self._log_failing, failing)

    def live(self, champion: dict[str, str], *others: dict[str, str]) -> None:
        """Set which models are live, by their identities; everything counts for the champion's name from now on."""
        for gone in self._identities:
            self._of(gone).set(0)
        if champion["name"] != self._model:
            for gauge in self._states:
                gauge.labels(self._model).set(0)
            self._bind(champion["name"])
        self._identities = champion, *others
        for identity in self._identities:
            self._of(identity).set(1)

    def runtimes(self, *live: LiveRuntime) -> None:
        """Set what the live models run on."""
        for model, value in [(gone, 0) for gone in self._runtimes] + [(here, 1) for here in live]:
            identity, reason = model.identity, model.reason[:_LONGEST_REASON] or "none"
            labels = identity["name"], identity["version"], identity["role"], model.runtime, reason
            self._runtime.labels(*labels).set(value)
        self._runtimes = live

    def _of(self, identity: dict[str, str]) -> "Gauge":
        return self._live.labels(identity["name"], identity["version"], identity["role"])

    def switched(self, outcome: Literal["done", "failed"]) -> None:
        """Count a change of the live models, and set whether it failed."""
        self._switches.labels(self._model, outcome).inc()
        self.switch_failing(outcome == "failed")

    def switch_failing(self, failing: bool) -> None:
        """Set whether a desired model is not live."""
        self._set(self._switch_failing, failing)

    async def scrape(self) -> bytes:
        """Run `exposition` in a thread. Concurrent requests share its result, so that no client can start many."""
        if self._scraping is None or self._scraping.done():
            self._scraping = asyncio.ensure_future(in_own_thread(self.exposition))
        return await asyncio.shield(self._scraping)

    def exposition(self) -> bytes:
        """All workers' metrics in Prometheus' text format."""
        from prometheus_client import generate_latest

        return generate_latest(self._registry if self.folder is None else registry_of_workers(self.folder))
