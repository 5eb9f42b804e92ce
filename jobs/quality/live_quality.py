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
from jobs.quality.calibration import Calibration, calibration_of
from jobs.quality.figures import interval_text
from jobs.quality.judging import Judging, allowed_loss, has_lost
from jobs.quality.label_files import read_labels
from jobs.quality.report import ALL_WEEKS, loss_line, quality_lines, write
from jobs.times import format_range
from scoring.evaluation import Bools, Estimate, LabelsError, evaluate
from scoring.models.model_store import open_model

RESAMPLES = 200
SEED = 17


class NothingLabelledError(JobError):
    """No label belongs to a scored row of the log."""

    exit_code = 4


class QualityError(JobError):
    """Live answers are worse than training measured, beyond chance."""

    exit_code = 3


@dataclass(frozen=True)
class QualityCheck:
    """The answers to judge, and the loss that is allowed.

    labels: file of labels, see `read_labels`.
    out: folder of the report.
    since, until: answers of [since, until), UTC; None is an open end.
    max_loss: the better end of the headline metric's interval in the newest week may be this much worse than
        training's; of a metric in the target's unit it is a share of training's.
    populations: the populations to judge beside all rows.

    Raises:
        ArgumentError: a number is out of range.
    """

    labels: Path
    out: Path
    since: datetime | None = None
    until: datetime | None = None
    max_loss: float = 0.05
    resamples: int = RESAMPLES
    populations: Populations = field(default_factory=Populations)

    def __post_init__(self) -> None:
        if not 0 <= self.max_loss <= 1:
            raise ArgumentError(f"--max-loss {self.max_loss}: expected 0 to 1")
        if self.resamples < 20:
            raise ArgumentError(f"--resamples {self.resamples}: expected at least 20")


@dataclass(frozen=True)
class Quality:
    """The quality of one model's answers of one week for one population.

    week: of ISO 8601, or `ALL_WEEKS`.
    population: `all` or a name of `LoggedScores.populations`.
    classes: name of the class → rows labelled with it; empty for a regression.
    figures: by the names of `ReportedFigures.live`; empty if there is a `reason`.
    gaps: figure less training's figure, which counts as exact; for figures that the model's contract has.
    reason: why there are no figures.
    """

    model: str
    week: str
    population: str
    rows: int
    entities: int
    classes: Mapping[str, int]
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
        found, calibrations, judgings = list[Quality](), list[Calibration](), dict[str, Judging]()
        for model in _models(scores):
            contract = scores.contracts.get(model)
            judging = Judging.of(scores.task, contract)
            if judging is None:
                continue
            rows = _labelled_rows(scores, model, judging)
            populations = _populations(rows, scores.populations)
            try:
                judged = list(_judged(rows, populations, model, judging, contract, check.resamples))
            except LabelsError as error:
                problems.append(f"model {model}: {error}")
                continue
            found += judged
            calibrations += _calibrations(rows, populations, model, judging)
            judgings[model] = judging
        rules = scores.rules(check.populations)
        training = {tag: dict(contract.metrics) for tag, contract in scores.contracts.items()}
        models = {tag: {"name": c.model_name, "version": c.model_version} for tag, c in scores.contracts.items()}
    if not found:
        nothing = f"no label belongs to a scored row: {counts}"
        if not answered:
            nothing = explain_nothing_found(reading.folder, f"no answered row {format_range(check.since, check.until)}")
        raise JobError("; ".join([nothing, *problems])) if problems else NothingLabelledError(nothing)
    verdicts = _verdicts(found, training, judgings, check.max_loss)
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
        "task": scores.task,
        "headlines": {model: judging.headline.model_dump() for model, judging in judgings.items()},
        "populations": rules,
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
        raise QualityError(
            "; ".join([*(loss_line(verdict, scores.task) for verdict in lost), *problems])
            + f"; see {check.out / 'live_quality.html'}"
        )
    if problems:
        raise JobError(f"not everything could be judged, the rest is in {check.out}: {'; '.join(problems)}")
    return report


def _models(scores: LoggedScores) -> list[str]:
    found = scores.connection.execute(
        "SELECT DISTINCT model_tag FROM scores SEMI JOIN labels USING (request_id, row) "
        "WHERE score IS NOT NULL ORDER BY 1"
    )
    return [tag for (tag,) in found.fetchall()]


