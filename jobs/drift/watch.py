"""Inference log against a baseline: which inputs, and whether the scores, have drifted.

Each customer counts once, with the latest row: a customer who is asked for often is no evidence of a change.
One verdict for each model is made here; page, exit code, metrics and JSON say that one.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from contract.histogram import Histogram
from jobs.drift.baseline import SCORE, Baseline, BaselineChoice, trained_baseline
from jobs.drift.page import drift_page, metrics_of
from jobs.drift.rows import DriftLog, LatestRows
from jobs.drift.statistics import Drift, drift
from jobs.errors import JobError
from jobs.inference_log.reading import Opener, nothing_in
from jobs.reports.files import write_report
from jobs.settings import JobsSettings
from jobs.times import format_range, unix_us
from scoring.errors import ModelError
from scoring.models.imported_model import ImportedModel
from scoring.models.model_store import open_model

FEWEST_CUSTOMERS = 200
"""Below them a report would say little, and be wrong about rare values."""


class NothingToCompareError(JobError):
    """The log holds too few customers of the time, or of the baseline's."""

    exit_code = 4


class DriftError(JobError):
    """Live values differ from those of the baseline, which is no error of anybody."""

    exit_code = 3
    prefix = "drifted"


@dataclass(frozen=True)
class Thresholds:
    """What counts as drift.

    alpha: rate of false alarms of a whole report.
    min_psi: index from which on a difference matters; `min_psi_of` are those of single columns.
    """

    alpha: float = 0.05
    min_psi: float = 0.05
    min_psi_of: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class DriftWatch:
    """What to compare.

    out: folder of the report.
    since, until: live rows of [since, until), UTC; None is an open end. Rows of the baseline are no live rows, and
        without `since` none before it are.
    age_feature: the input that tells how long somebody has been a customer.
    """

    out: Path
    since: datetime | None = None
    until: datetime | None = None
    baseline: BaselineChoice = field(default_factory=lambda: BaselineChoice("training"))
    thresholds: Thresholds = field(default_factory=Thresholds)
    age_feature: str = ""

    @classmethod
    def of(
        cls,
        settings: JobsSettings,
        out: Path,
        since: datetime | None = None,
        until: datetime | None = None,
        baseline: str | None = None,
    ) -> Self:
        """As the settings have it.

        Raises:
            ArgumentError: the baseline is none.
        """
        return cls(
            out,
            since,
            until,
            BaselineChoice.parse(baseline or settings.drift_baseline, settings.drift_promoted_days),
            Thresholds(settings.drift_alpha, settings.drift_min_psi, settings.drift_thresholds()),
            settings.drift_age_feature,
        )


@dataclass
class _Pair:
    """The rows of one version, and those it is held against where they come from the log.

    window: [from, to) of these.
    """

    model: ImportedModel
    live: LatestRows
    before: LatestRows
    window: tuple[datetime, datetime] | None


def drifts(live: pd.DataFrame, baseline: Mapping[str, Histogram], thresholds: Thresholds) -> list[Drift]:
    """Every column held against the baseline; what has drifted first, by its index.

    Args:
        live: a column for each of `baseline`; one row for each customer.
    """
    level = thresholds.alpha / len(baseline)
    found = [
        drift(name, histogram, _told(live, name), level, thresholds.min_psi_of.get(name, thresholds.min_psi))
        for name, histogram in baseline.items()
    ]
    return sorted(found, key=lambda column: (not column.drifted, -column.psi / column.min_psi))


