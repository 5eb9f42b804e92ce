"""Compares two versions on the same rows: quality, segments, changed decisions, speed. Functions of arrays."""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from contract import FeatureInput
from contract.model_contract import EVERYONE
from contract.values.vocabulary import MISSING_CODE, UNSEEN_CODE
from scoring.evaluation import (
    Bools,
    Floats,
    Labels,
    Metric,
    PairedEstimate,
    Scored,
    compare_scores,
    metrics_of,
    standard_error_interval,
)
from training.errors import DatasetError
from training.gate.verdicts import JudgedMetric, improvement, verdict_on
from training.settings import TrainingSettings
from training.use_case import UseCase

TIMED_ROWS = (1, 1_000)
MOST_SEGMENTS = 10
"""Values of one category that are segments of their own."""


@dataclass(frozen=True)
class ScoredVersion:
    """One version's scores of n rows, and its cost.

    scored: scores (n,) or (n, c), and the decision threshold where the task has one.
    compiled_bytes: size of the served file.
    microseconds: number of rows → time of one call.
    """

    scored: Scored
    compiled_bytes: int
    microseconds: Mapping[int, float]


@dataclass(frozen=True)
class ChampionComparison:
    """Champion against candidate on n rows that neither was fitted on.

    headline_rows: rows of the headline population.
    confidence: of every interval of a paired difference.
    headline: the headline metric of its population.
    calibration: the calibration metric of all rows.
    further: the task's other metrics of all rows, by name; for information only.
    segments: the headline metric by segment.
    changed_decisions: share of rows that are decided differently, see `TaskMetrics.changed_decisions`.
    mean_change: by how much a score moves on average.
    rank_correlation: Spearman's, of the scores.
    """

    rows: int
    headline_rows: int
    confidence: float
    headline: JudgedMetric
    calibration: JudgedMetric
    further: dict[str, PairedEstimate]
    segments: tuple[JudgedMetric, ...]
    changed_decisions: float
    mean_change: float
    rank_correlation: float
    champion_bytes: int
    candidate_bytes: int
    champion_microseconds: dict[int, float]
    candidate_microseconds: dict[int, float]

    @property
    def judged(self) -> tuple[JudgedMetric, ...]:
        """All metrics with a verdict."""
        return self.headline, self.calibration, *self.segments

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [
            f"{self.rows:,} rows that neither was fitted on, {self.headline_rows:,} of the headline population; "
            f"champion → candidate, {100 * self.confidence:g} % intervals",
            *(f"  {judged}" for judged in self.judged),
            *(f"  {name} of all rows {paired}" for name, paired in self.further.items()),
        ]
        lines.append(
            f"  decisions that change {self.changed_decisions:.1%}; mean change of a score "
            f"{self.mean_change:.4g}; rank correlation {self.rank_correlation:.4f}"
        )
        for rows in TIMED_ROWS:
            before, now = self.champion_microseconds[rows], self.candidate_microseconds[rows]
            lines.append(f"  compiled model, {rows:,} rows: {before:,.0f} → {now:,.0f} µs")
        lines.append(f"  compiled model: {self.champion_bytes:,} → {self.candidate_bytes:,} bytes")
        return "\n".join(lines)


@dataclass(frozen=True)
class PairedScores:
    """Judges metrics of two models' scores of the same rows.

    labels, champion, candidate: (n,); scores of a multi-class task (n, c).
    """

    case: UseCase
    settings: TrainingSettings
    labels: Labels
    champion: Floats
    candidate: Floats

    def judged(self, what: str, metric: Metric, chosen: Bools, margin: float) -> JudgedMetric:
        """The metric of the chosen rows, and the verdict on the candidate."""
        labels, found, better = self.labels[chosen], None, None
        if not metrics_of(self.case.task.kind).too_few(labels, None, self.case.task.class_names):
            found = self.compared(metric, chosen)
            better = improvement(metric, found.difference)
        return JudgedMetric(what, len(labels), found, margin, verdict_on(better, margin))

    def compared(self, metric: Metric, chosen: Bools) -> PairedEstimate:
        """The metric of both scores of the chosen rows."""
        settings = self.settings
        interval = standard_error_interval(settings.gate_confidence, metric.corrected)
        rows = self.labels[chosen], self.champion[chosen], self.candidate[chosen]
        return compare_scores(metric, *rows, settings.bootstrap_resamples, settings.seed, None, interval)


