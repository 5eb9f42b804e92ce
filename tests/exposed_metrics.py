"""Every metric that the service and the jobs expose, found by making them as they do."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from contract import FeatureState
from jobs.drift import page as drift_report
from jobs.materialization import run_records
from jobs.quality import report as quality_report
from jobs.skew import report as skew_report
from jobs.skew.audit_result import AuditResult
from jobs.skew.findings import CLASSES
from jobs.stream.metrics import StreamMetrics
from service.api.routing import ROUTES
from service.errors import ServiceError
from service.telemetry.metrics import ChallengerOutcome, LogOutcome, ServiceMetrics, Stage
from service.telemetry.quota_metrics import QuotaKind, QuotaOutcome

NOW = datetime(2026, 3, 1, tzinfo=UTC)
OF_TARGETS = ("job", "instance")
"""Labels that Prometheus adds to whatever it scrapes."""


def error_codes(error: type[ServiceError] = ServiceError) -> set[str]:
    """Of all errors that a client of the churn use case may be told."""
    of_kinds = {code for kind in error.__subclasses__() for code in {kind.code} | error_codes(kind)}
    return {code.replace("<entity>", "customer") for code in of_kinds}


_STATUSES: set[str] = {"ok", "degraded", "refused", "unknown_customer"}
_CALLS = {route.name for route in ROUTES.values()} | {"page", "unknown"}
_VALUES: dict[str, dict[str, set[str]]] = {
    "model_service_requests_total": {
        "call": _CALLS,
        "outcome": {"ok", "cancelled", "internal"} | error_codes(),
    },
    "model_service_request_seconds": {"call": _CALLS},
    "model_service_stage_seconds": {"stage": set(get_args(Stage))},
    "model_service_predictions_total": {"status": _STATUSES},
    "model_service_feature_issues_total": {"state": {state.name.lower() for state in FeatureState} - {"fresh"}},
    "model_service_model_live": {"role": {"champion", "challenger"}},
    "model_service_model_runtime_info": {"role": {"champion", "challenger"}, "runtime": {"onnx", "scikit-learn"}},
    "model_service_model_switches_total": {"outcome": {"done", "failed"}},
    "model_service_challenger_rows_total": {"outcome": set(get_args(ChallengerOutcome))},
    "model_service_log_rows_total": {"outcome": set(get_args(LogOutcome))},
    "model_service_quota_total": {"kind": set(get_args(QuotaKind)), "outcome": set(get_args(QuotaOutcome))},
    "model_service_quota_limit": {"kind": set(get_args(QuotaKind))},
    "model_jobs_skew_differences": {"class": set(CLASSES)},
    "model_jobs_stream_events_total": {"outcome": {"new", "late", "repeated", "refused"}},
    "model_jobs_stream_predictions_total": {"status": _STATUSES},
}
"""Metric → label → every value that it can have, where these are known beforehand."""


@dataclass(frozen=True)
class Exposed:
    """A metric.

    values: see `_VALUES`; the bounds of a histogram among them, as `le`.
    """

    kind: str
    labels: list[str]
    values: dict[str, set[str]] = field(default_factory=dict)


def of_service() -> dict[str, Exposed]:
    """By the names that Prometheus sees."""
    metrics = ServiceMetrics("small_churn", CollectorRegistry())
    made = [*vars(metrics).values(), *vars(metrics.quotas).values()]
    return dict(_exposed(metric) for metric in made if isinstance(metric, MetricWrapperBase))


def of_jobs(folder: Path) -> dict[str, Exposed]:
    """By the names that Prometheus sees.

    Args:
        folder: to write in.
    """
    snapshot = NOW.isoformat()
    run_records.RunRecord(NOW, NOW, outcome="done", newest_snapshot=snapshot).append_to(folder / "runs.jsonl")
    judged = {"verdicts": [], "models": {}, "quality": [], "judged_at": NOW.isoformat()}
    registries = [
        run_records.metrics_of(folder / "runs.jsonl"),
        skew_report.metrics_of(AuditResult(), NOW),
        drift_report.metrics_of([]),
        quality_report.metrics_of(judged),
        StreamMetrics("m", None).registry,
    ]
    made = (metric for registry in registries for metric in registry._collector_to_names)
    return dict(_exposed(metric) for metric in made if isinstance(metric, MetricWrapperBase))


def _exposed(metric: MetricWrapperBase) -> tuple[str, Exposed]:
    kind = str(metric._type)
    name = metric._name + ("_total" if kind == "counter" else "")
    values = dict(_VALUES.get(name, {}))
    if kind == "histogram":
        values["le"] = {str(float(bound)) for bound in metric._kwargs["buckets"]}
    return name, Exposed(kind, list(metric._labelnames), values)


def objection(known: dict[str, Exposed], metric: str, label: str = "", values: Sequence[str] = ()) -> str:
    """Why a query cannot mean what it says; empty if it can.

    Args:
        values: of the label; plain, or regular expressions.
    """
    base = metric if metric in known else re.sub(r"_(bucket|sum|count)$", "", metric)
    found = known.get(base)
    if found is None or (base != metric and found.kind != "histogram"):
        return f"nothing exposes {metric}"
    if label and label not in {*found.labels, *OF_TARGETS, *(["le"] if metric.endswith("_bucket") else [])}:
        return f"{metric} has no label {label}"
    possible = found.values.get(label)
    never = [value for value in values if possible and not any(re.fullmatch(value, one) for one in possible)]
    return f"{label} of {metric} is never {' or '.join(never)}" if never else ""
