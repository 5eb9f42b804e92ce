"""The report of an audit: JSON, a page with charts, and metrics."""

from collections import Counter
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Gauge

from jobs.reports.charts import Axis, Series, columns, stacked_rows
from jobs.reports.files import write_report
from jobs.reports.pages import render
from jobs.reports.shapes import Chart
from jobs.skew.audit_result import EXAMPLES, AuditResult
from jobs.skew.findings import CLASSES, FAULTS

_SHARE = Axis("share of compared values, %", percent=True)


def write(folder: Path, result: AuditResult, report: Mapping[str, Any], now: datetime) -> None:
    """Write `skew.json`, `skew.html` and `skew.prom`.

    Raises:
        JobError: the folder cannot be written to.
    """
    write_report(folder, "skew", report, {"skew.html": skew_page(result, report)}, metrics_of(result, now))


def metrics_of(result: AuditResult, now: datetime) -> CollectorRegistry:
    """Metrics of the audit, which name no entity and hold no value of one.

    An audit counts all rows of a log together. If they are of several registered models, the label has all names.
    """
    registry = CollectorRegistry()
    model = ",".join(sorted(result.registered))

    def gauge(name: str, meaning: str, value: float) -> None:
        Gauge(f"model_jobs_skew_{name}", meaning, ["model"], registry=registry).labels(model).set(value)

    gauge("audited_rows", "Logged rows that the last audit compared with the offline store", result.rows)
    by_class = Gauge(
        "model_jobs_skew_differences", "Values of the last audit by class", ["model", "class"], registry=registry
    )
    for kind, count in result.by_class.items():
        by_class.labels(model, kind).set(count)
    gauge("unexplained", "Differences of the last audit without an explanation", result.unexplained)
    gauge("moved_decisions", "Answers that the offline vector would have changed", result.moved_answers)
    gauge("problems", "Files and models of the log that the last audit could not use", len(result.problems))
    gauge("last_audit_timestamp_seconds", "When the last audit ended", now.timestamp())
    return registry


def skew_page(result: AuditResult, report: Mapping[str, Any]) -> str:
    """The report as HTML.

    Args:
        report: see `summary`.
    """
    shown = [kind for kind in CLASSES if report["classes"][kind]]
    return render(
        "skew.html",
        {
            "report": report,
            "kinds": shown,
            "faults": FAULTS,
            "most_examples": EXAMPLES,
            "example_columns": list(dict.fromkeys(name for example in result.examples for name in example)),
            "charts": _charts(result),
        },
    )


def _charts(result: AuditResult) -> list[Chart]:
    """Shares of the compared values that differ: by class, by feature, by day. No charts if nothing differs."""
    kinds = [kind for kind, count in result.by_class.items() if count and kind != "override"]
    if not kinds:
        return []
    counts = Counter[tuple[str, str]]()
    for (feature, finding), count in result.findings.items():
        counts[feature, finding.kind] += count

    def share(feature: str, kind: str) -> float:
        return counts[feature, kind] / result.comparisons[feature]

    features = {feature for feature, kind in counts if kind in kinds}
    features_by_share = sorted(features, key=lambda feature: (-sum(share(feature, kind) for kind in kinds), feature))
    compared = result.comparisons.total()
    days = _days(result)
    return [
        stacked_rows(
            "Differing values by class",
            kinds,
            [Series("differing", [result.by_class[kind] / compared for kind in kinds])],
            _SHARE,
        ),
        stacked_rows(
            "Differing values by feature and class",
            features_by_share,
            [Series(kind, [share(feature, kind) for feature in features_by_share]) for kind in kinds],
            Axis("share of the feature's compared values, %", percent=True),
        ),
        columns(
            "Differing values by day and class",
            days,
            [Series(kind, [_share_of_day(result, day, kind) for day in days]) for kind in kinds],
            "day of the decision, UTC",
            _SHARE,
            stacked=True,
        ),
    ]


def _share_of_day(result: AuditResult, day: str, kind: str) -> float | None:
    compared = result.daily_comparisons[day]
    return result.daily_findings[day, kind] / compared if compared else None


def _days(result: AuditResult) -> list[str]:
    """All days from the first to the last with a decision, so that days without one leave a gap."""
    first, last = (date.fromisoformat(end(result.daily_comparisons)) for end in (min, max))
    return [(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]
