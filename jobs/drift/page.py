"""The page and the metrics of drift. `jobs.drift.watch` has decided before which columns have drifted."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Gauge

from contract.category_counts import CategoryCounts
from jobs.drift.class_counts import ClassCounts, Counts
from jobs.reports.charts import Axis, Series, columns
from jobs.reports.pages import render
from jobs.reports.shapes import Chart

_SHARE = Axis("share of rows, %", percent=True)


def drift_page(model: Mapping[str, Any], baseline: Mapping[str, Counts], live: Mapping[str, NDArray[np.int64]]) -> str:
    """The verdict, the figures of each column, and a chart of each; columns that drifted come first.

    Args:
        model: what `drift.json` holds of it.
        baseline: column → its counts.
        live: column → counts in the same bins, see `Histogram.count`, or of the same classes.
    """
    charts = [_chart(column["column"], column["drifted"], baseline, live) for column in model["columns"]]
    return render("drift.html", {"model": model, "charts": charts})


def _chart(column: str, drifted: bool, baseline: Mapping[str, Counts], live: Mapping[str, NDArray[np.int64]]) -> Chart:
    counted = baseline[column]
    before, now = counted.all_counts, live[column]
    return columns(
        f"{column}{': drifted' if drifted else ''}",
        _bins(counted),
        [
            Series("baseline", (before / max(1, before.sum())).tolist()),
            Series("live", (now / max(1, now.sum())).tolist()),
        ],
        f"value of {column}",
        _SHARE,
    )


def _bins(counted: Counts) -> list[str]:
    if isinstance(counted, ClassCounts):
        return [*counted.classes, "missing"]
    if isinstance(counted, CategoryCounts):  # codes; GET /model has the vocabulary
        return [*map(str, range(len(counted.counts))), "unseen", "missing"]
    edges = [f"{edge:.4g}" for edge in counted.edges]
    if not edges:
        return ["any", "missing"]
    between = [f"{low} … {high}" for low, high in pairwise(edges)]
    return [f"≤ {edges[0]}", *between, f"> {edges[-1]}", "missing"]


def metrics_of(models: list[dict[str, Any]]) -> CollectorRegistry:
    """Metrics of a report. They name no entity and hold no value of one."""
    registry = CollectorRegistry()

    def gauge(name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(f"model_jobs_drift_{name}", meaning, ["model", *labels], registry=registry)

    psi = gauge("psi", "Population stability index against the baseline", "version", "column")
    drifted = gauge("columns", "Columns that have drifted", "version")
    entities = gauge("entities", "Entities that were compared", "version")
    reported = gauge("last_report_timestamp_seconds", "When the last report was made")
    for model in models:
        version = model["model"], model["version"]
        reported.labels(model["model"]).set_to_current_time()
        drifted.labels(*version).set(len(model["drifted"]))
        entities.labels(*version).set(model["entities"])
        for column in model["columns"]:
            psi.labels(*version, column["column"]).set(column["psi"])
    return registry
