"""What an audit found, counted, and written as JSON, as a page for people and as metrics."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Gauge

from jobs.reports import listed, page, paragraph, put_report, table
from jobs.skew.findings import CLASSES, FAULTS, FINDINGS, Finding

EXAMPLES = 20
_EXAMPLES_PER_FINDING = 3
WHOLE_ROW = "(the whole row)"
"""In place of a feature: a customer who was not known online, or a probability."""


@dataclass
class AuditResult:
    """Counts over all audited rows, and examples.

    values: compared, one for each input of a customer who was known online.
    findings: values by feature and finding.
    defaulted_alike: values for which the default stood in online and stands in offline: they agree.
    differing_rows: with at least one value that differs.
    unreplayable_rows: with a value whose snapshot the offline store no longer has; they are not scored anew.
    compared_rows: whose decision is held against the offline vector's.
    moved_decisions: of those, how many would have been another.
    probability_sum, probability_max: of the absolute change, over the rows that have both probabilities.
    not_reproduced: rows to whose logged inputs the model gives another probability than was logged.
    problems: why rows could not be audited, one line each.
    """

    rows: int = 0
    values: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    findings: Counter[tuple[str, Finding]] = field(default_factory=Counter)
    defaulted_alike: int = 0
    differing_rows: int = 0
    unreplayable_rows: int = 0
    compared_rows: int = 0
    scored_twice: int = 0
    moved_decisions: int = 0
    probability_sum: float = 0.0
    probability_max: float = 0.0
    largest_lag_seconds: float = 0.0
    not_reproduced: int = 0
    examples: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def by_class(self) -> dict[str, int]:
        """Values of each class, all classes named."""
        found = dict.fromkeys(CLASSES, 0)
        for (_, finding), count in self.findings.items():
            found[finding.kind] += count
        return found

    @property
    def differences(self) -> int:
        """Values that differ; one that the request gave is none of them."""
        return sum(self.by_class.values()) - self.by_class["override"]

    @property
    def unexplained(self) -> int:
        """Values that differ without evidence why, and probabilities that the model does not give."""
        return self.by_class["unexplained"] + self.not_reproduced

    @property
    def faults(self) -> int:
        """Values of a class that names a fault."""
        return sum(self.by_class[kind] for kind in FAULTS)

    @property
    def moved_share(self) -> float:
        """Share of the compared decisions that would have been another."""
        return self.moved_decisions / self.compared_rows if self.compared_rows else 0.0

    def wants_example(self, finding: Finding) -> bool:
        """True while there is room for one more of its kind."""
        of_it = sum(example["evidence"] == finding.evidence for example in self.examples)
        return len(self.examples) < EXAMPLES and of_it < _EXAMPLES_PER_FINDING


def summary(found: AuditResult, run: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that is reported, for JSON.

    Args:
        run: what was asked for and read, and the outcome.
    """
    by_finding = Counter[Finding]()
    by_feature: dict[str, Counter[str]] = {}
    for (feature, finding), count in sorted(found.findings.items(), key=lambda item: -item[1]):
        by_finding[finding] += count
        by_feature.setdefault(feature, Counter())[finding.kind] += count
    compared = max(found.scored_twice, 1)
    return {
        **run,
        "rows": found.rows,
        "values": found.values,
        "statuses": dict(found.statuses),
        "models": dict(found.models),
        "differences": found.differences,
        "unexplained": found.unexplained,
        "faults": found.faults,
        "defaulted_alike": found.defaulted_alike,
        "rows_with_differences": found.differing_rows,
        "classes": found.by_class,
        "evidence": [
            {"class": finding.kind, "evidence": finding.evidence, "values": by_finding[finding]}
            for finding in FINDINGS
            if by_finding[finding]
        ],
        "features": {feature: dict(counts) for feature, counts in by_feature.items()},
        "largest_lag_seconds": found.largest_lag_seconds,
        "not_reproduced": found.not_reproduced,
        "moved": {
            "rows": found.compared_rows,
            "decisions": found.moved_decisions,
            "share": found.moved_share,
            "probability_max": found.probability_max,
            "probability_mean": found.probability_sum / compared,
            "rows_not_replayable": found.unreplayable_rows,
        },
        "notes": found.notes,
        "problems": found.problems,
        "examples": found.examples,
    }


