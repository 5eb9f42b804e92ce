"""The page and the metrics of drift. `jobs.drift.watch` has decided before what drifted."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Gauge

from contract.histogram import Histogram
from jobs.reports import page, paired_bars, paragraph, table


def drift_page(
    model: Mapping[str, Any], baseline: Mapping[str, Histogram], live: Mapping[str, NDArray[np.int64]]
) -> str:
    """HTML in one file that loads nothing: the verdict, every column's figures, a chart of each; drifted ones first.

    Args:
        model: what `drift.json` holds of it.
        baseline: column → its counts.
        live: column → counts of the same bins, see `Histogram.count`.
    """
    drifted = model["drifted"]
    outcome = f"{len(drifted)} of {len(model['columns'])} columns have drifted" if drifted else "no column has drifted"
    left_out = ""
    if model["age_feature"]:
        left_out = (
            f"Not compared are {model['older_customers_left_out']:,} who have been customers for longer than anybody "
            f"of the baseline ({model['age_feature']} above {model['oldest_in_baseline']:,.6g}): in a shop that stays "
            "as it is, its oldest customers get older."
        )
    facts = {
        "model": model["tag"],
        "live": f"{model['customers']:,} customers, each with the latest row, from {model['first']} to {model['last']}",
        "baseline": f"{model['baseline']['rows']:,} rows of {model['baseline']['what']}",
        "drifted": f"p below {model['level']:.2g} and an index (PSI) of at least the column's",
    }
    heads = ["", "column", "PSI", "drifts from", "p", "missing", "missing in the baseline"]
    rows = [
        [
            "drifted" if column["drifted"] else "small" if column["significant"] else "",
            column["column"],
            f"{column['psi']:.3f}",
            f"{column['min_psi']:g}",
            f"{column['p_value']:.2g}",
            f"{column['missing']:.1%}",
            f"{column['missing_before']:.1%}",
        ]
        for column in model["columns"]
    ]
    charts = [_chart(column["column"], column["drifted"], baseline, live) for column in model["columns"]]
    parts = [
        table("What was compared", ["", ""], facts.items()),
        paragraph(left_out),
        table("Columns", heads, rows),
        paragraph("“small”: surely different, by too little to matter."),
        *charts,
    ]
    return page(f"Drift of version {model['version']}", outcome, parts)


def _chart(column: str, drifted: bool, baseline: Mapping[str, Histogram], live: Mapping[str, NDArray[np.int64]]) -> str:
    histogram = baseline[column]
    before, now = histogram.all_counts, live[column]
    return paired_bars(
        f"{column}{': drifted' if drifted else ''}",
        _bins(histogram),
        ("baseline", (before / max(1, before.sum())).tolist()),
        ("live", (now / max(1, now.sum())).tolist()),
    )


def _bins(histogram: Histogram) -> list[str]:
    edges = [f"{edge:.4g}" for edge in histogram.edges]
    if not edges:
        return ["any", "missing"]
    between = [f"{low} … {high}" for low, high in pairwise(edges)]
    return [f"≤ {edges[0]}", *between, f"> {edges[-1]}", "missing"]


def metrics_of(models: list[dict[str, Any]]) -> CollectorRegistry:
    """What Prometheus is told; no customer and no value of one is in it."""
    registry = CollectorRegistry()
    psi = Gauge(
        "churn_drift_psi", "Population stability index against the baseline", ["version", "column"], registry=registry
    )
    drifted = Gauge("churn_drift_columns", "Columns that have drifted", ["version"], registry=registry)
    customers = Gauge("churn_drift_customers", "Customers that were compared", ["version"], registry=registry)
    reported = Gauge("churn_drift_last_report_timestamp_seconds", "When the last report was made", registry=registry)
    reported.set_to_current_time()
    for model in models:
        drifted.labels(model["version"]).set(len(model["drifted"]))
        customers.labels(model["version"]).set(model["customers"])
        for column in model["columns"]:
            psi.labels(model["version"], column["column"]).set(column["psi"])
    return registry
