"""The table of metrics per task."""

from types import MappingProxyType

from contract.tasks import TaskKind
from scoring.evaluation.binary import BINARY
from scoring.evaluation.multiclass import MULTICLASS
from scoring.evaluation.regression import REGRESSION
from scoring.evaluation.task_metrics import TaskMetrics

TASKS = MappingProxyType({task.kind: task for task in (BINARY, MULTICLASS, REGRESSION)})
"""By kind of task."""


def metrics_of(kind: TaskKind) -> TaskMetrics:
    """The metrics of a task, and what else of quality depends on the task."""
    return TASKS[kind]