def _labelled_rows(scores: LoggedScores, model: str, judging: Judging) -> Mapping[str, NDArray[Any]]:
    """The model's scored rows that have a label, in the order of their requests; columns (n,), `score` maybe (n, c)."""
    rows = scores.arrays(
        "SELECT strftime(as_of, '%G-W%V') AS week, score, label, "  # noqa: S608
        f"{scores.members()} hash(key) AS entity "
        "FROM scores JOIN labels USING (request_id, row) "
        "WHERE model_tag = ? AND score IS NOT NULL ORDER BY as_of, request_id, row",
        model,
    )
    return {**rows, "label": judging.labels(rows["label"])}


def _populations(rows: Mapping[str, NDArray[Any]], names: Sequence[str]) -> dict[str, Bools]:
    """Population → which of n rows belong to it; only `all` and those with rows."""
    found = {name: rows[population_column(name)] for name in names}
    return {EVERYONE: np.ones(len(rows["week"]), dtype=bool), **{name: of for name, of in found.items() if of.any()}}


def _calibrations(
    rows: Mapping[str, NDArray[Any]], populations: Mapping[str, Bools], model: str, judging: Judging
) -> Iterator[Calibration]:
    for population, chosen in populations.items():
        labels, scores = rows["label"][chosen], rows["score"][chosen]
        if not judging.too_few(labels, entity_numbers(rows["entity"][chosen])):
            yield calibration_of(model, population, judging, labels, scores)


def _judged(
    rows: Mapping[str, NDArray[Any]],
    populations: Mapping[str, Bools],
    model: str,
    judging: Judging,
    contract: ModelContract | None,
    resamples: int,
) -> Iterator[Quality]:
    training = contract.metrics if contract else {}
    metrics = judging.metrics(judging.reported.live)
    for week in (ALL_WEEKS, *np.unique(rows["week"])):
        within = populations[EVERYONE] if week == ALL_WEEKS else rows["week"] == week
        for population, members in populations.items():
            chosen = within & members
            if not chosen.any():
                continue
            entities = entity_numbers(rows["entity"][chosen])
            labels, scores = rows["label"][chosen], rows["score"][chosen]
            reason = judging.too_few(labels, entities)
            figures = {} if reason else evaluate(labels, scores, metrics, resamples, SEED, entities)
            yield Quality(
                model=model,
                week=str(week),
                population=population,
                rows=len(labels),
                entities=int(entities.max()) + 1,
                classes=judging.counts(labels),
                figures=figures,
                gaps={
                    name: Estimate(e.value - promised, e.low - promised, e.high - promised)
                    for name, e in figures.items()
                    if (promised := training.get(f"{population}_{name}")) is not None
                },
                reason=reason,
            )


def _verdicts(
    found: list[Quality],
    training: Mapping[str, Mapping[str, float]],
    judgings: Mapping[str, Judging],
    max_loss: float,
) -> list[dict[str, Any]]:
    """A verdict on each model of the newest week with figures, by the headline of its contract.

    A metric without a better direction gives none. If no row of the headline's population was answered, or training
    did not report on it, all rows are judged.
    """

    def is_headline(quality: Quality) -> bool:
        population, metric = judgings[quality.model].headline.population, judgings[quality.model].headline.metric
        known = any(other.population == population for other in found if other.model == quality.model)
        judged_by = population if known and f"{population}_{metric}" in training.get(quality.model, {}) else EVERYONE
        has_direction = judgings[quality.model].table.metric(metric).higher_is_better is not None
        return quality.population == judged_by and metric in quality.gaps and has_direction

    judged = [quality for quality in found if quality.week != ALL_WEEKS and is_headline(quality)]
    newest = max((quality.week for quality in judged), default="")
    return [
        _verdict(quality, judgings[quality.model], training[quality.model], max_loss)
        for quality in judged
        if quality.week == newest
    ]


def _verdict(quality: Quality, judging: Judging, training: Mapping[str, float], max_loss: float) -> dict[str, Any]:
    name = judging.headline.metric
    metric, promised = judging.table.metric(name), training[f"{quality.population}_{name}"]
    return {
        "model": quality.model,
        "week": quality.week,
        "population": quality.population,
        "metric": name,
        "figure": interval_text(asdict(quality.figures[name]), metric.format),
        "training": promised,
        "max_loss": max_loss,
        "lost": has_lost(metric, quality.gaps[name], allowed_loss(metric, max_loss, promised)),
    }
