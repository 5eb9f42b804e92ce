"""The figures of live quality, in the order of the report's columns."""

from scoring.evaluation import BINARY, Metric

FIGURES: dict[str, Metric] = {
    name: BINARY.metric(name)
    for name in ("roc_auc", "brier", "calibration_error", "mean_probability", "base_rate", "lift_at_10pct")
}
"""As training names them: `all_roc_auc` in the contract's metrics is `roc_auc` of all customers."""
