"""Compares the inference log with a baseline: which inputs have drifted, and have the scores?

Each entity counts once, with the latest row, because many requests for one entity are no evidence of a change.
Each model gets one verdict here. Page, exit code, metrics and JSON all report it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np

from contract import ModelContract
from jobs.drift.baseline import Baseline, BaselineChoice, counts_of, trained_baseline
from jobs.drift.page import drift_page, metrics_of
from jobs.drift.rows import DriftLog, LatestRows
from jobs.drift.score_columns import score_columns
from jobs.drift.statistics import Thresholds, compare_columns, values_of
from jobs.errors import JobError
from jobs.inference_log.reading import Opener, explain_nothing_found
from jobs.reports.files import write_report
from jobs.settings import JobsSettings
from jobs.times import format_range, unix_us
from scoring.errors import ModelError
from scoring.models.imported_model import ImportedModel
from scoring.models.model_store import open_model

FEWEST_ENTITIES = 200
"""Fewer would tell little, and mislead about rare values."""


class NothingToCompareError(JobError):
    """The log holds too few entities in the time range or in the baseline."""

    exit_code = 4


class DriftError(JobError):
    """Live values differ from the baseline. That is a finding, not a failure."""

    exit_code = 3
    prefix = "drifted"


@dataclass(frozen=True)
class DriftWatch:
    """What to compare.

    out: folder of the report.
    since, until: live rows are those in [since, until), UTC; None is an open end. Rows of the baseline are not live
        rows. Without `since`, neither are rows before the baseline.
    age_feature: the input that says for how long an entity has been known; empty: the one that the contract names.
    """

    out: Path
    since: datetime | None = None
    until: datetime | None = None
    baseline: BaselineChoice = field(default_factory=lambda: BaselineChoice("training"))
    thresholds: Thresholds = field(default_factory=Thresholds)
    age_feature: str = ""

    def age_of(self, contract: ModelContract) -> str:
        """The input that says for how long an entity has been known; empty if none does."""
        return self.age_feature or contract.age_feature or ""

    @classmethod
    def of(
        cls,
        settings: JobsSettings,
        out: Path,
        since: datetime | None = None,
        until: datetime | None = None,
        baseline: str | None = None,
    ) -> Self:
        """Take everything else from the settings.

        Raises:
            ArgumentError: the baseline cannot be parsed.
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
class _VersionRows:
    """The live rows of one version, and its baseline rows if they come from the log.

    before: the baseline rows, and window: their time range [from, to).
    """

    model: ImportedModel
    live: LatestRows
    before: LatestRows
    window: tuple[datetime, datetime] | None


def watch_drift(log: Path, watch: DriftWatch, opened: Opener = open_model) -> dict[str, Any]:
    """Compare every model's answered rows; write `drift.json`, `drift-<version>.html`, `drift.prom`.

    Args:
        log: the inference log's folder.

    Returns:
        What `drift.json` holds.

    Raises:
        NothingToCompareError: no model has enough entities on both sides; nothing was written.
        DriftError: the report is written and something has drifted.
        JobError: a threshold names an unknown column; or nothing could be compared; or the report is written, and a
            file or a model could not be used.
    """
    reading = DriftLog(log, opened)
    versions = _versions(reading, watch)
    few: list[str] = []
    models, pages = [], {}
    for version in versions:
        try:
            made, page = _compared(version, watch, len(versions))
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
        raise NothingToCompareError(explain_nothing_found(log, found_few))
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
    """The outcome in lines for a terminal."""
    compared = (
        f"version {model['version']}: {len(model['columns'])} columns of {model['entities']:,} entities, "
        f"none drifted; baseline: {model['baseline']['rows']:,} rows of {model['baseline']['what']}"
        for model in report["models"]
    )
    return "\n".join([*compared, *(f"not compared: {few}" for few in report["too_few"])])


def _versions(reading: DriftLog, watch: DriftWatch) -> list[_VersionRows]:
    choice = watch.baseline
    first = reading.first_answers() if choice.kind == "promoted" else {}
    found: dict[str, _VersionRows] = {}
    for model, rows in reading.chunks(watch.since, watch.until):
        window = choice.window(first.get(model.tag) or datetime.fromtimestamp(rows.as_of_us.min() / 1e6, UTC))
        version = found.setdefault(
            model.tag, _VersionRows(model, LatestRows(model.contract), LatestRows(model.contract), window)
        )
        if window:
            begin, end = unix_us(window[0]), unix_us(window[1])
            live = rows.as_of_us >= end if watch.since is None else (rows.as_of_us < begin) | (rows.as_of_us >= end)
            rows = rows.take(np.flatnonzero(live))
        version.live.add(rows, model, model)
    windows = [version.window for version in found.values() if version.window]
    if windows:
        span = min(begin for begin, _ in windows), max(end for _, end in windows)
        for by, rows in reading.chunks(*span):
            for version in found.values():
                if version.window and (choice.kind == "period" or by.tag == version.model.tag):
                    begin, end = map(unix_us, version.window)
                    within = np.flatnonzero((rows.as_of_us >= begin) & (rows.as_of_us < end))
                    try:
                        version.before.add(rows.take(within), by, version.model)
                    except ModelError as error:
                        reading.add_problem(f"rows of model {by.tag} are in no baseline: {error}")
    return [version for tag, version in found.items() if tag not in reading.unusable]


