"""How good a score is: metrics with intervals, calibration, lift, and the threshold. Pure functions of arrays."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score, roc_curve

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Estimate:
    """A metric and its 95 % percentile-bootstrap interval over customers."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def lift_at(churned: Bools, score: Floats, share: float = 0.1, weight: Floats | None = None) -> float:
    """Rate of positives among the `share` with the highest scores, over the base rate."""
    weights = np.ones(len(score)) if weight is None else weight
    order = np.argsort(-score, kind="stable")
    taken = weights[order]
    inside = np.minimum(taken, np.maximum(0.0, share * taken.sum() - (np.cumsum(taken) - taken)))
    return float((inside * churned[order]).sum() / inside.sum() / np.average(churned, weights=weights))


def expected_calibration_error(churned: Bools, probability: Floats, bins: int = 10) -> float:
    """Mean |observed rate − mean probability| over equally filled bins (Naeini et al., 2015)."""
    parts = np.array_split(np.argsort(probability, kind="stable"), bins)
    gaps = [len(p) * abs(churned[p].mean() - probability[p].mean()) for p in parts if len(p)]
    return float(sum(gaps) / len(probability))


def youden_threshold(churned: Bools, probability: Floats) -> float:
    """The probability that maximises true-positive rate − false-positive rate (Youden, 1950)."""
    false_positive, true_positive, thresholds = roc_curve(churned, probability)
    return float(min(thresholds[np.argmax(true_positive - false_positive)], 1.0))


Metric = Callable[[Bools, Floats, Floats], float]

RANKING: dict[str, Metric] = {
    "roc_auc": lambda y, p, w: float(roc_auc_score(y, p, sample_weight=w)),
    "average_precision": lambda y, p, w: float(average_precision_score(y, p, sample_weight=w)),
    "lift_at_10pct": lambda y, p, w: lift_at(y, p, 0.1, w),
}
"""Metrics of any score, whatever its scale."""

PROBABILITY: dict[str, Metric] = {
    "brier": lambda y, p, w: float(brier_score_loss(y, p, sample_weight=w)),
    "log_loss": lambda y, p, w: float(log_loss(y, p, sample_weight=w)),
}
"""Metrics of a probability."""


def evaluate(
    churned: Bools, score: Floats, metrics: dict[str, Metric], resamples: int, seed: int
) -> dict[str, Estimate]:
    """Each metric with its interval; all metrics see the same resamples.

    Args:
        churned, score: (n,), both classes present.
    """
    return bootstrap(
        lambda weights: {name: metric(churned, score, weights) for name, metric in metrics.items()},
        len(score),
        resamples,
        seed,
    )


def bootstrap(
    statistics: Callable[[Floats], dict[str, float]], n: int, resamples: int, seed: int
) -> dict[str, Estimate]:
    """Statistics of n customers with their 95 % percentile intervals (Efron & Tibshirani, 1993, ch. 13).

    A resample of n customers with replacement is a vector of n counts, used as weights. A statistic that is a
    difference of two scores of the same customers is thereby paired.

    Args:
        statistics: weights, float64 (n,) → named values.
    """
    generator = np.random.default_rng(seed)
    draws = [
        statistics(np.bincount(generator.integers(0, n, n), minlength=n).astype(np.float64)) for _ in range(resamples)
    ]
    estimates = {}
    for name, value in statistics(np.ones(n)).items():
        low, high = np.percentile([draw[name] for draw in draws], [2.5, 97.5])
        estimates[name] = Estimate(value, float(low), float(high))
    return estimates
