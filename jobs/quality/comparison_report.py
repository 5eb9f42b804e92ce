"""The report of a comparison of live models: tables for the terminal, JSON, and a page with charts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from artefacts.process.tables import table_lines
from contract.tasks import TaskKind
from jobs.quality.figures import REPORTED, interval_text
from jobs.quality.unpaired_rows import SILENCE
from jobs.reports.charts import Axis, Estimates, Interval, Series, columns, intervals
from jobs.reports.files import write_report
from jobs.reports.pages import render
from jobs.reports.shapes import Chart
from scoring.evaluation import Estimate, Metric, metrics_of

_ANSWERS: Mapping[TaskKind, str] = {
    "binary": "decisions",
    "multiclass": "classes",
    "regression": "values (within a tenth of their spread)",
}


@dataclass(frozen=True)
class PairCurves:
    """What the charts of one champion and one challenger show, beside the figures of `PairReport`.

    agreement_by_day: (day, share of equal decisions), of days with rows that both scored.
    difference_edges: ascending; the challenger's score less the champion's, or the distance of two rows of
        probabilities.
    difference_counts: rows between these edges, one fewer than edges.
    """

    agreement_by_day: Sequence[tuple[str, Estimate]]
    difference_edges: Sequence[float]
    difference_counts: Sequence[int]


def pair_rows(pair: Mapping[str, Any], kind: TaskKind) -> list[tuple[str, str]]:
    """A pair's figures as a table of text."""
    score = REPORTED[kind].score
    agreement, spec = pair["agreement"], ".4g" if kind == "regression" else ".4f"
    lines = [
        ("champion", pair["champion"]),
        ("challenger", pair["challenger"]),
        ("rows of both", f"{pair['rows']:,} from {pair['since']} to {pair['until']}"),
        ("scored by both", f"{pair['scored']:,}"),
        ("scored by one", f"{pair['champion_only']:,} by the champion, {pair['challenger_only']:,} by the challenger"),
        ("missed by the challenger", f"{pair['unpaired']:,} rows of its entities in the same time"),
        ("while it scored none", f"{pair['silent']:,} rows, for {SILENCE} or more: it was off, or failed for all"),
        ("of others than its entities", f"{pair['others']:,} rows in the same time"),
        ("answered by", f"champion {pair['by_champion']:.1%}, challenger {pair['by_challenger']:.1%}"),
        (f"equal {_ANSWERS[kind]}", _share(agreement) if agreement else "–"),
        (f"difference of {score}", f"mean {pair['mean_difference']:{spec}}, largest {pair['max_difference']:{spec}}"),
        ("rank correlation", f"{pair['rank_correlation']:.4f}"),
    ]
    for judged in pair["judged"]:
        who = f"on {judged['rows']:,} labelled rows of {judged['entities']:,} entities"
        if judged["reason"]:
            lines.append((f"labelled, {judged['population']}", f"no figures {who}, {judged['reason']}"))
        for name, paired in judged["metrics"].items():
            metric = metrics_of(kind).metric(name)
            lines.append((f"{name}, {judged['population']}", f"{_paired(paired, metric)} {who}"))
    return lines


def _share(estimate: Mapping[str, float]) -> str:
    return f"{estimate['value']:.2%} [{estimate['low']:.2%}, {estimate['high']:.2%}]"


def _paired(paired: Mapping[str, Any], metric: Metric) -> str:
    spec = ".4g" if metric.in_target_unit else ".4f"
    figures = f"{paired['champion']:{spec}} → {paired['candidate']:{spec}}"
    return f"{figures}, difference {interval_text(paired['difference'], spec, '+')}"


def comparison_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """What was found, for people at a terminal."""
    yield f"{report['outcome']}: {report['counted']}"
    yield from (f"note: {note}" for note in report["notes"])
    for pair in report["pairs"]:
        yield ""
        yield from table_lines(pair_rows(pair, report["task"]))


def write(folder: Path, report: Mapping[str, Any], shown: Sequence[PairCurves]) -> None:
    """Write `compare_live.json` and `compare_live.html`.

    Args:
        shown: one for each pair of the report.

    Raises:
        JobError: the folder cannot be written to.
    """
    pairs = [
        {
            "title": f"{pair['champion']} and {pair['challenger']}",
            "rows": pair_rows(pair, report["task"]),
            "charts": list(_charts(pair, of_pair, report["task"])),
        }
        for pair, of_pair in zip(report["pairs"], shown, strict=True)
    ]
    html = render("compare_live.html", {"report": report, "pairs": pairs})
    write_report(folder, "compare_live", report, {"compare_live.html": html})


def _charts(pair: Mapping[str, Any], shown: PairCurves, kind: TaskKind) -> Iterator[Chart]:
    if not shown.agreement_by_day:
        return
    models = f"{pair['champion']} and {pair['challenger']}"
    days, agreement = zip(*shown.agreement_by_day, strict=True)
    yield intervals(
        f"Equal {_ANSWERS[kind]} of {models} by day",
        days,
        [Estimates(f"equal {_ANSWERS[kind]}", [Interval(of.value, of.low, of.high) for of in agreement])],
        "day of the request, UTC",
        Axis("share of rows, %", percent=True),
    )
    edges, rows = shown.difference_edges, sum(shown.difference_counts)
    yield columns(
        _difference_title(pair, kind),
        [f"{low:+.3g} … {high:+.3g}" for low, high in pairwise(edges)],
        [Series("rows of both", [count / rows for count in shown.difference_counts])],
        f"difference of {REPORTED[kind].score}",
        Axis("share of rows, %", percent=True),
    )


def _difference_title(pair: Mapping[str, Any], kind: TaskKind) -> str:
    champion, challenger = pair["champion"], pair["challenger"]
    if kind == "multiclass":
        return f"Distance of the probabilities of {challenger} from those of {champion}"
    return f"{REPORTED[kind].score.capitalize()} of {challenger} less that of {champion}"