def watch_drift(log: Path, watch: DriftWatch, opened: Opener = open_model) -> dict[str, Any]:
    """Compare every model's answered rows; write `drift.json`, `drift-<version>.html`, `drift.prom`.

    Args:
        log: the inference log's folder.

    Returns:
        What `drift.json` holds.

    Raises:
        NothingToCompareError: no model has enough customers on both sides; nothing was written.
        DriftError: the report is written and something has drifted.
        JobError: a threshold names no column; or the report is written, and a file or a model could not be used; or
            nothing could.
    """
    reading = DriftLog(log, opened)
    pairs = _pairs(reading, watch)
    few: list[str] = []
    models, pages = [], {}
    for pair in pairs:
        try:
            made, page = _compared(pair, watch, len(pairs))
        except NothingToCompareError as error:
            few.append(str(error))
        except JobError as error:
            reading.problems.append(str(error))
        else:
            models.append(made)
            pages[made["page"]] = page
    if not models:
        if reading.problems:
            raise JobError("nothing could be compared: " + "; ".join([*reading.problems, *few]))
        found_few = "; ".join(few) or f"no answered row {format_range(watch.since, watch.until)}"
        raise NothingToCompareError(nothing_in(log, found_few))
    _refuse_unknown_columns(watch.thresholds, models)
    report = {
        "compared_at": datetime.now(UTC).isoformat(),
        "verdict": "drifted" if any(model["drifted"] for model in models) else "not drifted",
        "baseline": watch.baseline.kind,
        "alpha": watch.thresholds.alpha,
        "models": models,
        "too_few": few,
        "problems": reading.problems,
    }
    write_report(watch.out, "drift", report, pages, metrics_of(models))
    if report["verdict"] == "drifted":
        drifted = "; ".join(
            f"{model['version']}: {', '.join(model['drifted'])}" for model in models if model["drifted"]
        )
        rest = "".join(f"; {problem}" for problem in reading.problems)
        raise DriftError(f"since the baseline, model version {drifted}{rest}; see {watch.out}")
    if reading.problems:
        rest = "; ".join(reading.problems)
        raise JobError(f"not everything could be compared, the rest is in {watch.out}: {rest}")
    return report


def outcome_line(report: Mapping[str, Any]) -> str:
    """What was compared, for people."""
    compared = (
        f"version {model['version']}: {len(model['columns'])} columns of {model['customers']:,} customers, "
        f"none drifted; baseline: {model['baseline']['rows']:,} rows of {model['baseline']['what']}"
        for model in report["models"]
    )
    return "\n".join([*compared, *(f"not compared: {few}" for few in report["too_few"])])


def _pairs(reading: DriftLog, watch: DriftWatch) -> list[_Pair]:
    choice = watch.baseline
    first = reading.first_answers() if choice.kind == "promoted" else {}
    found: dict[str, _Pair] = {}
    for model, rows in reading.chunks(watch.since, watch.until):
        names = model.contract.feature_names
        window = choice.window(first.get(model.tag) or datetime.fromtimestamp(rows.as_of_us.min() / 1e6, UTC))
        pair = found.setdefault(model.tag, _Pair(model, LatestRows(names), LatestRows(names), window))
        if window:
            begin, end = unix_us(window[0]), unix_us(window[1])
            live = rows.as_of_us >= end if watch.since is None else (rows.as_of_us < begin) | (rows.as_of_us >= end)
            rows = rows.take(np.flatnonzero(live))
        pair.live.add(rows, model, model)
    windows = [pair.window for pair in found.values() if pair.window]
    if windows:
        span = min(begin for begin, _ in windows), max(end for _, end in windows)
        for by, rows in reading.chunks(*span):
            for pair in found.values():
                if pair.window and (choice.kind == "period" or by.tag == pair.model.tag):
                    begin, end = map(unix_us, pair.window)
                    within = np.flatnonzero((rows.as_of_us >= begin) & (rows.as_of_us < end))
                    try:
                        pair.before.add(rows.take(within), by, pair.model)
                    except ModelError as error:
                        reading.say(f"rows of model {by.tag} are in no baseline: {error}")
    return [pair for tag, pair in found.items() if tag not in reading.unusable]