def write(folder: Path, found: AuditResult, report: Mapping[str, Any], now: datetime) -> None:
    """Write `skew.json`, `skew.html` and `skew.prom`, each in one step.

    Raises:
        JobError: the folder cannot be written to.
    """
    put_report(folder, "skew", report, {"skew.html": skew_page(report)}, metrics_of(found, now))


def metrics_of(found: AuditResult, now: datetime) -> CollectorRegistry:
    """What Prometheus is told; no customer and no value of one is in it."""
    registry = CollectorRegistry()

    def gauge(name: str, meaning: str, value: float) -> None:
        Gauge(f"churn_skew_{name}", meaning, registry=registry).set(value)

    gauge("audited_rows", "Logged rows that the last audit compared with the offline store", found.rows)
    by_class = Gauge("churn_skew_differences", "Values of the last audit by class", ["class"], registry=registry)
    for kind, count in found.by_class.items():
        by_class.labels(kind).set(count)
    gauge("unexplained", "Differences of the last audit without an explanation", found.unexplained)
    gauge("moved_decisions", "Decisions that the offline vector would have changed", found.moved_decisions)
    gauge("problems", "Files and models of the log that the last audit could not use", len(found.problems))
    gauge("last_audit_timestamp_seconds", "When the last audit ended", now.timestamp())
    return registry


def skew_page(report: Mapping[str, Any]) -> str:
    """The report as HTML, in one file that loads nothing."""
    moved = report["moved"]
    run = {
        "audited at": report["audited_at"],
        "log": report["log"],
        "from": report["since"] or "the beginning",
        "until": report["until"] or "the end",
        "rows": f"{report['rows']:,} in {report['files']:,} files" + (", sampled" if report["sample"] else ""),
        "models": ", ".join(f"{tag} ({rows:,})" for tag, rows in report["models"].items()),
        "statuses": ", ".join(f"{rows:,} {status}" for status, rows in report["statuses"].items()),
        "values compared": f"{report['values']:,}; {report['defaulted_alike']:,} of them the default on both sides",
        "differences": f"{report['differences']:,} in {report['rows_with_differences']:,} rows",
        "unexplained": f"{report['unexplained']:,} (allowed: {report['max_unexplained']:,}), of them "
        f"{report['not_reproduced']:,} probabilities that the model does not give for the logged inputs",
        "faults": f"{report['faults']:,} (allowed: {report['max_faults']:,}): {' and '.join(FAULTS)}",
        "decisions that would move": f"{moved['decisions']:,} of {moved['rows']:,}, {moved['share']:.2%} "
        f"(allowed: {report['max_moved']:.2%})",
        "probability would move": f"by {moved['probability_max']:.3g} at most, "
        f"{moved['probability_mean']:.3g} on average",
        "largest lag": f"{report['largest_lag_seconds']:,.0f} s",
    }
    kinds = [kind for kind in CLASSES if report["classes"][kind]]
    features = [
        [feature, *(f"{counts.get(kind, 0):,}" for kind in kinds)] for feature, counts in report["features"].items()
    ]
    parts = [
        paragraph(
            "What was served, held against the point-in-time join at each decision's own time. The examples show "
            "values of customers: treat this page as you treat the log."
        ),
        listed("Could not be audited", report["problems"]),
        listed("Notes", [*report["notes"], *(f"no rows: {file}" for file in report["empty"])]),
        table("Audit", ["", ""], run.items()),
        table("Totals by class", ["class", "values"], [[k, f"{n:,}"] for k, n in report["classes"].items()]),
        table(
            "Evidence",
            ["class", "evidence", "values"],
            [[e["class"], e["evidence"], f"{e['values']:,}"] for e in report["evidence"]],
        ),
        table("By feature", ["feature", *kinds], features),
        table(f"Examples, at most {EXAMPLES}", _EXAMPLE, [[e.get(c) for c in _EXAMPLE] for e in report["examples"]]),
    ]
    return page("Skew audit", report["outcome"], parts)


_EXAMPLE = [
    *("request_id", "row", "customer_id", "as_of", "model_tag", "feature", "class", "evidence", "served", "offline"),
    *("served_event_time", "offline_event_time", "lag_seconds"),
]
