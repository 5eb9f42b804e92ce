"""Simulations with a known truth: 95 % intervals cover it about as often as they say."""

from collections.abc import Callable, Iterable
from functools import cache

import numpy as np
import pytest

from contract.tasks import TaskKind
from scoring.evaluation import (
    Estimate,
    Floats,
    Labels,
    PairedEstimate,
    compare_scores,
    evaluate,
    metrics_of,
    standard_error_interval,
)

ROWS, TRIALS, RESAMPLES = 250, 120, 40
MANY_ROWS = 200_000
"""For the truth."""

DRAWN_BY_SCIKIT_LEARN = {"average_precision", "log_loss"}
"""Of the binary task; they take milliseconds once per resample."""


def _softmax(scores: Floats) -> Floats:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    found: Floats = powers / powers.sum(axis=1, keepdims=True)
    return found


def _binary(n: int, worse: float, random: np.random.Generator) -> tuple[Labels, Floats, Floats]:
    evidence = random.normal(size=n)
    labels = random.uniform(size=n) < 1 / (1 + np.exp(-evidence - 0.4))
    noisy = [evidence + random.normal(0, spread, n) for spread in (0.6, 0.6 + worse)]
    return labels, *(1 / (1 + np.exp(-0.9 * each - 0.3)) for each in noisy)  # type: ignore[return-value]


def _multiclass(n: int, worse: float, random: np.random.Generator) -> tuple[Labels, Floats, Floats]:
    evidence = random.normal(0, 1.2, (n, 4)) + np.array([1.2, 0.4, 0.0, -0.8])
    labels = (random.uniform(size=(n, 1)) > _softmax(evidence).cumsum(axis=1)).sum(axis=1).clip(0, 3)
    noisy = [evidence + random.normal(0, spread, (n, 4)) for spread in (0.7, 0.7 + worse)]
    return labels.astype(np.int64), *(_softmax(1.2 * each) for each in noisy)


def _regression(n: int, worse: float, random: np.random.Generator) -> tuple[Labels, Floats, Floats]:
    mean = random.gamma(2.0, 10.0, n)
    target = np.where(random.uniform(size=n) < 0.3, 0.0, mean + random.gamma(2.0, 8.0, n))
    noisy = [1.1 * mean * np.exp(random.normal(0, spread, n)) for spread in (0.3, 0.3 + worse)]
    return target, *noisy  # type: ignore[return-value]


DRAWS: dict[TaskKind, Callable[[int, float, np.random.Generator], tuple[Labels, Floats, Floats]]] = {
    "binary": _binary,
    "multiclass": _multiclass,
    "regression": _regression,
}


def _metrics(kind: TaskKind) -> list[str]:
    task = metrics_of(kind)
    skipped = DRAWN_BY_SCIKIT_LEARN if kind == "binary" else set()
    return [name for name in (*task.metrics, task.calibration.name) if name not in skipped]


@cache
def _truth(kind: TaskKind) -> dict[str, float]:
    labels, scores, _ = DRAWS[kind](MANY_ROWS, 0.0, np.random.default_rng(1))
    return {name: metrics_of(kind).metric(name)(labels, scores) for name in _metrics(kind)}


@cache
def _trials(kind: TaskKind, name: str) -> list[tuple[Estimate, Estimate]]:
    """Of each trial, the interval of a metric, and that of the difference of two equally good models."""
    metric, random = metrics_of(kind).metric(name), np.random.default_rng(2)
    interval = standard_error_interval(0.95, metric.corrected)

    def trial(seed: int) -> tuple[Estimate, Estimate]:
        labels, one, other = DRAWS[kind](ROWS, 0.0, random)
        alone = evaluate(labels, one, {name: metric}, RESAMPLES, seed, None, interval)
        return alone[name], compare_scores(metric, labels, one, other, RESAMPLES, seed, None, interval).difference

    return [trial(seed) for seed in range(TRIALS)]


def _covered(intervals: Iterable[Estimate], truth: float) -> float:
    return float(np.mean([found.low <= truth <= found.high for found in intervals]))


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in DRAWS for name in _metrics(kind)])
def test_an_interval_covers_the_truth_about_as_often_as_it_says(kind: TaskKind, name: str) -> None:
    """Correcting a calibration error for what chance adds costs some of the coverage of so few rows."""
    least = 0.83 if metrics_of(kind).metric(name).corrected else 0.89
    alone, differences = zip(*_trials(kind, name), strict=True)

    assert least <= _covered(alone, _truth(kind)[name])
    assert least <= _covered(differences, 0.0)


def test_a_long_tailed_target_narrows_the_interval_of_squared_errors_too_far_but_not_that_of_a_difference() -> None:
    """Some of the largest errors are missing from most samples, so resamples cannot show them."""
    random, metric = np.random.default_rng(4), metrics_of("regression").metrics["rmse"]
    interval = standard_error_interval(0.95)

    def draw(n: int) -> tuple[Labels, Floats, Floats]:
        mean = random.gamma(2.0, 10.0, n)
        target = np.where(random.uniform(size=n) < 0.6, 0.0, random.gamma(1.0, 2.5 * mean))
        return target, mean * np.exp(random.normal(0, 0.4, n)), mean * np.exp(random.normal(0, 0.4, n))

    truth = metric(*draw(MANY_ROWS)[:2])
    alone, differences = [], []
    for seed in range(TRIALS):
        labels, one, other = draw(ROWS)
        alone.append(evaluate(labels, one, {"rmse": metric}, RESAMPLES, seed, None, interval)["rmse"])
        differences.append(compare_scores(metric, labels, one, other, RESAMPLES, seed, None, interval).difference)

    assert 0.65 <= _covered(alone, truth) <= 0.88
    assert 0.89 <= _covered(differences, 0.0)


@pytest.mark.parametrize("kind", DRAWS)
def test_of_two_equal_models_one_is_seldom_called_better(kind: TaskKind) -> None:
    """At 95 % in 2.5 % of the trials, on each side."""
    differences = [difference for _, difference in _trials(kind, metrics_of(kind).headline)]

    better = sum(found.low > 0 for found in differences)
    worse = sum(found.high < 0 for found in differences)

    assert max(better, worse) <= 0.06 * TRIALS


@pytest.mark.parametrize("kind", DRAWS)
def test_a_model_that_is_worse_by_the_margin_seldom_passes(kind: TaskKind) -> None:
    """At 95 % in 2.5 % of the trials: the interval of its difference begins at −margin or above."""
    metric, random = metrics_of(kind).metrics[metrics_of(kind).headline], np.random.default_rng(3)
    sign = 1 if metric.higher_is_better else -1

    def pair(n: int) -> tuple[Labels, Floats, Floats]:
        return DRAWS[kind](n, 0.2, random)

    labels, champion, candidate = pair(MANY_ROWS)
    margin = sign * (metric(labels, champion) - metric(labels, candidate))

    def passes(found: PairedEstimate) -> bool:
        ends = sign * found.difference.low, sign * found.difference.high
        return min(ends) >= -margin

    passed = sum(
        passes(compare_scores(metric, *pair(ROWS), RESAMPLES, trial, None, standard_error_interval(0.95)))
        for trial in range(TRIALS)
    )

    assert margin > 0
    assert passed <= 0.06 * TRIALS
