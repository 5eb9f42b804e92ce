"""Compares champion and challenger on the rows that both scored: do they agree and, with labels, which is better?"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from artefacts.addresses import Artefacts
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
from jobs.quality.comparison_report import PairCurves, comparison_lines, write
from jobs.quality.judging import Judging
from jobs.quality.label_files import read_labels
from jobs.quality.label_values import LABEL_VALUES
from jobs.quality.live_quality import RESAMPLES, SEED
from jobs.quality.paired_scores import BOTH_SCORED, PairedScores, why_incomparable
from jobs.quality.unpaired_rows import count_unpaired
from scoring.evaluation import (
    Estimate,
    LabelsError,
    PairedEstimate,
    compare_scores,
    metrics_of,
    proportion,
)
from scoring.models.model_store import open_model


class NothingPairedError(JobError):
    """No row of the log was scored by a champion and a challenger."""

    exit_code = 4


@dataclass(frozen=True)
class LiveComparison:
    """What to compare.

    out: folder of the report.
    labels: file of labels, see `read_labels`; None compares without.
    since, until: answers of [since, until), UTC; None is an open end.
    populations: the populations to judge beside all rows.

    Raises:
        ArgumentError: a number is out of range.
    """

    out: Path
    labels: Path | None = None
    since: datetime | None = None
    until: datetime | None = None
    resamples: int = RESAMPLES
    populations: Populations = field(default_factory=Populations)

    def __post_init__(self) -> None:
        if self.resamples < 20:
            raise ArgumentError(f"--resamples {self.resamples}: expected at least 20")


@dataclass(frozen=True)
class Judged:
    """Both models on the labelled rows of one population. A difference is the challenger's figure less the champion's.

    metrics: by name; empty if there is a `reason`.
    reason: why there are no figures.
    """

    population: str
    rows: int
    entities: int
    metrics: Mapping[str, PairedEstimate]
    reason: str = ""


@dataclass(frozen=True)
class PairReport:
    """One champion and one challenger.

    rows: number of rows that both looked at.
    scored: number of rows that both scored; agreement, differences and rank correlation are over these.
    champion_only, challenger_only: rows that one scored and the other refused.
    unpaired, silent, others: rows of the champion without a row of the challenger, see `UnpairedRows`.
    agreement: share of equal answers, with its Wilson interval: equal decisions, each by the model's own threshold,
        equal classes, or values that differ by at most a tenth of the champion's mean distance from its median.
    mean_difference, max_difference: of the scores; of probabilities of classes the total variation distance.
    by_champion, by_challenger: share of the rows that each answered.
    """

    champion: str
    challenger: str
    since: str
    until: str
    rows: int
    scored: int
    champion_only: int
    challenger_only: int
    unpaired: int
    silent: int
    others: int
    by_champion: float
    by_challenger: float
    agreement: Estimate | None
    mean_difference: float
    max_difference: float
    rank_correlation: float
    judged: tuple[Judged, ...]


def compare_live(artefacts: Artefacts, wanted: LiveComparison, opened: Opener = open_model) -> dict[str, Any]:
    """Compare, print the tables and write the report.

    The rows of one pair of models are in memory at a time, about 50 bytes each.

    Args:
        opened: a model by its tag.

    Returns:
        What `compare_live.json` holds.

    Raises:
        NothingPairedError: there is nothing to compare, and nothing was written.
        JobError: the labels cannot be used, and nothing was written; or the report is written and files of the log
            could not be read.
    """
    reading = LogReading(artefacts.inference_log, wanted.since, wanted.until, unanswered=True)
    with open_scores(reading, wanted.populations if wanted.labels else None, opened) as scores:
        counts = read_labels(scores, wanted.labels) if wanted.labels else None
        if counts is None:
            label = LABEL_VALUES[scores.task].type
            scores.connection.execute(f"CREATE TABLE labels (request_id VARCHAR, row INTEGER, label {label})")
        scores.connection.execute(
            "CREATE VIEW pairs AS SELECT request_id, row, a.* EXCLUDE (request_id, row), a.model_tag AS champion, "
            "b.model_tag AS challenger, a.score AS before, b.score AS now, "
            "a.answer = b.answer AS agreed, a.answered AS by_champion, b.answered AS by_challenger "
            "FROM (FROM scores WHERE role = 'champion') a JOIN (FROM scores WHERE role = 'challenger') b "
            "USING (request_id, row)"
        )
        models = scores.connection.execute("SELECT DISTINCT champion, challenger FROM pairs ORDER BY ALL").fetchall()
        found, shown = list[PairReport](), list[PairCurves]()
        for champion, challenger in models:
            both = PairedScores.of(scores, champion, challenger)
            if reason := why_incomparable(scores, champion, challenger, both, opened):
                scores.problems.append(f"{champion} and {challenger} are not compared: {reason}")
                continue
            found.append(_pair(scores, champion, challenger, both, wanted.resamples))
            shown.append(both.curves())
    if not found:
        none = "; ".join(["no row was scored by a champion and a challenger", *scores.problems])
        nothing = explain_nothing_found(reading.folder, none)
        raise JobError("; ".join([nothing, *reading.damaged])) if reading.damaged else NothingPairedError(nothing)
    report = {
        "compared_at": datetime.now(UTC).isoformat(),
        "outcome": "incomplete" if reading.damaged else "ok",
        "log": str(reading.folder),
        "since": wanted.since and wanted.since.isoformat(),
        "until": wanted.until and wanted.until.isoformat(),
        "files": reading.files,
        "empty": reading.empty,
        "labels": counts and {"file": str(wanted.labels), **counts.to_dict()},
        "counted": str(counts or "no labels were given"),
        "task": scores.task,
        "resamples": wanted.resamples,
        "pairs": [asdict(pair) for pair in found],
        "notes": scores.problems,
        "problems": reading.damaged,
    }
    write(wanted.out, report, shown)
    for line in comparison_lines(report):
        print(line)
    if reading.damaged:
        rest = "; ".join(reading.damaged)
        raise JobError(f"not every file of the log could be read, the rest is compared in {wanted.out}: {rest}")
    return report


def _pair(scores: LoggedScores, champion: str, challenger: str, both: PairedScores, resamples: int) -> PairReport:
    these = "FROM pairs WHERE champion = ? AND challenger = ?"
    row = scores.connection.execute(
        "SELECT count(*), count(before), count(now), avg(by_champion::INT), "
        f"avg(by_challenger::INT), min(as_of), max(as_of) {these}",
        [champion, challenger],
    ).fetchone()
    assert row is not None  # noqa: S101  # an aggregate without groups is one row
    rows, before, now, by_champion, by_challenger, first, last = row
    alone = count_unpaired(scores, champion, challenger, first, last)
    table, scored = metrics_of(scores.task), len(both.equal)
    change = table.moves(both.before, both.now)
    return PairReport(
        champion=champion,
        challenger=challenger,
        since=first.isoformat(),
        until=last.isoformat(),
        rows=rows,
        scored=scored,
        champion_only=before - scored,
        challenger_only=now - scored,
        unpaired=alone.missed,
        silent=alone.silent,
        others=alone.others,
        by_champion=by_champion,
        by_challenger=by_challenger,
        agreement=proportion(int(both.equal.sum()), scored) if scored else None,
        mean_difference=float(change.mean()) if scored else 0.0,
        max_difference=float(change.max()) if scored else 0.0,
        rank_correlation=table.rank_correlation(both.before, both.now) if scored else 0.0,
        judged=tuple(_judged(scores, champion, challenger, resamples)),
    )


def _judged(scores: LoggedScores, champion: str, challenger: str, resamples: int) -> Iterator[Judged]:
    judging = Judging.of(scores.task, scores.contracts.get(champion) or scores.contracts.get(challenger))
    if judging is None:
        return
    rows = scores.arrays(
        f"SELECT before, now, label, {scores.members()} hash(key) AS entity "  # noqa: S608
        "FROM pairs JOIN labels USING (request_id, row) WHERE champion = ? AND challenger = ? "
        f"AND {BOTH_SCORED} ORDER BY as_of, request_id, row",
        champion,
        challenger,
    )
    labelled = judging.labels(rows["label"])
    populations: dict[str, NDArray[np.bool_]] = {
        EVERYONE: np.ones(len(labelled), dtype=bool),
        **{name: rows[population_column(name)] for name in scores.populations},
    }
    for population, chosen in populations.items():
        if not chosen.any():
            continue
        labels, before, now = labelled[chosen], rows["before"][chosen], rows["now"][chosen]
        entities = entity_numbers(rows["entity"][chosen])
        reason, found = judging.too_few(labels, entities), dict[str, PairedEstimate]()
        try:
            for name, metric in ({} if reason else judging.metrics(judging.reported.compared)).items():
                found[name] = compare_scores(metric, labels, before, now, resamples, SEED, entities)
        except LabelsError as error:
            reason, found = str(error), {}
        yield Judged(population, len(labels), int(entities.max()) + 1, found, reason)
