"""Inference log against what the model was trained on: which inputs, and whether the scores, have drifted.

Each customer counts once, with the latest row: a customer who is asked for often is no evidence of a change.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Gauge

from contract import ContractError, FeatureState, ModelContract
from contract.histogram import Histogram
from jobs.drift_statistics import ALPHA, Drift, drift
from jobs.errors import JobError
from jobs.log_reading import LoggedRows, LogReading, nothing_in, refuse_foreign
from jobs.report_pages import put_report
from jobs.times import spoken
from scoring.errors import ModelError
from scoring.model import ImportedModel
from scoring.model_store import open_model

SCORE = "churn_probability"
FEWEST_CUSTOMERS = 200
"""Below them a report would say little, and be wrong about rare values."""
MOST_CUSTOMERS = 50_000
"""More are sampled, always the same ones: they would find differences that do not matter."""


class NothingToCompareError(JobError):
    """The log holds too few customers of the time."""

    exit_code = 4


class DriftError(JobError):
    """Live values differ from those of training, which is no error of anybody."""

    exit_code = 3
    prefix = "drifted"


@dataclass
class LatestRows:
    """The latest looked-up row of each customer, of at most `MOST_CUSTOMERS`.

    names: k inputs.
    values: float64 (n, k), NaN where a default stood in.
    scores: float64 (n,), NaN where the row was not scored.
    """

    names: list[str]
    identities: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    times: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    values: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))
    scores: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    def add(self, rows: LoggedRows) -> None:
        """Take further rows; those of unknown customers, and those with a value from the request, are left out."""
        chosen = np.flatnonzero(rows.known & ~(rows.states == FeatureState.OVERRIDDEN).any(axis=1))
        ids = rows.customer_ids.take(chosen).to_numpy(zero_copy_only=False)
        identities = np.append(self.identities, pd.util.hash_array(ids))
        times = np.append(self.times, rows.as_of_us[chosen])
        values = np.where(rows.defaulted, np.nan, rows.inputs.astype(np.float64))[chosen]
        values = np.concatenate([self.values.reshape(-1, len(self.names)), values])
        scores = np.append(self.scores, rows.probability[chosen])
        order = np.lexsort((-times, identities))
        first = np.unique(identities[order], return_index=True)[1]  # ascending, and the latest of each
        kept = order[first[:MOST_CUSTOMERS]]
        self.identities, self.times = identities[kept], times[kept]
        self.values, self.scores = values[kept], scores[kept]

    def __len__(self) -> int:
        return len(self.identities)

    def frame(self) -> pd.DataFrame:
        """Inputs and score by name."""
        return pd.DataFrame(self.values.reshape(-1, len(self.names)), columns=self.names).assign(**{SCORE: self.scores})


def histograms_of(contract: ModelContract) -> dict[str, Histogram]:
    """Column → what training counted of it.

    Raises:
        JobError: the model was trained before contracts counted.
    """
    found = {feature.name: feature.distribution.histogram for feature in contract.inputs} | {SCORE: contract.scores}
    counted = {name: histogram for name, histogram in found.items() if histogram is not None}
    if len(counted) < len(found):
        raise JobError(
            f"model version {contract.model_version} was trained before contracts counted values; train anew"
        )
    return counted


def drifts(live: pd.DataFrame, trained: Mapping[str, Histogram]) -> list[Drift]:
    """Every column held against training, at a level that keeps false alarms of the whole report at `ALPHA`.

    Args:
        live: a column for each of `trained`; one row for each customer.
    """
    level = ALPHA / len(trained)
    found = []
    for name, histogram in trained.items():
        values = live[name].to_numpy()
        if name == SCORE:
            values = values[~np.isnan(values)]  # a refused row has none, which says nothing of the scores
        found.append(drift(name, histogram, values, level))
    return found


def watch_drift(
    log: Path,
    out: Path,
    since: datetime | None = None,
    until: datetime | None = None,
    opened: Callable[[str], ImportedModel] = open_model,
) -> dict[str, Any]:
    """Compare every model's answered rows with its training; write `drift.json`, `drift-<version>.html`, `drift.prom`.

    Args:
        log: the inference log's folder.
        since, until: rows of [since, until), UTC.

    Returns:
        What `drift.json` holds.

    Raises:
        NothingToCompareError: no model has answered enough customers; nothing was written.
        DriftError: the report is written and something has drifted.
        JobError: the report is written, and a file or a model could not be used; or nothing could.
    """
    reading = LogReading(log, since, until)
    latest, problems = _latest(reading, opened)
    problems += reading.damaged
    few = [f"{len(rows):,} customers of {tag}" for tag, (_, rows) in latest.items() if len(rows) < FEWEST_CUSTOMERS]
    models, pages = [], {}
    for tag, (model, rows) in latest.items():
        if len(rows) < FEWEST_CUSTOMERS:
            continue
        contract = model.contract
        try:
            trained = histograms_of(contract)
        except JobError as error:
            problems.append(str(error))
            continue
        live = rows.frame()
        found = drifts(live, trained)
        from jobs.drift_report import drift_page  # evidently takes ten seconds to import

        page = f"drift-{contract.model_version}.html"
        pages[page] = drift_page(contract, live, trained, found)
        models.append(_told(tag, contract, rows, found, page))
    if not models:
        if problems:
            raise JobError("nothing could be compared: " + "; ".join(problems))
        enough = f"at least {FEWEST_CUSTOMERS} customers are needed"
        found_few = ", ".join(few) or f"no answered row {spoken(since, until)}"
        raise NothingToCompareError(nothing_in(log, f"{found_few}; {enough}"))
    report = {
        "compared_at": datetime.now(UTC).isoformat(),
        "alpha": ALPHA,
        "models": models,
        "too_few": few,
        "problems": problems,
    }
    put_report(out, "drift", report, pages, metrics_of(models))
    drifted = [f"{model['version']}: {', '.join(model['drifted'])}" for model in models if model["drifted"]]
    if drifted:
        raise DriftError(f"since training, model version {'; '.join([*drifted, *problems])}; see {out}")
    if problems:
        raise JobError(f"not everything could be compared, the rest is in {out}: {'; '.join(problems)}")
    return report


def outcome_line(report: Mapping[str, Any]) -> str:
    """What was compared, for people."""
    compared = (
        f"version {model['version']}: {len(model['columns'])} columns of {model['customers']:,} customers, none drifted"
        for model in report["models"]
    )
    return "\n".join([*compared, *(f"not compared: {few}" for few in report["too_few"])])


def _latest(
    reading: LogReading, opened: Callable[[str], ImportedModel]
) -> tuple[dict[str, tuple[ImportedModel, LatestRows]], list[str]]:
    found: dict[str, tuple[ImportedModel, LatestRows]] = {}
    problems: dict[str, str] = {}
    for tag, table in reading.chunks():
        if tag in problems:
            continue
        try:
            if tag not in found:
                model = opened(tag)
                found[tag] = model, LatestRows(model.contract.feature_names)
            model, rows = found[tag]
            refuse_foreign(table, model)
            rows.add(LoggedRows.of(table, table["customer_id"].combine_chunks(), len(rows.names)))
        except (ModelError, ContractError) as error:
            problems[tag] = f"rows of model {tag}: {error}"
            found.pop(tag, None)
    return found, list(problems.values())


def _told(tag: str, contract: ModelContract, rows: LatestRows, found: list[Drift], page: str) -> dict[str, Any]:
    times = [datetime.fromtimestamp(us / 1e6, UTC).isoformat() for us in (rows.times.min(), rows.times.max())]
    return {
        "tag": tag,
        "version": contract.model_version,
        "customers": len(rows),
        "first": times[0],
        "last": times[1],
        "level": ALPHA / len(found),
        "drifted": [column.column for column in found if column.drifted],
        "columns": [asdict(column) for column in found],
        "page": page,
    }


def metrics_of(models: list[dict[str, Any]]) -> CollectorRegistry:
    """What Prometheus is told; no customer and no value of one is in it."""
    registry = CollectorRegistry()
    psi = Gauge(
        "churn_drift_psi", "Population stability index against training", ["version", "column"], registry=registry
    )
    drifted = Gauge("churn_drift_columns", "Columns that have drifted since training", ["version"], registry=registry)
    customers = Gauge("churn_drift_customers", "Customers that were compared", ["version"], registry=registry)
    reported = Gauge("churn_drift_last_report_timestamp_seconds", "When the last report was made", registry=registry)
    reported.set_to_current_time()
    for model in models:
        drifted.labels(model["version"]).set(len(model["drifted"]))
        customers.labels(model["version"]).set(model["customers"])
        for column in model["columns"]:
            psi.labels(model["version"], column["column"]).set(column["psi"])
    return registry
