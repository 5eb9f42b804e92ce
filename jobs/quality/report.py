"""How good live answers were, as a table, a page and JSON."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Gauge

from jobs.reports import aligned, listed, page, paragraph, put_report, table

FIGURE_NAMES = ("roc_auc", "brier", "calibration_error", "mean_probability", "base_rate", "lift_at_10pct")
"""As training names them: `all_roc_auc` in the contract's metrics is `roc_auc` of all customers."""

_HEADS = ("model", "week", "customers", "rows", *FIGURE_NAMES, "ROC AUC less training's")


def loss_line(verdict: Mapping[str, Any]) -> str:
    """What is wrong, in a line."""
    return (
        f"{verdict['model']}, {verdict['week']}: ROC AUC of {verdict['population']} customers {verdict['roc_auc']} "
        f"is more than {verdict['max_auc_loss']:g} below training's {verdict['training']:.3f}"
    )


def quality_rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A report's figures as a table of text, with heads; each model's begin with what training promised."""
    lines: list[tuple[str, ...]] = [_HEADS]
    for model in dict.fromkeys(quality["model"] for quality in report["quality"]):
        own = [quality for quality in report["quality"] if quality["model"] == model]
        promised = report["training"].get(model, {})
        for population in dict.fromkeys(quality["population"] for quality in own):
            figures = [promised.get(f"{population}_{name}") for name in FIGURE_NAMES]
            lines.append((model, "training", population, "", *("–" if v is None else f"{v:.3f}" for v in figures), ""))
        lines += [_cells(quality) for quality in own]
    return lines


def _cells(quality: Mapping[str, Any]) -> tuple[str, ...]:
    start = quality["model"], quality["week"], quality["population"], f"{quality['rows']:,}"
    if quality["reason"]:
        return (*start, *["–"] * len(FIGURE_NAMES), quality["reason"])
    gap = quality["gaps"].get("roc_auc")
    return (
        *start,
        *(_interval(quality["figures"][name]) for name in FIGURE_NAMES),
        _interval(gap, "+") if gap else "–",
    )


def _interval(estimate: Mapping[str, float], sign: str = "") -> str:
    return f"{estimate['value']:{sign}.3f} [{estimate['low']:{sign}.3f}, {estimate['high']:{sign}.3f}]"


def quality_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """What was found, for people at a terminal."""
    yield f"{report['outcome']}: {report['counted']}"
    yield from aligned(quality_rows(report))


def write(folder: Path, report: Mapping[str, Any]) -> None:
    """Write `live_quality.json`, `live_quality.html` and `live_quality.prom`.

    Raises:
        JobError: the folder cannot be written to.
    """
    heads, *rows = quality_rows(report)
    run = {
        "judged at": report["judged_at"],
        "log": report["log"],
        "answers from": report["since"] or "the beginning",
        "until": report["until"] or "the end",
        "labels": f"{report['labels']['file']}: {report['counted']}",
        "active": " or ".join(report["active"]) or "–",
    }
    parts = [
        paragraph(
            "Each labelled answer, by model and ISO week of the request. Intervals are 95 %, over customers; "
            "training's figures count as exact."
        ),
        listed("Could not be read", report["problems"]),
        listed("No rows", report["empty"]),
        listed("Worse than training", [loss_line(verdict) for verdict in report["verdicts"] if verdict["lost"]]),
        table("Quality", heads, rows),
        table("Run", ["", ""], run.items()),
    ]
    html = page("Live quality", report["outcome"], parts)
    put_report(folder, "live_quality", report, {"live_quality.html": html}, metrics_of(report))


def metrics_of(report: Mapping[str, Any]) -> CollectorRegistry:
    """What Prometheus is told: of the newest week that could be judged."""
    registry = CollectorRegistry()

    def gauge(name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(f"churn_live_quality_{name}", meaning, labels, registry=registry)

    live = gauge("roc_auc", "ROC AUC of the newest week that has figures", "model", "population")
    training = gauge("training_roc_auc", "ROC AUC that training measured", "model", "population")
    lost = gauge("lost", "1 if it surely lies further below training's than is allowed", "model", "population")
    for verdict in report["verdicts"]:
        model, population = labels = verdict["model"], verdict["population"]
        (judged,) = (
            quality
            for quality in report["quality"]
            if (quality["model"], quality["week"], quality["population"]) == (model, verdict["week"], population)
        )
        live.labels(*labels).set(judged["figures"]["roc_auc"]["value"])
        training.labels(*labels).set(verdict["training"])
        lost.labels(*labels).set(verdict["lost"])
    judged_at = datetime.fromisoformat(report["judged_at"]).timestamp()
    gauge("last_report_timestamp_seconds", "When the last report was made").set(judged_at)
    return registry
