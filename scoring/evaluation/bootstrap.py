"""Estimates with intervals: bootstrap over entities, paired differences, and shares."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from scoring.evaluation.task_metrics import Floats, Integers, Labels, Metric


@dataclass(frozen=True)
class Estimate:
    """A value and its interval; by default 95 %, percentile bootstrap over entities."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class PairedEstimate:
    """A metric of both versions, and candidate minus champion over the same resamples."""

    champion: float
    candidate: float
    difference: Estimate

    def __str__(self) -> str:
        d = self.difference
        return f"{self.champion:.4f} → {self.candidate:.4f}, difference {d.value:+.4f} [{d.low:+.4f}, {d.high:+.4f}]"


def proportion(successes: int, n: int) -> Estimate:
    """A share of n rows with its 95 % score interval (Wilson, 1927), which stays in [0, 1]."""
    z = 1.959964
    rate = successes / n
    centre = (rate + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return Estimate(rate, max(0.0, float(centre - half)), min(1.0, float(centre + half)))


Interval = Callable[[float, Floats], Estimate]
"""(value over all rows, values of the resamples) → estimate with interval."""


def percentile_interval(value: float, draws: Floats) -> Estimate:
    """The middle 95 % of the resamples (Efron & Tibshirani, 1993, ch. 13)."""
    low, high = np.percentile(draws, [2.5, 97.5])
    return Estimate(value, float(low), float(high))


def standard_error_interval(confidence: float, corrected: bool = False) -> Interval:
    """Normal interval; the standard error is the resamples' standard deviation (Efron & Tibshirani, 1993, ch. 12).

    Use it for decisions. With some hundred resamples the ends of `percentile_interval` vary, and with a few hundred
    rows they miss the truth more often than stated; these do not (`make gate-power`).

    Args:
        confidence: of the two-sided interval, in (0, 1).
        corrected: subtract the bias that resampling adds; it is at most the bias that chance has already added.
    """
    errors = NormalDist().inv_cdf((1 + confidence) / 2)

    def interval(value: float, draws: Floats) -> Estimate:
        centre = 2 * value - float(np.mean(draws)) if corrected else value
        half = errors * float(np.std(draws, ddof=1))
        return Estimate(centre, centre - half, centre + half)

    return interval


def evaluate(
    labels: Labels,
    scores: Floats,
    metrics: Mapping[str, Metric],
    resamples: int,
    seed: int,
    entities: Integers | None = None,
    interval: Interval = percentile_interval,
) -> dict[str, Estimate]:
    """Each metric with its interval, all over the same resamples.

    Args:
        labels: (n,), enough of them for an interval, see `TaskMetrics.too_few`.
        scores: (n,) or, for a multi-class task, (n, c).
        entities: see `bootstrap`.

    Raises:
        LabelsError: a metric is not defined on these rows or on a resample of them.
    """
    prepared = {name: metric.prepare(labels, scores) for name, metric in metrics.items()}

    def statistics(weights: Floats) -> dict[str, float]:
        return {name: value(weights) for name, value in prepared.items()}

    return bootstrap(statistics, len(labels), resamples, seed, entities, interval)


def compare_scores(
    metric: Metric,
    labels: Labels,
    champion: Floats,
    candidate: Floats,
    resamples: int,
    seed: int,
    entities: Integers | None = None,
    interval: Interval = percentile_interval,
) -> PairedEstimate:
    """Compare one metric of two scores of the same n rows, paired; arguments and errors as in `evaluate`."""
    before, now = (metric.prepare(labels, scores) for scores in (champion, candidate))

    def statistics(weights: Floats) -> dict[str, float]:
        values = {"champion": before(weights), "candidate": now(weights)}
        return values | {"difference": values["candidate"] - values["champion"]}

    found = bootstrap(statistics, len(labels), resamples, seed, entities, interval)
    return PairedEstimate(found["champion"].value, found["candidate"].value, found["difference"])


def bootstrap(
    statistics: Callable[[Floats], dict[str, float]],
    n: int,
    resamples: int,
    seed: int,
    entities: Integers | None = None,
    interval: Interval = percentile_interval,
) -> dict[str, Estimate]:
    """Statistics of n rows with bootstrap intervals over entities.

    A resample of entities with replacement is a vector of counts; they are the weights of the entities' rows. So a
    difference of two scores of the same rows is paired.

    Args:
        statistics: weights, float64 (n,) → named values.
        entities: int64 (n,), each row's entity, numbered from 0 without gaps; None if each row is another's.
    """
    generator = np.random.default_rng(seed)
    count = n if entities is None else int(entities.max()) + 1
    entity_of_row = slice(None) if entities is None else entities
    draws = [
        statistics(np.bincount(generator.integers(0, count, count), minlength=count).astype(np.float64)[entity_of_row])
        for _ in range(resamples)
    ]
    return {
        name: interval(value, np.array([draw[name] for draw in draws]))
        for name, value in statistics(np.ones(n)).items()
    }
