"""Quality of a model: a table of metrics per task (`metrics_of`) with bootstrap intervals. Pure functions of arrays."""

from contract.tasks import TaskKind
from scoring.errors import LabelsError
from scoring.evaluation.binary import (
    BINARY,
    expected_calibration_error,
    lift_at,
    rank_correlation,
    youden_threshold,
)
from scoring.evaluation.bootstrap import (
    Estimate,
    Interval,
    PairedEstimate,
    bootstrap,
    compare_scores,
    evaluate,
    percentile_interval,
    proportion,
    standard_error_interval,
)
from scoring.evaluation.multiclass import MULTICLASS, judged_classes
from scoring.evaluation.regression import CHANGED_SHARE, REGRESSION
from scoring.evaluation.table import TASKS, metrics_of
from scoring.evaluation.task_metrics import (
    BINS,
    FEWEST_OF_A_CLASS,
    Bools,
    Floats,
    Integers,
    Labels,
    Metric,
    Scored,
    TaskMetrics,
)

__all__ = [
    "BINARY",
    "BINS",
    "CHANGED_SHARE",
    "FEWEST_OF_A_CLASS",
    "MULTICLASS",
    "REGRESSION",
    "TASKS",
    "Bools",
    "Estimate",
    "Floats",
    "Integers",
    "Interval",
    "Labels",
    "LabelsError",
    "Metric",
    "PairedEstimate",
    "Scored",
    "TaskKind",
    "TaskMetrics",
    "bootstrap",
    "compare_scores",
    "evaluate",
    "expected_calibration_error",
    "judged_classes",
    "lift_at",
    "metrics_of",
    "percentile_interval",
    "proportion",
    "rank_correlation",
    "standard_error_interval",
    "youden_threshold",
]
