"""Metrics of a binary task: the score is the probability of the positive class, or a baseline on any scale."""

from collections.abc import Callable, Sequence
from types import MappingProxyType

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, log_loss, roc_curve

from scoring.errors import LabelsError
from scoring.evaluation.task_metrics import (
    BINS,
    FEWEST_OF_A_CLASS,
    Bools,
    Floats,
    Integers,
    Labels,
    Metric,
    OfWeights,
    Scored,
    TaskMetrics,
    by_name,
    calibration_over_bins,
    mean_of,
)


def roc_auc(positive: Bools, score: Floats) -> OfWeights:
    """Share of (positive, negative) pairs in the right order; ties count half (Hanley & McNeil, 1982).

    Equals scikit-learn's in a tenth of the time, which matters once per resample.

    Raises:
        LabelsError: of the weights, one class has none.
    """
    order = np.argsort(score, kind="stable")
    ranked, labels = score[order], positive[order]
    first = np.append(0, np.flatnonzero(ranked[1:] != ranked[:-1]) + 1)
    ties = np.diff(np.append(first, len(ranked)))
    below, until = (np.repeat(edge, ties)[labels] for edge in (first, first + ties))  # of each positive row's score
    positives, negative = order[labels], ~labels

    def value(weights: Floats) -> float:
        negatives = np.append(0, np.cumsum(weights[order] * negative))
        taken = weights[positives]
        pairs = taken.sum() * negatives[-1]
        if not pairs:
            raise LabelsError("ROC AUC is not defined on rows of one class")
        return float((taken * (negatives[below] + negatives[until])).sum() / 2 / pairs)

    return value


def lift_at(positive: Bools, score: Floats, share: float = 0.1, weight: Floats | None = None) -> float:
    """Rate of positives among the `share` with the highest scores, divided by the base rate."""
    weights = np.ones(len(score)) if weight is None else weight
    order = np.argsort(-score, kind="stable")
    taken = weights[order]
    inside = np.minimum(taken, np.maximum(0.0, share * taken.sum() - (np.cumsum(taken) - taken)))
    return float((inside * positive[order]).sum() / inside.sum() / np.average(positive, weights=weights))


def expected_calibration_error(
    positive: Bools, probability: Floats, bins: int = BINS, weight: Floats | None = None
) -> float:
    """Mean |observed rate − mean probability| over bins of equally many rows (Naeini et al., 2015).

    Weights do not move the bins.
    """
    weights = np.ones(len(probability)) if weight is None else weight
    return calibration_over_bins(positive, probability, bins)(weights)


def youden_threshold(positive: Bools, probability: Floats) -> float:
    """The probability that maximises true-positive rate − false-positive rate (Youden, 1950)."""
    false_positive, true_positive, thresholds = roc_curve(positive, probability)
    return float(min(thresholds[np.argmax(true_positive - false_positive)], 1.0))


def rank_correlation(one: Floats, other: Floats) -> float:
    """Spearman's rank correlation of two scores (n,) of the same rows; 0 if one is constant."""
    ranks = [pd.Series(score).rank().to_numpy() for score in (one, other)]
    return 0.0 if any(np.ptp(rank) == 0 for rank in ranks) else float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _sorted_once(value: Callable[[Bools, Floats, Floats], float]) -> Callable[[Bools, Floats], OfWeights]:
    """Sort the rows by score before the first resample; sorting sorted rows again is fast."""

    def prepare(positive: Bools, score: Floats) -> OfWeights:
        order = np.argsort(score, kind="stable")
        labels, ranked = positive[order], score[order]
        return lambda weights: value(labels, ranked, weights[order])

    return prepare


def _check(labels: Labels, classes: Sequence[str]) -> None:
    if labels.dtype != np.bool_:
        raise LabelsError(f"labels of a binary task are booleans, not {labels.dtype}")
    for name, members in zip(classes, (~labels, labels), strict=True):
        if not members.any():
            raise LabelsError(f"no row has the class {name!r}; a binary task needs rows of both classes")


def _too_few(labels: Bools, entities: Integers | None, classes: Sequence[str]) -> str:
    whose = np.arange(len(labels)) if entities is None else entities
    counts = [len(np.unique(whose[members])) for members in (~labels, labels)]
    if min(counts) >= FEWEST_OF_A_CLASS:
        return ""
    said = " and ".join(f"{count} {name}" for count, name in zip(counts, classes, strict=True))
    return f"{said}; at least {FEWEST_OF_A_CLASS} of each are needed"


def _changed(before: Scored, now: Scored, scale: float) -> Bools:
    del scale  # of a probability is 1
    changed: Bools = _decided(before) != _decided(now)
    return changed


def _decided(one: Scored) -> Bools:
    if one.threshold is None:
        raise ValueError("a binary task decides by a threshold")
    decided: Bools = one.scores >= one.threshold
    return decided


BINARY = TaskMetrics(
    kind="binary",
    metrics=MappingProxyType(
        by_name(
            Metric("roc_auc", "ROC AUC", roc_auc, higher_is_better=True),
            Metric(
                "average_precision",
                "average precision",
                _sorted_once(lambda y, p, w: float(average_precision_score(y, p, sample_weight=w))),
                higher_is_better=True,
            ),
            Metric(
                "lift_at_10pct",
                "lift at 10 %",
                _sorted_once(lambda y, p, w: lift_at(y, p, 0.1, w)),
                higher_is_better=True,
            ),
            Metric(
                "brier",
                "Brier score",
                _sorted_once(lambda y, p, w: float(np.average((p - y) ** 2, weights=w))),
                higher_is_better=False,
                for_baseline=False,
            ),
            Metric(
                "log_loss",
                "log loss",
                _sorted_once(lambda y, p, w: float(log_loss(y, p, sample_weight=w))),
                higher_is_better=False,
                for_baseline=False,
            ),
        )
    ),
    levels=MappingProxyType(
        by_name(
            Metric(
                "mean_probability",
                "mean probability",
                _sorted_once(lambda _, p, w: float(np.average(p, weights=w))),
                higher_is_better=None,
                for_baseline=False,
            ),
            Metric("base_rate", "base rate", lambda labels, _: mean_of(labels), higher_is_better=None),
        )
    ),
    calibration=Metric(
        "calibration_error",
        "calibration error",
        lambda labels, probability: calibration_over_bins(labels, probability),
        higher_is_better=False,
        for_baseline=False,
        corrected=True,
    ),
    calibrated=lambda labels, probability: (labels, probability),
    headline="roc_auc",
    fewest=FEWEST_OF_A_CLASS,
    check=_check,
    too_few=_too_few,
    changed_decisions=_changed,
    scale_of=lambda _: 1.0,
    moves=lambda before, now: np.abs(now - before),
    rank_correlation=rank_correlation,
)