def _compared(version: _VersionRows, watch: DriftWatch, models: int) -> tuple[dict[str, Any], str]:
    """The entry of `drift.json` for one version, and its page.

    Args:
        models: number of models in this report; they share its rate of false alarms.
    """
    contract = version.model.contract
    age_feature = watch.age_of(contract)
    if version.window is None:
        baseline = trained_baseline(contract, age_feature)
    else:
        baseline = _logged_baseline(version, version.window, watch)
    rows = version.live.frame()
    older = np.zeros(len(rows), dtype=bool)
    if baseline.oldest is not None:
        older = rows[age_feature].to_numpy() > baseline.oldest
    live = rows[~older]
    if len(live) < FEWEST_ENTITIES:
        but = f", {older.sum():,} more are older than all of the baseline" if older.any() else ""
        raise NothingToCompareError(
            f"{len(live):,} entities of {version.model.tag}{but}; at least {FEWEST_ENTITIES} entities are needed"
            + ("; BASELINE=promoted or a period of the log has entities of later days" if older.any() else "")
        )
    shared = Thresholds(watch.thresholds.alpha / models, watch.thresholds.min_psi, watch.thresholds.min_psi_of)
    scores = score_columns(contract)
    found = compare_columns(live, baseline.counts, shared, scores)
    times = version.live.times[~older]
    first, last = (datetime.fromtimestamp(us / 1e6, UTC).isoformat() for us in (times.min(), times.max()))
    told: dict[str, Any] = {
        "tag": version.model.tag,
        "model": contract.model_name,
        "version": contract.model_version,
        "verdict": "drifted" if any(column.drifted for column in found) else "not drifted",
        "entities": len(live),
        "first": first,
        "last": last,
        "baseline": {"kind": watch.baseline.kind, "what": baseline.what, "rows": baseline.rows},
        "age_feature": age_feature if baseline.oldest is not None else None,
        "oldest_in_baseline": baseline.oldest,
        "older_left_out": int(older.sum()),
        "level": shared.alpha / len(found),
        "drifted": [column.column for column in found if column.drifted],
        "columns": [asdict(column) for column in found],
        "page": f"drift-{contract.model_version}.html",
    }
    counts = {name: counted.count(values_of(live, name, scores)) for name, counted in baseline.counts.items()}
    return told, drift_page(
        told, baseline.counts, counts, {of.name: of.vocabulary for of in contract.inputs if of.vocabulary}
    )


def _logged_baseline(version: _VersionRows, window: tuple[datetime, datetime], watch: DriftWatch) -> Baseline:
    rows = version.before.frame()
    what = f"answers from {window[0].isoformat()} until {window[1].isoformat()}"
    if watch.baseline.kind == "promoted":
        what = f"the first {watch.baseline.days} days of the version in the log: {what}"
    if len(rows) < FEWEST_ENTITIES:
        raise NothingToCompareError(
            f"{len(rows):,} entities of {version.model.tag} in its baseline, {what}; at least {FEWEST_ENTITIES} "
            "entities are needed"
        )
    contract = version.model.contract
    age_feature = watch.age_of(contract)
    ages = rows[age_feature].to_numpy() if age_feature in rows else np.empty(0)
    ages = ages[np.isfinite(ages)]
    scores = score_columns(contract)
    counted = {given.name: counts_of(rows[given.name].to_numpy(), given) for given in contract.inputs}
    return Baseline(
        counts=counted | {name: column.counted(values_of(rows, name, scores)) for name, column in scores.items()},
        what=what,
        rows=len(rows),
        oldest=float(ages.max()) if len(ages) else None,
    )


def _refuse_unknown_columns(thresholds: Thresholds, models: list[dict[str, Any]]) -> None:
    known = {column["column"] for model in models for column in model["columns"]}
    if unknown := sorted(set(thresholds.min_psi_of) - known):
        raise JobError(f"JOBS_DRIFT_MIN_PSI_OF: {', '.join(unknown)} is no input or score of a compared model")
