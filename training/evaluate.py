"""Evaluates the chosen model on the test rows, beside the baseline."""

import logging

import mlflow
import numpy as np
from numpy.typing import NDArray

from scoring.evaluation import (
    BINARY,
    PROBABILITY_METRICS,
    RANKING_METRICS,
    Estimate,
    evaluate,
    expected_calibration_error,
)
from training.data.dataset import LabelledRows
from training.data.request_hours import age_lines, age_metrics, same_day_line, same_day_metrics
from training.errors import DatasetError
from training.fit import Split
from training.settings import TrainingSettings

_LOG = logging.getLogger(__name__)


def evaluate_test_rows(
    probability: NDArray[np.float64], recency: NDArray[np.float64], test: Split, settings: TrainingSettings
) -> tuple[dict[str, Estimate], float]:
    """Metrics at the test cut-off per population, with base rate and recency-only baseline; and calibration error."""
    estimates: dict[str, Estimate] = {}
    for population, chosen in test.populations.items():
        churned = test.rows.churned[chosen]
        _LOG.info(f"evaluating {chosen.sum():,} {population} customers, {settings.bootstrap_resamples} resamples")
        arguments = settings.bootstrap_resamples, settings.seed
        model = evaluate(churned, probability[chosen], RANKING_METRICS | PROBABILITY_METRICS, *arguments)
        baseline = evaluate(churned, recency[chosen], RANKING_METRICS, *arguments)
        base_rate = evaluate(churned, recency[chosen], {"rate": BINARY.levels["base_rate"]}, *arguments)
        estimates |= {f"{population}_{name}": e for name, e in model.items()}
        estimates |= {f"{population}_recency_{name}": e for name, e in baseline.items()}
        estimates[f"{population}_base_rate"] = base_rate["rate"]
        _LOG.info(f"  {'metric':<20}{'model':<24}recency only")
        for name in model:
            _LOG.info(f"  {name:<20}{model[name]!s:<24}{baseline.get(name, '')!s}")
        _LOG.info(f"  {'base rate':<20}{base_rate['rate']}")
    error = expected_calibration_error(test.rows.churned, probability)
    _LOG.info(f"  mean probability {probability.mean():.3f}; expected calibration error over all customers {error:.3f}")
    return estimates, error


def log_request_hours(
    ages: dict[str, NDArray[np.float64]], rows: LabelledRows, probability: NDArray[np.float64]
) -> None:
    """Log the ages of the views' rows at request time, and metrics of customers who ordered the same day."""
    mlflow.log_metrics({**age_metrics(ages), **same_day_metrics(rows.same_day, rows.churned, probability)})
    for line in (*age_lines(ages), same_day_line(rows.same_day, rows.churned, probability)):
        _LOG.info(line)


def recency_scores(split: Split, settings: TrainingSettings) -> NDArray[np.float64]:
    """The baseline's scores, (n,): days since the last order.

    Raises:
        DatasetError: the feature service does not have the feature.
    """
    if settings.recency_feature not in split.matrix:
        raise DatasetError(f"TRAINING_RECENCY_FEATURE {settings.recency_feature!r} is not in the feature service")
    return split.matrix[settings.recency_feature].to_numpy(dtype=np.float64)
