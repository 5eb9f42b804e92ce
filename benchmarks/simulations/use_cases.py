"""Holds the shipped use cases against their baselines, and those on orders against published models of buying.

Pareto/NBD (Schmittlein, Morrison & Colombo, 1987) tells how often customers buy, Gamma-Gamma (Fader, Hardie & Lee,
2005) for how much. `lifetimes` fits both, in an environment of its own.
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from artefacts.addresses import PROJECT_ROOT, Artefacts
from benchmarks.machine import provenance
from benchmarks.markdown import NOT_MEASURED, prose, table
from benchmarks.results import store
from contract import FeatureInput
from scoring.evaluation import Estimate, Floats, compare_scores, evaluate, metrics_of, standard_error_interval
from scoring.models.model_frame import model_frame
from training.churn.source.addresses import OrderAddresses
from training.data.dataset import LabelledRows, TrainingData
from training.model_inputs import describe_inputs, resolve_inputs
from training.row_splits.time_splits import cutoffs_of, parts_at
from training.settings import TrainingSettings
from training.use_case import Mean, UseCase
from training.use_case_folder import load_use_case

ORDERS, HOUSEHOLDS = "use_cases", "use_cases_of_households"
"""Key in the results, by what the use cases are about."""
_FOLDERS = {ORDERS: ("customer_spend", "order_count"), HOUSEHOLDS: ("household_spend", "next_department")}
_LITERATURE = {"customer_spend": "Pareto/NBD and Gamma-Gamma", "order_count": "Pareto/NBD"}
_SHOWN = {
    "regression": ("rmse", "mae", "bias", "r2", "spearman"),
    "multiclass": ("log_loss", "accuracy", "macro_roc_auc"),
}
_SHARES = {
    "customer_spend": {"half of the last 180 days": ("customer_orders_windowed__spend_180d", 1 / 2)},
    "household_spend": {"a third of the last 84 days": ("household_windowed__spend_84d", 1 / 3)},
}
"""Use case → name → input, and the share of it that is the prediction."""
_FITTER = Path(__file__).with_name("buying_processes.py")


def run(output: Path, lifetimes: Path | None) -> None:
    """Train every use case's candidates on the current events, and write what all say at the test cut-off.

    Args:
        lifetimes: a Python interpreter with `lifetimes`, for the use cases on orders; None for those on households.
    """
    found = {}
    started = time.monotonic()
    about = HOUSEHOLDS if lifetimes is None else ORDERS
    for name in _FOLDERS[about]:
        folder = PROJECT_ROOT / "use_cases" / name
        found[name] = _compared(load_use_case(folder), {**os.environ, "USE_CASE": str(folder)}, lifetimes)
    store(output, about, {**provenance(), "cases": found, "took_seconds": round(time.monotonic() - started)})


def _compared(case: UseCase, environ: Mapping[str, str], lifetimes: Path | None) -> dict[str, Any]:
    settings = TrainingSettings(feature_service=case.feature_service, **case.splits.settings)
    data, source = TrainingData(Artefacts.of(environ), case.feature_service), case.labels(environ)
    cutoffs = cutoffs_of(source, settings)
    parts = [
        data.rows(parts_at(source, times, settings, settings.seed), case.task)
        for times in (cutoffs.training, (cutoffs.validation,), (cutoffs.test,))
    ]
    inputs = describe_inputs(data.schema, parts[0], parts[2])
    training, validation, test = (resolve_inputs(inputs, data.schema, rows.raw(inputs), rows.as_of) for rows in parts)
    both = pd.concat([training, validation], ignore_index=True)
    labels = np.concatenate([rows.labels for rows in parts[:2]])
    as_fitted = partial(_frame, inputs)
    metrics = metrics_of(case.task.kind)
    headline = metrics.metric(case.judged_by[1])
    reached: dict[str, float] = {}
    scores: dict[str, Floats] = {}
    for name, candidate in case.candidates.items():
        fitted = candidate(settings.seed).fit(as_fitted(training), parts[0].labels)
        reached[name] = headline(parts[1].labels, case.task.scores(fitted, as_fitted(validation)))
        fitted = candidate(settings.seed).fit(as_fitted(both), labels)
        scores[name] = case.task.scores(fitted, as_fitted(test))
    chosen = (max if headline.higher_is_better else min)(reached, key=reached.__getitem__)
    scores[case.baseline.name] = case.baseline.fitted(case.task, both, labels)(test)
    if lifetimes is not None:
        scores[_LITERATURE[case.name]] = _literature(case, parts[2], lifetimes)
    for name, (feature, share) in _SHARES.get(case.name, {}).items():
        scores[name] = test[feature].to_numpy(np.float64) * share
    if lifetimes is None:
        scores["mean" if case.task.kind == "regression" else "rates of all"] = Mean().fitted(case.task, both, labels)(
            test
        )
    arguments = settings.bootstrap_resamples, settings.seed
    shown = {name: metrics.metrics[name] for name in _SHOWN[case.task.kind]}
    return {
        "rows": len(test),
        "resamples": settings.bootstrap_resamples,
        "chosen": chosen,
        "metric": headline.name,
        "scores": [
            {
                "name": name,
                **{key: vars(e) for key, e in evaluate(parts[2].labels, each, shown, *arguments).items()},
                "calibration": metrics.calibration(parts[2].labels, each),
                "against_chosen": vars(
                    compare_scores(
                        headline,
                        parts[2].labels,
                        each,
                        scores[chosen],
                        *arguments,
                        None,
                        standard_error_interval(settings.gate_confidence),
                    ).difference
                ),
            }
            for name, each in scores.items()
        ],
    }


def _frame(inputs: Sequence[FeatureInput], matrix: pd.DataFrame) -> pd.DataFrame:
    return model_frame(inputs, matrix.to_numpy())


def _literature(case: UseCase, test: LabelledRows, lifetimes: Path) -> Floats:
    """What the models of buying say of the test rows, fitted on every order before each customer's request."""
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as connection:
        source, target = Path(folder, "customers.csv"), Path(folder, "said.csv")
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("asked", test.entities.assign(place=np.arange(len(test.entities))))
        connection.execute(
            "WITH days AS (SELECT place, asked.event_timestamp AS asked_at, "
            "date_trunc('day', o.event_timestamp) AS day, sum(amount) AS money "
            "FROM asked JOIN read_parquet(?) o USING (customer_id) "
            "WHERE o.event_timestamp < asked.event_timestamp GROUP BY ALL), "
            "first AS (SELECT *, min(day) OVER (PARTITION BY place) AS first_day FROM days) "
            "SELECT count(*) - 1 AS frequency, date_diff('day', min(day), max(day)) AS recency, "
            "epoch(any_value(asked_at) - min(day)) / 86400 AS age, "
            "coalesce(avg(money) FILTER (day > first_day), 0) AS value FROM first GROUP BY place ORDER BY place",
            [str(OrderAddresses.of(os.environ).orders)],
        ).df().to_csv(source, index=False)
        days = str(case.splits.settings["label_days"])
        subprocess.run([str(lifetimes), str(_FITTER), str(source), str(target), days], check=True)
        said = pd.read_csv(target)
    if case.task.kind == "regression":
        return said["spend"].to_numpy(dtype=np.float64)
    of_classes = [said["p0"], said["p1"], said["p2"] + said["p3"], 1 - said[["p0", "p1", "p2", "p3"]].sum(axis=1)]
    probabilities: Floats = np.clip(np.stack([column.to_numpy(np.float64) for column in of_classes], axis=1), 1e-6, 1)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return probabilities


