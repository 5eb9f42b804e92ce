"""What an audit is asked for, and what it reports, without a log."""

from collections import Counter
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import JobError
from jobs.skew.audit import Audit
from jobs.skew.audit_result import EXAMPLES, WHOLE_ROW, AuditResult, summary
from jobs.skew.findings import CLASSES, Finding
from jobs.skew.report import skew_page, write

NOW = datetime(2026, 1, 31, tzinfo=UTC)
RUN = {
    **dict.fromkeys(("since", "until", "sample")),
    **{"audited_at": NOW, "outcome": "ok", "log": "log", "files": 2, "empty": [], "seconds": 1.5},
    **{"max_unexplained": 0, "max_faults": 0, "max_moved": 0.01},
}


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"sample": 0}, "--sample 0"),
        ({"max_unexplained": -1}, "--max-unexplained -1"),
        ({"max_faults": -1}, "--max-faults -1"),
        ({"max_moved": 1.5}, r"--max-moved 1\.5"),
        ({"max_moved": float("nan")}, "--max-moved nan"),
        ({"since": NOW, "until": NOW}, "is not before --until"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(how: dict[str, Any], why: str) -> None:
    with pytest.raises(JobError, match=why):
        Audit(Path("never"), **how)


def test_counts_add_up_over_features_findings_and_classes() -> None:
    found = AuditResult(rows=10, values=40, compared_rows=8, scored_twice=5, moved_answers=2, change_sum=0.5)
    found.findings.update({("a", Finding.LAG): 3, ("b", Finding.LAG_OF_VERSION): 2, ("a", Finding.OVERRIDE): 4})
    found.findings["b", Finding.UNKNOWN] = 1
    found.not_reproduced = 2

    report = summary(found, RUN)

    assert (6, 3, 5) == (report["differences"], report["unexplained"], report["classes"]["materialization_lag"])
    assert {
        "a": {"materialization_lag": 3, "override": 4},
        "b": {"materialization_lag": 2, "unexplained": 1},
    } == report["features"]
    assert (0.25, 0.1) == (report["moved"]["share"], report["moved"]["score_mean"])
    assert Counter(CLASSES) == Counter(report["classes"].keys())


def test_the_page_draws_shares_by_class_feature_and_day() -> None:
    result = AuditResult(rows=10, values=40)
    result.findings.update({("a", Finding.LAG): 4, ("b", Finding.LAG): 1, ("a", Finding.OVERRIDE): 4})
    result.findings[WHOLE_ROW, Finding.LATE] = 1
    result.comparisons.update({"a": 20, "b": 20, WHOLE_ROW: 10})
    result.daily_comparisons.update({"2026-01-29": 40, "2026-01-31": 10})
    result.daily_findings.update({("2026-01-29", "materialization_lag"): 5, ("2026-01-31", "late_event"): 1})

    page = unescape(skew_page(result, summary(result, RUN)))

    assert "differing: late_event 2%, materialization_lag 10%." in page
    assert "late_event: a 0%, (the whole row) 10%, b 0%; materialization_lag: a 20%, (the whole row) 0%, b 5%." in page
    assert "late_event: 2026-01-29 0%, 2026-01-31 10%; materialization_lag: 2026-01-29 12.5%, 2026-01-31 0%." in page
    assert "2026-01-30</text>" in page
    assert "override:" not in page


def test_an_audit_without_a_difference_draws_nothing() -> None:
    assert "<svg" not in skew_page(AuditResult(rows=1), summary(AuditResult(rows=1), RUN))


def test_examples_are_few_of_a_kind_and_few_in_all() -> None:
    found = AuditResult()
    for finding in [kind for kind in Finding for _ in range(5)]:
        if found.wants_example(finding):
            found.examples.append({"evidence": finding.proof})

    assert EXAMPLES == len(found.examples)
    assert 3 == max(Counter(example["evidence"] for example in found.examples).values())


def test_what_customers_are_called_cannot_change_the_page(tmp_path: Path) -> None:
    example = {"customer_id": "<script>alert(1)</script>", "evidence": "e", "class": "c", "served": 1.5, "as_of": NOW}
    found = AuditResult(rows=1, examples=[example], problems=["<b>damaged</b>"])

    write(tmp_path / "new" / "out", found, summary(found, RUN), NOW)

    page = (tmp_path / "new" / "out" / "skew.html").read_text()
    assert "&lt;script&gt;alert(1)" in page
    assert "<script" not in page
    assert "<b>" not in page
    assert ["skew.html", "skew.json", "skew.prom"] == sorted(file.name for file in (tmp_path / "new" / "out").iterdir())


def test_a_report_that_cannot_be_written_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = AuditResult(rows=1)

    with pytest.raises(JobError, match="file/out: the report cannot be written: Not a directory"):
        write(tmp_path / "file" / "out", found, summary(found, RUN), NOW)
