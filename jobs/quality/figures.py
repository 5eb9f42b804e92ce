"""The figures of live quality, in the order of the report's columns."""

import numpy as np

from scoring.evaluation import PROBABILITY_METRICS, RANKING_METRICS, Metric, calibration_error

FIGURES: dict[str, Metric] = {
    "roc_auc": RANKING_METRICS["roc_auc"],
    "brier": PROBABILITY_METRICS["brier"],
    "calibration_error": calibration_error,
    "mean_probability": lambda _, p, w: float(np.average(p, weights=w)),
    "base_rate": lambda y, _, w: float(np.average(y, weights=w)),
    "lift_at_10pct": RANKING_METRICS["lift_at_10pct"],
}
"""As training names them: `all_roc_auc` in the contract's metrics is `roc_auc` of all customers."""
