"""Judges logged answers by labels, for each model version and week, and compares them with training."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from artefacts.addresses import Artefacts
from contract import ModelContract
from contract.model_contract import EVERYONE
from jobs.errors import ArgumentError, JobError
from jobs.inference_log.logged_scores import (
    LoggedScores,
    Populations,
    entity_numbers,
    open_scores,
    population_column,
)
from jobs.inference_log.reading import LogReading, Opener, explain_nothing_found
from jobs.quality.calibration import Calibration, calibration_points
from jobs.quality.figures import FIGURES
from jobs.quality.label_files import read_labels
from jobs.quality.report import ALL_WEEKS, loss_line, quality_lines, write
from jobs.times import format_range
from scoring.evaluation import (
    FEWEST_OF_A_CLASS,
    Bools,
    Estimate,
    Integers,
    evaluate,
)
from scoring.models.model_store import open_model

RESAMPLES = 200
SEED = 17


class NothingLabelledError(JobError):
    """No label belongs to a scored row of the log."""

    exit_code = 4


class QualityError(JobError):
    """Live answers rank customers worse than training measured, beyond chance."""

    exit_code = 3


@dataclass(frozen=True)
class QualityCheck:
    """The answers to judge, and the loss that is allowed.

    labels: file of labels, see `read_labels`.
    out: folder of the report.
    since, until: answers of [since, until), UTC; None is an open end.
    max_auc_loss: the upper end of the newest week's ROC AUC may lie this far below training's.
    populations: the populations to judge beside all rows.

    Raises:
        ArgumentError: a number is out of range.
    """

    labels: Path
    out: Path
    since: datetime | None = None
    until: datetime | None = None
    max_auc_loss: float = 0.05
    resamples: int = RESAMPLES
    populations: Populations = field(default_factory=Populations)

    def __post_init__(self) -> None:
        if not 0 <= self.max_auc_loss <= 1:
            raise ArgumentError(f"--max-auc-loss {self.max_auc_loss}: expected 0 to 1")
        if self.resamples < 20:
            raise ArgumentError(f"--resamples {self.resamples}: expected at least 20")


@dataclass(frozen=True)
class Quality:
    """The quality of one model's answers of one week for one population.

    week: of ISO 8601, or `ALL_WEEKS`.
    population: `all` or a name of `LoggedScores.populations`.
    figures: by the names of `FIGURES`; empty if there is a `reason`.
    gaps: figure less training's figure, which counts as exact; for figures that the model's contract has.
    reason: why there are no figures.
    """

    model: str
    week: str
    population: str
    rows: int
    entities: int
    churned: int
    figures: Mapping[str, Estimate]
    gaps: Mapping[str, Estimate]
    reason: str = ""


def live_quality(artefacts: Artefacts, check: QualityCheck, opened: Opener = open_model) -> dict[str, Any]:
    """Judge the labelled answers, print the table and write the report.

    A model's rows are in memory one model at a time, about 30 bytes each.

    Args:
        opened: a model by its tag.

    Returns:
        What `live_quality.json` holds.

    Raises:
        NothingLabelledError: there is nothing to judge, and nothing was written.
        QualityError: the report is written; the loss is larger than allowed.
        JobError: the labels cannot be used, and nothing was written; or the report is written and files of the log, or
            models, could not be read.
    """
    reading = LogReading(artefacts.inference_log, check.since, check.until)
    with open_scores(reading, check.populations, opened) as scores:
        counts = read_labels(scores, check.labels)
        answered = scores.count("SELECT count(*) FROM scores")
        problems = [*reading.damaged, *scores.problems]
        found, calibrations = list[Quality](), list[Calibration]()
        for model in _models(scores):
            rows = _labelled_rows(scores, model)
            populations = _populations(rows, scores.populations)
            found += _judged(rows, populations, model, scores.contracts.get(model), check.resamples)
            calibrations += _calibrations(rows, populations, model)
        rules = scores.rules(check.populations)
        training = {tag: dict(contract.metrics) for tag, contract in scores.contracts.items()}
        models = {tag: {"name": c.model_name, "version": c.model_version} for tag, c in scores.contracts.items()}
    if not found:
        nothing = f"no label belongs to a scored row: {counts}"
        if not answered:
            nothing = explain_nothing_found(reading.folder, f"no answered row {format_range(check.since, check.until)}")
        raise JobError("; ".join([nothing, *problems])) if problems else NothingLabelledError(nothing)
    verdicts = _verdicts(found, training, check.max_auc_loss)
    lost = [verdict for verdict in verdicts if verdict["lost"]]
    report = {
        "judged_at": datetime.now(UTC).isoformat(),
        "outcome": "worse than training" if lost else "incomplete" if problems else "ok" if verdicts else "not judged",
        "log": str(reading.folder),
        "since": check.since and check.since.isoformat(),
        "until": check.until and check.until.isoformat(),
        "files": reading.files,
        "empty": reading.empty,
        "labels": {"file": str(check.labels), **counts.to_dict()},
        "counted": str(counts),
        "active": sorted({rule for found in rules.values() for rule in found}),
        "resamples": check.resamples,
        "verdicts": verdicts,
        "models": models,
        "training": training,
        "quality": [asdict(quality) for quality in found],
        "problems": problems,
    }
    write(check.out, report, calibrations)
    for line in quality_lines(report):
        print(line)
    if lost:
        raise QualityError("; ".join([*map(loss_line, lost), *problems]) + f"; see {check.out / 'live_quality.html'}")
    if problems:
        raise JobError(f"not everything could be judged, the rest is in {check.out}: {'; '.join(problems)}")
    return report


def _models(scores: LoggedScores) -> list[str]:
    found = scores.connection.execute(
        "SELECT DISTINCT model_tag FROM scores SEMI JOIN labels USING (request_id, row) "
        "WHERE score IS NOT NULL ORDER BY 1"
    )
    return [tag for (tag,) in found.fetchall()]


def _labelled_rows(scores: LoggedScores, model: str) -> Mapping[str, NDArray[Any]]:
    """The model's scored rows that have a label, in the order of their requests; columns (n,)."""
    return scores.arrays(
        "SELECT strftime(as_of, '%G-W%V') AS week, score AS probability, churned, "  # noqa: S608
        f"{scores.members()} hash(key) AS customer "
        "FROM scores JOIN labels USING (request_id, row) "
        "WHERE model_tag = ? AND score IS NOT NULL ORDER BY as_of, request_id, row",
        model,
    )


