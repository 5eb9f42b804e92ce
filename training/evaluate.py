"""Evaluates the chosen model on the test rows, beside the baseline."""

import logging
from collections.abc import Mapping

import mlflow

from scoring.evaluation import Estimate, Floats, TaskMetrics, evaluate, metrics_of
from training.data.row_ages import age_lines, age_metrics
from training.fit import Split
from training.settings import TrainingSettings
from training.use_case import UseCase

_LOG = logging.getLogger(__name__)


def evaluate_test_rows(
    case: UseCase, scores: Floats, baseline: Floats, test: Split, settings: TrainingSettings
) -> dict[str, Estimate]:
    """Metrics at the test cut-off per population, with the label's level and the baseline's metrics."""
    metrics = metrics_of(case.task.kind)
    estimates: dict[str, Estimate] = {}
    for population, chosen in test.populations.items():
        labels = test.labels[chosen]
        _LOG.info(
            f"evaluating {chosen.sum():,} rows, population {population!r}, {settings.bootstrap_resamples} resamples"
        )
        arguments = settings.bootstrap_resamples, settings.seed
        model = evaluate(labels, scores[chosen], metrics.metrics, *arguments)
        beside = evaluate(labels, baseline[chosen], metrics.for_baseline, *arguments)
        levels = evaluate(labels, scores[chosen], metrics.levels, *arguments)
        estimates |= {f"{population}_{name}": e for name, e in model.items()}
        estimates |= {f"{population}_{case.baseline.name}_{name}": e for name, e in beside.items()}
        estimates |= {f"{population}_{name}": e for name, e in levels.items()}
        _LOG.info(f"  {'metric':<22}{'model':<32}{case.baseline.name} only")
        for name in model:
            _LOG.info(f"  {name:<22}{model[name]!s:<32}{beside.get(name, '')!s}")
        for name, level in levels.items():
            _LOG.info(f"  {name:<22}{level}")
    return estimates


def calibration_of_all(metrics: TaskMetrics, test: Split, scores: Floats) -> dict[str, float]:
    """Name of the run's metric → the calibration metric of all test rows."""
    value = metrics.calibration(test.labels, scores)
    _LOG.info(f"  {metrics.calibration.title} of all rows {value:.3f}")
    return {f"all_{metrics.calibration.name}": value}


def log_ages(ages: Mapping[str, Floats]) -> None:
    """Log the ages of the views' rows at request time; view → hours (n,)."""
    mlflow.log_metrics(age_metrics(ages))
    for line in age_lines(ages):
        _LOG.info(line)


def log_groups(metrics: TaskMetrics, test: Split, scores: Floats) -> None:
    """Log what the model says of each group of the label source, and what happened: the levels of their rows."""
    for group, members in test.rows.groups.items():
        if not members.any():
            _LOG.info(f"  group {group!r}: no row")
            continue
        labels, of_group = test.labels[members], scores[members]
        found = {name: level(labels, of_group) for name, level in metrics.levels.items()}
        mlflow.log_metrics({f"{group}_rows": float(members.sum()), **{f"{group}_{k}": v for k, v in found.items()}})
        said = ", ".join(f"{metrics.levels[name].title} {value:.3f}" for name, value in found.items())
        _LOG.info(f"  group {group!r}: {members.sum():,} rows, {said}")
