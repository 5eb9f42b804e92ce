"""The report of live quality: a table for the terminal, JSON, a page with charts, and metrics."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Gauge

from artefacts.process.tables import table_lines
from contract.tasks import TaskKind
from jobs.quality.calibration import Calibration, calibration_charts, confusion_tables
from jobs.quality.figures import REPORTED, chart_of, interval_text
from jobs.reports.charts import Estimates, Interval, intervals
from jobs.reports.files import write_report
from jobs.reports.pages import render
from jobs.reports.shapes import Chart
from scoring.evaluation import TASKS, Metric

ALL_WEEKS = "all"
"""Stands for a week: figures over all rows of a model."""


def loss_line(verdict: Mapping[str, Any], kind: TaskKind) -> str:
    """Says in one line by how much a model is worse than training promised."""
    metric = TASKS[kind].metric(verdict["metric"])
    loss = verdict["max_loss"]
    allowed = f"{round(100 * loss, 3):g}%" if metric.in_target_unit else f"{loss:.3g}"
    return (
        f"{verdict['model']}, {verdict['week']}: {metric.title} of {verdict['population']} rows {verdict['figure']} "
        f"is more than {allowed} {'below' if metric.higher_is_better else 'above'} training's "
        f"{verdict['training']:{metric.format}}"
    )


def shown_metrics(report: Mapping[str, Any]) -> dict[str, Metric]:
    """The columns of the table: the task's figures, and headlines of contracts that are none of them."""
    table, live = TASKS[report["task"]], REPORTED[report["task"]].live
    headlines = (headline["metric"] for headline in report["headlines"].values())
    return {name: table.metric(name) for name in dict.fromkeys((*live, *headlines))}


def quality_rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The figures as a table of text; the first row has the heads. Each model begins with the figures of training."""
    metrics, headlines = shown_metrics(report), report["headlines"]
    judged_by = {metrics[headline["metric"]].title for headline in headlines.values()}
    gap = judged_by.pop() if len(judged_by) == 1 else "headline"
    lines: list[tuple[str, ...]] = [("model", "week", "population", "rows", *metrics, f"{gap} less training's")]
    for model in dict.fromkeys(quality["model"] for quality in report["quality"]):
        own = [quality for quality in report["quality"] if quality["model"] == model]
        promised = report["training"].get(model, {})
        for population in dict.fromkeys(quality["population"] for quality in own):
            figures = [_number(promised.get(f"{population}_{name}"), metric) for name, metric in metrics.items()]
            lines.append((model, "training", population, "", *figures, ""))
        lines += [_cells(quality, metrics, headlines[model]["metric"]) for quality in own]
    return lines


def _number(value: float | None, metric: Metric) -> str:
    return "–" if value is None else f"{value:{metric.format}}"


def _cells(quality: Mapping[str, Any], metrics: Mapping[str, Metric], headline: str) -> tuple[str, ...]:
    start = quality["model"], quality["week"], quality["population"], f"{quality['rows']:,}"
    if quality["reason"]:
        return (*start, *["–"] * len(metrics), quality["reason"])
    figures, gap = quality["figures"], quality["gaps"].get(headline)
    return (
        *start,
        *(interval_text(figures[name], of.format) if name in figures else "–" for name, of in metrics.items()),
        interval_text(gap, metrics[headline].format, "+") if gap else "–",
    )


def quality_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Lines for a terminal."""
    yield f"{report['outcome']}: {report['counted']}"
    yield from table_lines(quality_rows(report))


def write(folder: Path, report: Mapping[str, Any], calibrations: Sequence[Calibration]) -> None:
    """Write `live_quality.json`, `live_quality.html` and `live_quality.prom`.

    Raises:
        JobError: the folder cannot be written to.
    """
    heads, *rows = quality_rows(report)
    kind: TaskKind = report["task"]
    lost = [loss_line(verdict, kind) for verdict in report["verdicts"] if verdict["lost"]]
    shown = {
        "charts": [*_charts_by_week(report), *calibration_charts(calibrations, REPORTED[kind])],
        "confusions": list(confusion_tables(calibrations)),
    }
    html = render("live_quality.html", {"report": report, "heads": heads, "rows": rows, "lost": lost, **shown})
    write_report(folder, "live_quality", report, {"live_quality.html": html}, metrics_of(report))


def _charts_by_week(report: Mapping[str, Any]) -> Iterator[Chart]:
    """A chart of each charted figure and each population, with a series for each model."""
    kind: TaskKind = report["task"]
    judged = [quality for quality in report["quality"] if quality["figures"] and quality["week"] != ALL_WEEKS]
    weeks = sorted({quality["week"] for quality in judged})
    for figure in REPORTED[kind].charted:
        name, axis = chart_of(kind, TASKS[kind].metric(figure))
        for population in dict.fromkeys(quality["population"] for quality in judged):
            of_population = [quality for quality in judged if quality["population"] == population]
            series = [
                Estimates(
                    model,
                    [_interval_of(of_population, model, week, figure) for week in weeks],
                    report["training"].get(model, {}).get(f"{population}_{figure}"),
                )
                for model in dict.fromkeys(quality["model"] for quality in of_population)
            ]
            title = f"{name} by week, {population} rows; the dashed line is training's"
            yield intervals(title, weeks, series, "ISO week of the request", axis)


def _interval_of(judged: Sequence[Mapping[str, Any]], model: str, week: str, figure: str) -> Interval | None:
    found = [quality["figures"] for quality in judged if (quality["model"], quality["week"]) == (model, week)]
    return Interval(**found[0][figure]) if found else None


def metrics_of(report: Mapping[str, Any]) -> CollectorRegistry:
    """Metrics of the newest week that could be judged."""
    registry = CollectorRegistry()

    def gauge(name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(f"model_jobs_live_quality{name}", meaning, ["model", *labels], registry=registry)

    of_metric = "version", "population", "metric"
    live = gauge("", "A metric in the newest week that has figures, with its interval", *of_metric, "bound")
    training = gauge("_training", "The metric as training measured it", *of_metric)
    lost = gauge("_lost", "1 if it surely lies further from training's than is allowed", *of_metric)
    for verdict in report["verdicts"]:
        week, population = verdict["week"], verdict["population"]
        (judged,) = (
            quality
            for quality in report["quality"]
            if (quality["model"], quality["week"], quality["population"]) == (verdict["model"], week, population)
        )
        labels = *report["models"][verdict["model"]].values(), population, verdict["metric"]
        for bound, value in judged["figures"][verdict["metric"]].items():
            live.labels(*labels, bound).set(value)
        training.labels(*labels).set(verdict["training"])
        lost.labels(*labels).set(verdict["lost"])
    reported = gauge("_last_report_timestamp_seconds", "When the last report was made")
    for name in {model["name"] for model in report["models"].values()} or {""}:  # no contract could be read
        reported.labels(name).set(datetime.fromisoformat(report["judged_at"]).timestamp())
    return registry