def _populations(rows: Mapping[str, NDArray[Any]], names: Sequence[str]) -> dict[str, Bools]:
    """Population → which of n rows belong to it; only `all` and those with rows."""
    found = {name: rows[population_column(name)] for name in names}
    return {EVERYONE: np.ones(len(rows["week"]), dtype=bool), **{name: of for name, of in found.items() if of.any()}}


def _calibrations(
    rows: Mapping[str, NDArray[Any]], populations: Mapping[str, Bools], model: str
) -> Iterator[Calibration]:
    for population, chosen in populations.items():
        churned, probability = rows["churned"][chosen], rows["probability"][chosen]
        if not too_few(churned, entity_numbers(rows["customer"][chosen])):
            yield Calibration(model, population, calibration_points(churned, probability))


def _judged(
    rows: Mapping[str, NDArray[Any]],
    populations: Mapping[str, Bools],
    model: str,
    contract: ModelContract | None,
    resamples: int,
) -> Iterator[Quality]:
    training = contract.metrics if contract else {}
    for week in (ALL_WEEKS, *np.unique(rows["week"])):
        within = populations[EVERYONE] if week == ALL_WEEKS else rows["week"] == week
        for population, members in populations.items():
            chosen = within & members
            if not chosen.any():
                continue
            customers = entity_numbers(rows["customer"][chosen])
            churned, probability = rows["churned"][chosen], rows["probability"][chosen]
            reason = too_few(churned, customers)
            figures = {} if reason else evaluate(churned, probability, FIGURES, resamples, SEED, customers)
            yield Quality(
                model=model,
                week=str(week),
                population=population,
                rows=len(churned),
                entities=int(customers.max()) + 1,
                churned=int(churned.sum()),
                figures=figures,
                gaps={
                    name: Estimate(e.value - promised, e.low - promised, e.high - promised)
                    for name, e in figures.items()
                    if (promised := training.get(f"{population}_{name}")) is not None
                },
                reason=reason,
            )


def too_few(churned: Bools, customers: Integers) -> str:
    """Why these rows, (n,), are too few for figures; empty if they are enough."""
    of_class = {name: len(np.unique(customers[kind])) for name, kind in (("churned", churned), ("stayed", ~churned))}
    if min(of_class.values()) >= FEWEST_OF_A_CLASS:
        return ""
    said = " and ".join(f"{count} who {name}" for name, count in of_class.items())
    return f"too few customers: {said}, at least {FEWEST_OF_A_CLASS} of each are needed"


def _verdicts(
    found: list[Quality], training: Mapping[str, Mapping[str, float]], max_auc_loss: float
) -> list[dict[str, Any]]:
    """A verdict on each model of the newest week with figures, on the population that training judges by."""

    def headline(quality: Quality) -> bool:
        known = any(other.population == "active" for other in found if other.model == quality.model)
        judged_by = "active" if known and "active_roc_auc" in training.get(quality.model, {}) else "all"
        return quality.population == judged_by and "roc_auc" in quality.gaps

    judged = [quality for quality in found if quality.week != ALL_WEEKS and headline(quality)]
    newest = max((quality.week for quality in judged), default="")
    return [
        {
            "model": quality.model,
            "week": quality.week,
            "population": quality.population,
            "roc_auc": str(quality.figures["roc_auc"]),
            "training": training[quality.model][f"{quality.population}_roc_auc"],
            "max_auc_loss": max_auc_loss,
            "lost": quality.gaps["roc_auc"].high < -max_auc_loss,
        }
        for quality in judged
        if quality.week == newest
    ]
