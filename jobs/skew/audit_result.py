"""The counts of an audit over all rows, and the document that `skew.json` holds."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jobs.skew.findings import CLASSES, FAULTS, FINDINGS, Finding

EXAMPLES = 20
_EXAMPLES_PER_FINDING = 3
WHOLE_ROW = "(the whole row)"
"""Stands where a feature's name would: the finding is about a key that was unknown online."""


@dataclass
class AuditResult:
    """Counts over all audited rows, and examples.

    models: number of rows by model tag; `registered` has the registered models' names.
    values: number of compared values, one for each input of a key that was known online.
    findings: number of values by feature and finding.
    comparisons: number of values that were compared by feature. Under `WHOLE_ROW`, keys that were unknown online.
    daily_findings: number of values by day of the decision (`2026-01-31`, UTC) and class.
    daily_comparisons: sum of `comparisons` by day.
    defaulted_alike: values that were the default online and are the default offline, so they agree.
    differing_rows: rows with at least one value that differs.
    unreplayable_rows: rows with a value whose snapshot the offline store has dropped; they are not scored again.
    compared_rows: rows whose answer was compared with the one from the offline vector.
    moved_answers: how many of those answers the offline vector would have changed: the decision, the class, or a value
        beyond the tolerance.
    scored_twice: rows that were scored from both vectors.
    change_sum, change_max: sum and maximum over these rows of the absolute change of the probability or value; of
        several classes the largest.
    not_reproduced: rows for whose logged inputs the model computes other scores than the logged ones.
    problems: one line for each reason why rows could not be audited.
    """

    rows: int = 0
    values: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    registered: set[str] = field(default_factory=set)
    findings: Counter[tuple[str, Finding]] = field(default_factory=Counter)
    comparisons: Counter[str] = field(default_factory=Counter)
    daily_findings: Counter[tuple[str, str]] = field(default_factory=Counter)
    daily_comparisons: Counter[str] = field(default_factory=Counter)
    defaulted_alike: int = 0
    differing_rows: int = 0
    unreplayable_rows: int = 0
    compared_rows: int = 0
    scored_twice: int = 0
    moved_answers: int = 0
    change_sum: float = 0.0
    change_max: float = 0.0
    largest_lag_seconds: float = 0.0
    not_reproduced: int = 0
    examples: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def by_class(self) -> dict[str, int]:
        """Number of values of each class, with 0 for classes that were not found."""
        counts = dict.fromkeys(CLASSES, 0)
        for (_, finding), count in self.findings.items():
            counts[finding.kind] += count
        return counts

    @property
    def differences(self) -> int:
        """Number of values that differ. Values that the request gave do not count."""
        return sum(self.by_class.values()) - self.by_class["override"]

    @property
    def unexplained(self) -> int:
        """Values that differ without an explanation, and scores that the model does not reproduce."""
        return self.by_class["unexplained"] + self.not_reproduced

    @property
    def faults(self) -> int:
        """Number of values in classes that name a fault."""
        return sum(self.by_class[kind] for kind in FAULTS)

    @property
    def moved_share(self) -> float:
        """Share of the compared answers that the offline vector would have changed."""
        return self.moved_answers / self.compared_rows if self.compared_rows else 0.0

    def wants_example(self, finding: Finding) -> bool:
        """True while there is room for one more example of this finding."""
        alike = sum(example["evidence"] == finding.proof for example in self.examples)
        return len(self.examples) < EXAMPLES and alike < _EXAMPLES_PER_FINDING


def summary(result: AuditResult, run: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `skew.json` holds.

    Args:
        run: the settings of the audit, what it read, and its outcome.
    """
    by_finding = Counter[Finding]()
    by_feature: dict[str, Counter[str]] = {}
    for (feature, finding), count in sorted(result.findings.items(), key=lambda item: -item[1]):
        by_finding[finding] += count
        by_feature.setdefault(feature, Counter())[finding.kind] += count
    compared = max(result.scored_twice, 1)
    return {
        **run,
        "rows": result.rows,
        "values": result.values,
        "statuses": dict(result.statuses),
        "models": dict(result.models),
        "differences": result.differences,
        "unexplained": result.unexplained,
        "faults": result.faults,
        "defaulted_alike": result.defaulted_alike,
        "rows_with_differences": result.differing_rows,
        "classes": result.by_class,
        "evidence": [
            {"class": finding.kind, "evidence": finding.proof, "values": by_finding[finding]}
            for finding in FINDINGS
            if by_finding[finding]
        ],
        "features": {feature: dict(counts) for feature, counts in by_feature.items()},
        "largest_lag_seconds": result.largest_lag_seconds,
        "not_reproduced": result.not_reproduced,
        "moved": {
            "rows": result.compared_rows,
            "answers": result.moved_answers,
            "share": result.moved_share,
            "score_max": result.change_max,
            "score_mean": result.change_sum / compared,
            "rows_not_replayable": result.unreplayable_rows,
        },
        "notes": result.notes,
        "problems": result.problems,
        "examples": result.examples,
    }