def _compared(pair: _Pair, watch: DriftWatch, models: int) -> tuple[dict[str, Any], str]:
    """What is reported of one version, and its page.

    Args:
        models: how many are compared in this report; they share its rate of false alarms.
    """
    contract = pair.model.contract
    if pair.window is None:
        baseline = trained_baseline(contract, watch.age_feature)
    else:
        baseline = _logged_baseline(pair, pair.window, watch)
    rows = pair.live.frame()
    older = np.zeros(len(rows), dtype=bool)
    if baseline.oldest is not None:
        older = rows[watch.age_feature].to_numpy() > baseline.oldest
    live = rows[~older]
    if len(live) < FEWEST_CUSTOMERS:
        but = f", {older.sum():,} more are older customers than anybody of the baseline" if older.any() else ""
        raise NothingToCompareError(
            f"{len(live):,} customers of {pair.model.tag}{but}; at least {FEWEST_CUSTOMERS} customers are needed"
            + ("; BASELINE=promoted or a period of the log has customers of later days" if older.any() else "")
        )
    shared = Thresholds(watch.thresholds.alpha / models, watch.thresholds.min_psi, watch.thresholds.min_psi_of)
    found = drifts(live, baseline.histograms, shared)
    times = pair.live.times[~older]
    first, last = (datetime.fromtimestamp(us / 1e6, UTC).isoformat() for us in (times.min(), times.max()))
    told: dict[str, Any] = {
        "tag": pair.model.tag,
        "version": contract.model_version,
        "verdict": "drifted" if any(column.drifted for column in found) else "not drifted",
        "customers": len(live),
        "first": first,
        "last": last,
        "baseline": {"kind": watch.baseline.kind, "what": baseline.what, "rows": baseline.rows},
        "age_feature": watch.age_feature if baseline.oldest is not None else None,
        "oldest_in_baseline": baseline.oldest,
        "older_customers_left_out": int(older.sum()),
        "level": shared.alpha / len(found),
        "drifted": [column.column for column in found if column.drifted],
        "columns": [asdict(column) for column in found],
        "page": f"drift-{contract.model_version}.html",
    }
    counts = {name: histogram.count(_told(live, name)) for name, histogram in baseline.histograms.items()}
    return told, drift_page(told, baseline.histograms, counts)


def _logged_baseline(pair: _Pair, window: tuple[datetime, datetime], watch: DriftWatch) -> Baseline:
    rows = pair.before.frame()
    what = f"answers from {window[0].isoformat()} until {window[1].isoformat()}"
    if watch.baseline.kind == "promoted":
        what = f"the first {watch.baseline.days} days of the version in the log: {what}"
    if len(rows) < FEWEST_CUSTOMERS:
        raise NothingToCompareError(
            f"{len(rows):,} customers of {pair.model.tag} in its baseline, {what}; at least {FEWEST_CUSTOMERS} "
            "customers are needed"
        )
    ages = rows[watch.age_feature].to_numpy() if watch.age_feature in rows else np.empty(0)
    ages = ages[np.isfinite(ages)]
    return Baseline(
        histograms={str(name): Histogram.of(_told(rows, str(name))) for name in rows},
        what=what,
        rows=len(rows),
        oldest=float(ages.max()) if len(ages) else None,
    )


def _told(rows: pd.DataFrame, name: str) -> NDArray[np.float64]:
    """A column; of the scores only those that there are: a refused row has none, which says nothing of the scores."""
    values: NDArray[np.float64] = rows[name].to_numpy()
    return values[~np.isnan(values)] if name == SCORE else values


def _refuse_unknown_columns(thresholds: Thresholds, models: list[dict[str, Any]]) -> None:
    known = {column["column"] for model in models for column in model["columns"]}
    if unknown := sorted(set(thresholds.min_psi_of) - known):
        raise JobError(f"JOBS_DRIFT_MIN_PSI_OF: {', '.join(unknown)} is no input of a compared model, nor {SCORE}")