def compare(
    case: UseCase,
    labels: Labels,
    populations: Mapping[str, Bools],
    champion: ScoredVersion,
    candidate: ScoredVersion,
    segments: Mapping[str, Bools],
    settings: TrainingSettings,
) -> ChampionComparison:
    """Compare a candidate with the champion.

    Args:
        labels: (n,), as the task's metrics take them.
        populations: name → mask (n,), with `all`.
        segments: name → mask (n,).
    """
    task = metrics_of(case.task.kind)
    population, name = case.judged_by
    headline = task.metric(name)
    before, now = champion.scored, candidate.scored
    paired = PairedScores(case, settings, labels, before.scores, now.scores)
    everyone = populations[EVERYONE]
    changed = task.changed_decisions(before, now, task.scale_of(labels))
    return ChampionComparison(
        rows=len(labels),
        headline_rows=int(populations[population].sum()),
        confidence=settings.gate_confidence,
        headline=paired.judged(
            f"{headline.title} of {population} rows", headline, populations[population], settings.max_auc_loss
        ),
        calibration=paired.judged(
            f"{task.calibration.title} of all rows", task.calibration, everyone, settings.max_calibration_loss
        ),
        further={
            metric.title: paired.compared(metric, everyone)
            for metric in task.metrics.values()
            if metric.higher_is_better is not None and metric is not headline
        },
        segments=tuple(
            paired.judged(f"{headline.title} of rows with {segment}", headline, chosen, settings.max_segment_auc_loss)
            for segment, chosen in segments.items()
        ),
        changed_decisions=float(changed.mean()),
        mean_change=float(task.moves(before.scores, now.scores).mean()),
        rank_correlation=task.rank_correlation(before.scores, now.scores),
        champion_bytes=champion.compiled_bytes,
        candidate_bytes=candidate.compiled_bytes,
        champion_microseconds=dict(champion.microseconds),
        candidate_microseconds=dict(candidate.microseconds),
    )


def segments_of(matrix: pd.DataFrame, described: str, inputs: Sequence[FeatureInput] = ()) -> dict[str, Bools]:
    """Name → mask (n,) of each segment in `TrainingSettings.segments`.

    Args:
        matrix: as the model sees it.
        described: separated by spaces: `feature` for its terciles, or `feature:2:4` for < 2, 2 to < 4, and ≥ 4. Of a
            category, `feature` stands for each of its `MOST_SEGMENTS` most frequent values, and the others together.
        inputs: of the model; those that are not given are numbers.

    Raises:
        DatasetError: a feature is not an input of the model.
    """
    categories = {given.name: given.vocabulary for given in inputs if given.vocabulary is not None}
    found: dict[str, Bools] = {}
    for description in described.split():
        feature, *named = description.split(":")
        if feature not in matrix:
            raise DatasetError(f"TRAINING_SEGMENTS: {feature!r} is not an input of the model")
        values = matrix[feature].to_numpy(dtype=np.float64)
        if feature in categories:
            parts = _by_value(values, categories[feature])
        else:
            parts = _between(values, [float(edge) for edge in named])
        for name, mask in parts:
            if mask.any():
                found[f"{feature} {name}"] = mask
    return found


def _by_value(codes: Floats, vocabulary: Sequence[object]) -> Iterator[tuple[str, Bools]]:
    there, counts = np.unique(codes[codes >= 0], return_counts=True)
    frequent = there[np.argsort(-counts, kind="stable")[:MOST_SEGMENTS]]
    for code in np.sort(frequent):
        yield f"= {vocabulary[int(code)]}", codes == code
    yield "of another value", (codes >= 0) & ~np.isin(codes, frequent)
    yield "unseen", codes == UNSEEN_CODE
    yield "null", codes == MISSING_CODE


def _between(values: Floats, named: list[float]) -> Iterator[tuple[str, Bools]]:
    there = values[~np.isnan(values)]
    edges = named or ([float(q) for q in np.quantile(there, [1 / 3, 2 / 3])] if len(there) else [])
    if edges:
        yield f"< {edges[0]:g}", values < edges[0]
        for low, high in itertools.pairwise(edges):
            yield f"from {low:g} to < {high:g}", (values >= low) & (values < high)
        yield f"≥ {edges[-1]:g}", values >= edges[-1]
    yield "null", np.isnan(values)


def time_calls(calls: Mapping[str, Callable[[int], object]], rounds: int) -> dict[str, dict[int, float]]:
    """Time the fastest of `rounds` calls: name → number of rows → microseconds.

    The calls alternate, so that other load affects all of them. The minimum, not the median: other load interrupts a
    long call more often than a short one.

    Args:
        calls: name → function that scores a given number of rows.
    """
    found: dict[str, dict[int, float]] = {name: {} for name in calls}
    for rows in TIMED_ROWS:
        taken: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(rounds):
            for name, call in calls.items():
                start = time.perf_counter()
                call(rows)
                taken[name].append(time.perf_counter() - start)
        for name, seconds in taken.items():
            found[name][rows] = min(seconds) * 1e6
    return found
