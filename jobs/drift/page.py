"""The page and the metrics of drift. `jobs.drift.watch` has decided before which columns have drifted."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Gauge

from artefacts.process.printable import printable
from contract.values.category_counts import CategoryCounts
from contract.values.histogram import Histogram
from contract.values.vocabulary import Category
from jobs.drift.class_counts import ClassCounts, Counts
from jobs.reports.charts import Axis, Series, columns
from jobs.reports.pages import render
from jobs.reports.shapes import Chart

_SHARE = Axis("share of rows, %", percent=True)
_MOST_CATEGORIES = 30
"""Most values of a category that a chart shows."""


def drift_page(
    model: Mapping[str, Any],
    baseline: Mapping[str, Counts],
    live: Mapping[str, NDArray[np.int64]],
    vocabularies: Mapping[str, Sequence[Category]],
) -> str:
    """The verdict, the figures of each column, and a chart of each; columns that drifted come first.

    Args:
        model: what `drift.json` holds of it.
        baseline: column → its counts.
        live: column → counts in the same bins, see `Histogram.count`, or of the same classes.
        vocabularies: column of a category → its values by code.
    """
    charts = [_chart(column["column"], column["drifted"], baseline, live, vocabularies) for column in model["columns"]]
    return render("drift.html", {"model": model, "charts": charts})


def _chart(
    column: str,
    drifted: bool,
    baseline: Mapping[str, Counts],
    live: Mapping[str, NDArray[np.int64]],
    vocabularies: Mapping[str, Sequence[Category]],
) -> Chart:
    counted = baseline[column]
    before, now = counted.all_counts, live[column]
    if isinstance(counted, CategoryCounts):
        bins, before, now = _categories(vocabularies[column], before, now)
    else:
        bins = _bins(counted)
    return columns(
        f"{column}{': drifted' if drifted else ''}",
        bins,
        [
            Series("baseline", (before / max(1, before.sum())).tolist()),
            Series("live", (now / max(1, now.sum())).tolist()),
        ],
        f"value of {column}",
        _SHARE,
    )


def _categories(
    vocabulary: Sequence[Category], before: NDArray[np.int64], now: NDArray[np.int64]
) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
    """The bins of a category, and both counts in them: the most frequent values, all others together, and the rest."""
    values = len(vocabulary)
    shares = [counts[:values] / max(1, counts.sum()) for counts in (before, now)]
    shown = np.sort(np.argsort(-np.maximum(*shares), kind="stable")[:_MOST_CATEGORIES])
    names = [printable(str(vocabulary[code])) for code in shown.tolist()]

    def binned(counts: NDArray[np.int64]) -> NDArray[np.int64]:
        others = [counts[:values].sum() - counts[shown].sum()] if len(shown) < values else []
        return np.array([*counts[shown], *others, *counts[values:]], dtype=np.int64)

    rest = [f"{values - len(shown):,} others"] if len(shown) < values else []
    return [*names, *rest, "unseen", "missing"], binned(before), binned(now)


def _bins(counted: Histogram | ClassCounts) -> list[str]:
    if isinstance(counted, ClassCounts):
        return [*counted.classes, "missing"]
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
