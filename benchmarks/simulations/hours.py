"""Compares training at request hours with training at midnights; both are evaluated on rows as served."""

import os
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from artefacts.addresses import Artefacts
from artefacts.cutoffs import Cutoffs, midnight
from benchmarks.machine import provenance
from benchmarks.markdown import NOT_MEASURED, prose, table
from benchmarks.results import store
from contract import FeatureInput, FeatureSchema, RawFeatures
from scoring.evaluation import (
    BINARY,
    Bools,
    Estimate,
    evaluate,
    expected_calibration_error,
    proportion,
)
from scoring.feature_columns import encoded
from training.churn.candidates import CANDIDATES
from training.churn.source.addresses import OrderAddresses
from training.churn.use_case import USE_CASE
from training.data.dataset import LabelledRows, TrainingData
from training.model_inputs import describe_inputs, resolve_inputs
from training.row_splits.time_splits import cutoffs_of, parts_at
from training.settings import TrainingSettings

AT_MIDNIGHT = "0-0"
_WINDOWED = "customer_orders_windowed"
_NOON = timedelta(hours=12)

Floats = NDArray[np.float64]


class _Model:
    """A candidate, fitted on training and validation rows."""

    def __init__(self, candidate: str, schema: FeatureSchema, parts: list[LabelledRows], seed: int) -> None:
        self._schema = schema
        self._inputs: tuple[FeatureInput, ...] = describe_inputs(schema, parts[0], parts[0])
        matrix = pd.concat([self._matrix(rows.columns) for rows in parts], ignore_index=True)
        fitted: Pipeline = CANDIDATES[candidate](seed).fit(matrix, np.concatenate([rows.labels for rows in parts]))
        self._fitted = fitted

    def score(self, columns: pd.DataFrame) -> Floats:
        """Churn probability of each row, (n,)."""
        found: Floats = self._fitted.predict_proba(self._matrix(columns))[:, 1]
        return found

    def _matrix(self, columns: pd.DataFrame) -> pd.DataFrame:
        return resolve_inputs(self._inputs, self._schema, RawFeatures(encoded(columns, self._inputs), None))


def run(output: Path) -> None:
    """Fit every candidate both ways on the current orders, and write the results."""
    started = time.monotonic()
    artefacts, settings = Artefacts.of(os.environ), TrainingSettings()
    data = TrainingData(artefacts, settings.feature_service)
    source = USE_CASE.labels(os.environ)
    cutoffs = cutoffs_of(source, settings)
    test = data.rows(parts_at(source, (cutoffs.test,), settings, settings.seed), USE_CASE.task)
    active = _active(test)
    stale, caught_up = _last_day_buyers(data)
    ages = data.view_ages(test.entities)[_WINDOWED]
    found = []
    for hours in (AT_MIDNIGHT, settings.request_hours):
        parts = _training_rows(data, cutoffs, settings.model_copy(update={"request_hours": hours}))
        for candidate in CANDIDATES:
            model = _Model(candidate, data.schema, parts, settings.seed)
            moved = np.abs(model.score(stale) - model.score(caught_up))
            found.append(
                {"candidate": candidate, "hours": hours, **_evaluate(model, test, active, settings), **_moves(moved)}
            )
    figures = {
        "models": found,
        "resamples": settings.bootstrap_resamples,
        "rows": len(test.labels),
        "active": int(active.sum()),
        "same_day": int(test.groups["same_day"].sum()),
        "last_day": len(stale.values),
        "ages": [float(each) for each in np.nanquantile(ages, (0.05, 0.5, 0.95))],
        "took_seconds": round(time.monotonic() - started),
    }
    store(output, "hours", {**provenance(), **figures})


