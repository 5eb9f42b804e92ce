"""Two versions on the same customers: how much better, for whom, how differently, how fast; functions of arrays."""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from scoring.evaluation import (
    FEWEST_OF_A_CLASS,
    PROBABILITY_METRICS,
    RANKING_METRICS,
    Bools,
    Floats,
    Metric,
    PairedEstimate,
    calibration_error,
    compare_scores,
    rank_correlation,
    standard_error_interval,
)
from training.errors import DatasetError
from training.gate.verdicts import Judged, less_is_better, verdict_on
from training.settings import TrainingSettings

TIMED_ROWS = (1, 1_000)


@dataclass(frozen=True)
class Scored:
    """What one version says of n customers, and what it costs to ask it.

    probability: (n,).
    threshold: at or above it the customer is called churned.
    compiled_bytes: of the file that is served.
    microseconds: rows → time of one call with so many rows.
    """

    probability: Floats
    threshold: float
    compiled_bytes: int
    microseconds: Mapping[int, float]


@dataclass(frozen=True)
class Comparison:
    """Champion and candidate on n rows that neither was fitted on.

    confidence: of every interval, of paired differences.
    headline: ROC AUC of active customers.
    calibration: expected calibration error over all customers, corrected for what chance adds to it.
    brier: over all customers; decides nothing.
    segments: ROC AUC of parts of the customers.
    changed_decisions: share of customers whom they call differently, each by its own threshold.
    mean_change: mean |difference| of the probability.
    rank_correlation: Spearman's, of the probabilities.
    """

    rows: int
    active_rows: int
    confidence: float
    headline: Judged
    calibration: Judged
    brier: PairedEstimate
    segments: tuple[Judged, ...]
    changed_decisions: float
    mean_change: float
    rank_correlation: float
    champion_bytes: int
    candidate_bytes: int
    champion_microseconds: dict[int, float]
    candidate_microseconds: dict[int, float]

    @property
    def judged(self) -> tuple[Judged, ...]:
        """Every figure with a verdict."""
        return self.headline, self.calibration, *self.segments

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [
            f"{self.rows:,} rows that neither was fitted on, {self.active_rows:,} of active customers; "
            f"champion → candidate, {100 * self.confidence:g} % intervals",
            *(f"  {judged}" for judged in self.judged),
            f"  Brier score of all customers {self.brier}",
        ]
        lines.append(
            f"  decisions that change {self.changed_decisions:.1%}; mean change of a probability "
            f"{self.mean_change:.4f}; rank correlation {self.rank_correlation:.4f}"
        )
        for rows in TIMED_ROWS:
            before, now = self.champion_microseconds[rows], self.candidate_microseconds[rows]
            lines.append(f"  compiled model, {rows:,} rows: {before:,.0f} → {now:,.0f} µs")
        lines.append(f"  compiled model: {self.champion_bytes:,} → {self.candidate_bytes:,} bytes")
        return "\n".join(lines)


def compare(
    churned: Bools,
    active: Bools,
    champion: Scored,
    candidate: Scored,
    segments: Mapping[str, Bools],
    settings: TrainingSettings,
) -> Comparison:
    """Hold a candidate against the champion.

    Args:
        churned, active: (n,), as in `training.data.dataset.LabelledRows`.
        segments: name → mask (n,).
    """
    before, now = champion.probability, candidate.probability

    def paired(metric: Metric, corrected: bool = False) -> PairedEstimate:
        interval = standard_error_interval(settings.gate_confidence, corrected)
        return compare_scores(metric, churned, before, now, settings.bootstrap_resamples, settings.seed, None, interval)

    def roc_auc(what: str, chosen: Bools, margin: float) -> Judged:
        return judge_roc_auc(what, churned[chosen], before[chosen], now[chosen], margin, settings)

    calibrated = paired(calibration_error, corrected=True)
    allowed = settings.max_calibration_loss
    return Comparison(
        rows=len(churned),
        active_rows=int(active.sum()),
        confidence=settings.gate_confidence,
        headline=roc_auc("ROC AUC of active customers", active, settings.max_auc_loss),
        calibration=Judged(
            "calibration error of all customers",
            len(churned),
            calibrated,
            allowed,
            verdict_on(less_is_better(calibrated.difference), allowed),
        ),
        brier=paired(PROBABILITY_METRICS["brier"]),
        segments=tuple(
            roc_auc(f"ROC AUC of customers with {name}", chosen, settings.max_segment_auc_loss)
            for name, chosen in segments.items()
        ),
        changed_decisions=float(((before >= champion.threshold) != (now >= candidate.threshold)).mean()),
        mean_change=float(np.abs(now - before).mean()),
        rank_correlation=rank_correlation(before, now),
        champion_bytes=champion.compiled_bytes,
        candidate_bytes=candidate.compiled_bytes,
        champion_microseconds=dict(champion.microseconds),
        candidate_microseconds=dict(candidate.microseconds),
    )


def judge_roc_auc(
    what: str, churned: Bools, champion: Floats, candidate: Floats, margin: float, settings: TrainingSettings
) -> Judged:
    """ROC AUC of two scores of the same customers, (n,), and whether the second is worse by more than a margin."""
    found = None
    if min(churned.sum(), (~churned).sum()) >= FEWEST_OF_A_CLASS:
        arguments = settings.bootstrap_resamples, settings.seed, None, standard_error_interval(settings.gate_confidence)
        found = compare_scores(RANKING_METRICS["roc_auc"], churned, champion, candidate, *arguments)
    return Judged(what, len(churned), found, margin, verdict_on(found.difference if found else None, margin))


def segments_of(matrix: pd.DataFrame, described: str) -> dict[str, Bools]:
    """Masks (n,) of the segments that `TrainingSettings.segments` describes.

    Args:
        described: `feature` for its terciles, `feature:2:4` for below 2, 2 to below 4, and from 4 on; between spaces.

    Raises:
        DatasetError: a feature is not among the model's inputs.
    """
    found: dict[str, Bools] = {}
    for description in described.split():
        feature, *named = description.split(":")
        if feature not in matrix:
            raise DatasetError(f"TRAINING_SEGMENTS: {feature!r} is not an input of the model")
        values = matrix[feature].to_numpy(dtype=np.float64)
        edges = [float(edge) for edge in named] or [float(q) for q in np.quantile(values, [1 / 3, 2 / 3])]
        for name, mask in _between(values, edges):
            if mask.any():
                found[f"{feature} {name}"] = mask
    return found


def _between(values: Floats, edges: list[float]) -> Iterator[tuple[str, Bools]]:
    yield f"< {edges[0]:g}", values < edges[0]
    for low, high in itertools.pairwise(edges):
        yield f"from {low:g} to < {high:g}", (values >= low) & (values < high)
    yield f"≥ {edges[-1]:g}", values >= edges[-1]


def time_calls(calls: Mapping[str, Callable[[int], object]], rounds: int) -> dict[str, dict[int, float]]:
    """The fastest of so many calls by number of rows, in microseconds.

    They take turns, so that what else the machine does falls on all of them. The fastest and not the median, because on
    a machine with other work a long call is interrupted more often than a short one.

    Args:
        calls: name → what scores so many rows.
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