def section(found: Mapping[str, Any] | None, option: str = "") -> str:
    """The tables of docs/model.md.

    Args:
        option: of the command that measured them.
    """
    if found is None:
        return NOT_MEASURED
    parts = [
        prose(
            f"`python -m benchmarks use-cases{option}`, {found['measured_at'][:10]}, commit `{found['git_commit']}`, "
            f"{found['took_seconds']} s: test rows as they are served, 95 % intervals. The last column is the headline "
            "metric of the model that training chooses, minus that of the row, on the same customers."
        )
    ]
    for folder, case in found["cases"].items():
        shown = [name for name in case["scores"][0] if isinstance(case["scores"][0][name], Mapping)][:-1]
        rows = [
            (
                f"**{each['name']}**" if each["name"] == case["chosen"] else each["name"],
                *(_interval(each[name]) for name in shown),
                f"{each['calibration']:.3f}",
                "–" if each["name"] == case["chosen"] else _interval(each["against_chosen"]),
            )
            for each in case["scores"]
        ]
        heads = (f"`{folder}`, {case['rows']:,} rows", *shown, "calibration", f"{case['metric']}, difference")
        parts.append(table(heads, rows, left=1))
    return "\n".join(parts).rstrip("\n")


def _interval(found: Mapping[str, float]) -> str:
    return str(Estimate(found["value"], found["low"], found["high"]))
