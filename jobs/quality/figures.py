"""What the reports of quality show of each task, by the names of its table of metrics."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from contract.tasks import TaskKind
from jobs.reports.charts import Axis
from scoring.evaluation import Metric, metrics_of


@dataclass(frozen=True)
class ReportedFigures:
    """What is shown of one task.

    live: the figures of live quality, in the order of the columns.
    charted: those with a chart by week.
    compared: those of champion and challenger.
    score: what a score is called.
    predicted, observed: axes of the calibration curve.
    calibration_error: axis of the calibration's figure.
    """

    live: tuple[str, ...]
    charted: tuple[str, ...]
    compared: tuple[str, ...]
    score: str
    predicted: Axis
    observed: Axis
    calibration_error: Axis


REPORTED: Mapping[TaskKind, ReportedFigures] = MappingProxyType(
    {
        "binary": ReportedFigures(
            live=("roc_auc", "brier", "calibration_error", "mean_probability", "base_rate", "lift_at_10pct"),
            charted=("roc_auc", "brier", "calibration_error"),
            compared=("roc_auc", "brier"),
            score="probability",
            predicted=Axis("mean predicted probability, %", percent=True),
            observed=Axis("positive rows, %", percent=True),
            calibration_error=Axis("mean |observed − predicted|, %", percent=True),
        ),
        "multiclass": ReportedFigures(
            live=(
                *("log_loss", "accuracy", "top_3_accuracy", "macro_roc_auc", "calibration_error"),
                *("mean_top_probability", "majority_rate"),
            ),
            charted=("log_loss", "accuracy", "macro_roc_auc", "calibration_error"),
            compared=("log_loss", "accuracy", "macro_roc_auc"),
            score="probabilities",
            predicted=Axis("mean probability of the likeliest class, %", percent=True),
            observed=Axis("rows of the likeliest class, %", percent=True),
            calibration_error=Axis("mean |observed − predicted|, %", percent=True),
        ),
        "regression": ReportedFigures(
            live=("mae", "rmse", "bias", "r2", "spearman", "decile_error", "mean_prediction", "mean_target"),
            charted=("mae", "bias", "spearman", "decile_error"),
            compared=("mae", "rmse", "spearman"),
            score="value",
            predicted=Axis("mean prediction"),
            observed=Axis("mean target"),
            calibration_error=Axis("mean |observed − predicted| ÷ mean |observed|, %", percent=True),
        ),
    }
)
"""As training names them: `all_roc_auc` in the contract's metrics is `roc_auc` of all rows."""


def chart_of(kind: TaskKind, metric: Metric) -> tuple[str, Axis]:
    """Title and axis of a figure's chart."""
    title = metric.title[0].upper() + metric.title[1:]
    is_calibration = metric.name == metrics_of(kind).calibration.name
    return title, REPORTED[kind].calibration_error if is_calibration else Axis(title)


def interval_text(estimate: Mapping[str, float], spec: str, sign: str = "") -> str:
    """An estimate with its interval.

    Args:
        spec: format of a number, see `Metric.format`.
        sign: `+` writes a sign before positive numbers, too.
    """
    value, low, high = (format(estimate[end], sign + spec) for end in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"