def section(found: Mapping[str, Any] | None) -> str:
    """The tables of docs/model.md."""
    if found is None:
        return NOT_MEASURED
    low, middle, high = found["ages"]
    text = prose(
        f"`make bench-hours`, {found['measured_at'][:10]}, commit `{found['git_commit']}`, {found['took_seconds']} s: "
        f"the test rows as they are served, {found['rows']:,} customers and {found['active']:,} active ones, windows "
        f"{middle:.0f} h old at the median and {low:.0f} to {high:.0f} h for nine of ten. 95 % intervals, "
        f"{found['resamples']} resamples."
    )
    models = found["models"]
    figures = [
        (
            f"{each['candidate']}, {_trained(each['hours'])}",
            *(_interval(each[name]) for name in ("all_roc_auc", "active_roc_auc", "all_log_loss", "active_log_loss")),
            f"{each['calibration_error']:.4f}",
        )
        for each in models
    ]
    heads = (
        "trained",
        "ROC AUC, all",
        "ROC AUC, active",
        "log loss, all",
        "log loss, active",
        "calibration error, all",
    )
    same_day = prose(
        f"{found['same_day']} test customers ordered between the cut-off and their request; "
        f"{_interval(models[0]['same_day_churned'])} of them churned. The last two columns are of the "
        f"{found['last_day']} who ordered on the last day of the data: how far the probability at that noon is from "
        "the one with windows that include the order, on average and at most."
    )
    buyers = [
        (
            f"{each['candidate']}, {_trained(each['hours'])}",
            f"{each['same_day_probability']:.3f}",
            f"{each['same_day_log_loss']:.3f}",
            f"{each['moves_mean']:.3f}",
            f"{each['moves_most']:.3f}",
        )
        for each in models
    ]
    buyers_heads = ("trained", "their mean probability", "their log loss", "moves on average", "moves at most")
    return f"{text}\n{table(heads, figures, left=1)}\n{same_day}\n{table(buyers_heads, buyers, left=1)}".rstrip("\n")


def _trained(hours: str) -> str:
    return "at midnights" if hours == AT_MIDNIGHT else f"at hours {hours}"


def _interval(found: Mapping[str, float]) -> str:
    return str(Estimate(found["value"], found["low"], found["high"]))


def _training_rows(data: TrainingData, cutoffs: Cutoffs, settings: TrainingSettings) -> list[LabelledRows]:
    """Training and validation rows; the cut-offs do not depend on the request hours."""
    source = USE_CASE.labels(os.environ)
    return [
        data.rows(parts_at(source, times, settings, settings.seed), USE_CASE.task)
        for times in (cutoffs.training, (cutoffs.validation,))
    ]


def _active(rows: LabelledRows) -> Bools:
    active = USE_CASE.populations["active"]
    return active.contains(rows.columns[active.feature].to_numpy(np.float64))


def _evaluate(model: _Model, test: LabelledRows, active: Bools, settings: TrainingSettings) -> dict[str, Any]:
    probability = model.score(test.columns)
    found: dict[str, Any] = {"calibration_error": expected_calibration_error(test.labels, probability)}
    metrics = {name: BINARY.metric(name) for name in ("roc_auc", "log_loss")}
    for population, chosen in (("all", np.ones(len(probability), dtype=bool)), ("active", active)):
        estimates = evaluate(
            test.labels[chosen], probability[chosen], metrics, settings.bootstrap_resamples, settings.seed
        )
        found |= {f"{population}_{name}": vars(estimate) for name, estimate in estimates.items()}
    same_day = test.groups["same_day"]
    churned, predicted = test.labels[same_day], probability[same_day]
    return found | {
        "same_day_churned": vars(proportion(int(churned.sum()), len(churned))),
        "same_day_probability": float(predicted.mean()),
        "same_day_log_loss": float(-np.mean(np.log(np.where(churned, predicted, 1 - predicted)))),
    }


def _moves(moved: Floats) -> dict[str, float]:
    return {"moves_mean": float(moved.mean()), "moves_most": float(moved.max())}


def _last_day_buyers(data: TrainingData) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Features at noon of customers who ordered that morning of the last day; and with the next midnight's windows."""
    day = midnight(USE_CASE.labels(os.environ).observed_until()) - timedelta(days=1)
    with duckdb.connect() as connection:
        found = connection.execute(
            "SELECT DISTINCT customer_id FROM read_parquet(?) WHERE event_timestamp BETWEEN ? AND ? ORDER BY 1",
            [str(OrderAddresses.of(os.environ).orders), day, day + _NOON],
        ).df()
    at_noon, later = (
        data.features_at(found.assign(event_timestamp=pd.Timestamp(at).as_unit("us")))
        for at in (day + _NOON, day + timedelta(days=1))
    )
    windowed = [feature.name for feature in data.schema.features if feature.sources == (_WINDOWED,)]
    return at_noon, at_noon.assign(**{name: later[name] for name in windowed})
