"""The report of live quality: a table for the terminal, JSON, a page with charts, and metrics."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Gauge

from artefacts.process.tables import table_lines
from jobs.quality.calibration import Calibration
from jobs.quality.figures import FIGURES
from jobs.reports.charts import Axis, Curve, Estimates, Interval, curves, intervals
from jobs.reports.files import write_report
from jobs.reports.pages import render
from jobs.reports.shapes import Chart

ALL_WEEKS = "all"
"""Stands for a week: figures over all rows of a model."""

_CHARTED = {
    "roc_auc": ("ROC AUC", Axis("ROC AUC")),
    "brier": ("Brier score", Axis("Brier score")),
    "calibration_error": ("Calibration error", Axis("mean |observed − predicted|, %", percent=True)),
}

_HEADS = ("model", "week", "customers", "rows", *FIGURES, "ROC AUC less training's")


def loss_line(verdict: Mapping[str, Any]) -> str:
    """Says in one line by how much a model is worse than training promised."""
    return (
        f"{verdict['model']}, {verdict['week']}: ROC AUC of {verdict['population']} customers {verdict['roc_auc']} "
        f"is more than {verdict['max_auc_loss']:g} below training's {verdict['training']:.3f}"
    )


def quality_rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The figures as a table of text; the first row has the heads. Each model begins with the figures of training."""
    lines: list[tuple[str, ...]] = [_HEADS]
    for model in dict.fromkeys(quality["model"] for quality in report["quality"]):
        own = [quality for quality in report["quality"] if quality["model"] == model]
        promised = report["training"].get(model, {})
        for population in dict.fromkeys(quality["population"] for quality in own):
            figures = [promised.get(f"{population}_{name}") for name in FIGURES]
            lines.append((model, "training", population, "", *("–" if v is None else f"{v:.3f}" for v in figures), ""))
        lines += [_cells(quality) for quality in own]
    return lines


def _cells(quality: Mapping[str, Any]) -> tuple[str, ...]:
    start = quality["model"], quality["week"], quality["population"], f"{quality['rows']:,}"
    if quality["reason"]:
        return (*start, *["–"] * len(FIGURES), quality["reason"])
    gap = quality["gaps"].get("roc_auc")
    return (
        *start,
        *(_interval(quality["figures"][name]) for name in FIGURES),
        _interval(gap, "+") if gap else "–",
    )


def _interval(estimate: Mapping[str, float], sign: str = "") -> str:
    return f"{estimate['value']:{sign}.3f} [{estimate['low']:{sign}.3f}, {estimate['high']:{sign}.3f}]"


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
    lost = [loss_line(verdict) for verdict in report["verdicts"] if verdict["lost"]]
    charts = [*_charts_by_week(report), *_calibration_charts(calibrations)]
    html = render("live_quality.html", {"report": report, "heads": heads, "rows": rows, "lost": lost, "charts": charts})
    write_report(folder, "live_quality", report, {"live_quality.html": html}, metrics_of(report))


def _charts_by_week(report: Mapping[str, Any]) -> Iterator[Chart]:
    """A chart of each figure in `_CHARTED` and each population, with a series for each model."""
    judged = [quality for quality in report["quality"] if quality["figures"] and quality["week"] != ALL_WEEKS]
    weeks = sorted({quality["week"] for quality in judged})
    for figure, (name, axis) in _CHARTED.items():
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
            title = f"{name} by week, {population} customers; the dashed line is training's"
            yield intervals(title, weeks, series, "ISO week of the request", axis)


def _interval_of(judged: Sequence[Mapping[str, Any]], model: str, week: str, figure: str) -> Interval | None:
    found = [quality["figures"] for quality in judged if (quality["model"], quality["week"]) == (model, week)]
    return Interval(**found[0][figure]) if found else None


def _calibration_charts(calibrations: Sequence[Calibration]) -> Iterator[Chart]:
    for population in dict.fromkeys(calibration.population for calibration in calibrations):
        lines = [Curve(one.model, one.points) for one in calibrations if one.population == population]
        yield curves(
            f"Calibration, {population} customers, all weeks",
            lines,
            Axis("mean predicted probability, %", percent=True),
            Axis("customers who churned, %", percent=True),
        )


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
        labels = *report["models"][verdict["model"]].values(), population, "roc_auc"
        for bound, value in judged["figures"]["roc_auc"].items():
            live.labels(*labels, bound).set(value)
        training.labels(*labels).set(verdict["training"])
        lost.labels(*labels).set(verdict["lost"])
    reported = gauge("_last_report_timestamp_seconds", "When the last report was made")
    for name in {model["name"] for model in report["models"].values()} or {""}:  # no contract could be read
        reported.labels(name).set(datetime.fromisoformat(report["judged_at"]).timestamp())
    return registry
