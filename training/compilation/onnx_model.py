"""Compiles a scikit-learn pipeline to ONNX, and verifies that both give the same answers."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.pipeline import Pipeline

from contract import Task
from scoring.agreement import CONVERTED, deviations
from scoring.errors import ModelError
from scoring.models.onnx_scorer import ANY_BINARY, onnx_scorer
from scoring.models.task_models import PredictedTask, task_model
from scoring.task_outputs import Floats, TaskOutputs, rules_of
from training.compilation.boosters import booster_in, register_converters
from training.compilation.exact_steps import with_exact_steps
from training.compilation.float32_thresholds import with_float32_thresholds
from training.compilation.proof_rows import proof_rows
from training.errors import ModelImportError

MAX_DIFFERENCE = CONVERTED
"""Largest difference that float32 rounding may cause, relative to scores beyond 1."""

_BOOSTERS_OPSET = {"": 15, "ai.onnx.ml": 3}
"""The newest opset that the converters of LightGBM and XGBoost support."""


@dataclass(frozen=True)
class OnnxComparison:
    """Answers of scikit-learn against ONNX.

    Differences are relative to scores beyond 1, see `scoring.agreement.deviations`.

    rows, largest_difference: on n real rows.
    changed_decisions: there; of a multi-class model, rows with another, less likely class. None: no decision is made.
    threshold_rows, difference_at_thresholds: on rows at the model's own thresholds.
    """

    rows: int
    largest_difference: float
    changed_decisions: int | None
    threshold_rows: int = 0
    difference_at_thresholds: float = 0.0

    @property
    def equal(self) -> bool:
        """True if ONNX may serve; NaN counts as unequal."""
        return (
            self.largest_difference <= MAX_DIFFERENCE
            and self.difference_at_thresholds <= MAX_DIFFERENCE
            and not self.changed_decisions
        )

    def to_dict(self) -> dict[str, Any]:
        """Its members, without those that the task does not have."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @property
    def on_rows(self) -> str:
        """The differences on the real rows, in words."""
        decided = "" if self.changed_decisions is None else f", {self.changed_decisions} changed decisions"
        return f"{self.rows:,} test rows, largest difference {self.largest_difference:.1e}{decided}"

    def __str__(self) -> str:
        return (
            f"{self.on_rows}; {self.threshold_rows:,} rows at the model's thresholds, "
            f"largest difference {self.difference_at_thresholds:.1e}"
        )


def compile_to_onnx(pipeline: Pipeline, inputs: int, task: PredictedTask = ANY_BINARY) -> bytes:
    """Convert the pipeline to ONNX: float32 (n, inputs) → class, probabilities (n, c); of a regression value (n, 1).

    Raises:
        ModelImportError: a step cannot be expressed in ONNX.
    """
    register_converters()
    try:
        copied = with_float32_thresholds(pipeline)
        boosted = bool(booster_in(copied))
        with_exact_steps(copied, scalers=boosted)
        model = to_onnx(
            copied,
            initial_types=[("features", FloatTensorType([None, inputs]))],
            options={id(copied): {"zipmap": False}} if hasattr(copied, "classes_") else None,
            target_opset=_BOOSTERS_OPSET if boosted else None,
        )
        compiled = bytes(model.SerializeToString())
        onnx_scorer(compiled, task)
    except ModelError as error:
        raise ModelImportError(f"cannot be expressed in ONNX: {error}") from None
    except Exception as error:  # converters and onnxruntime have no common error class
        said = (str(error).strip().splitlines() or [""])[0]
        raise ModelImportError(f"cannot be expressed in ONNX: {type(error).__name__}: {said}") from None
    return compiled


def compare(
    pipeline: Pipeline, onnx_model: bytes, matrix: pd.DataFrame, task: Task, at_thresholds: bool = True
) -> OnnxComparison:
    """Compare ONNX with scikit-learn on every row, and on rows at the model's own thresholds.

    At thresholds only scores are compared: rounding alone may change a decision there.

    Args:
        matrix: float32 (n, k), columns named as in training.
        task: of the contract.
        at_thresholds: False: compare only the given rows.
    """
    expected, found = _answers(pipeline, onnx_model, matrix, task)
    rows, difference = difference_at_thresholds(pipeline, onnx_model, matrix, task) if at_thresholds else (0, 0.0)
    return OnnxComparison(
        rows=len(matrix),
        largest_difference=float(deviations(expected, found).max()),
        changed_decisions=_changed_decisions(rules_of(task), expected, found),
        threshold_rows=rows,
        difference_at_thresholds=difference,
    )


def compare_recorded(onnx_model: bytes, matrix: pd.DataFrame, recorded: Floats, task: Task) -> OnnxComparison:
    """Compare ONNX with the scores that another framework recorded of the same rows.

    Args:
        matrix: float32 (n, k), columns in the order of the contract.
        recorded: (n,) or (n, c).
        task: of the contract.
    """
    found = _scores_of(onnx_model, matrix, task)
    return OnnxComparison(
        rows=len(matrix),
        largest_difference=float(deviations(recorded, found).max()),
        changed_decisions=_changed_decisions(rules_of(task), recorded, found),
    )


def difference_at_thresholds(
    pipeline: Pipeline, onnx_model: bytes, matrix: pd.DataFrame, task: PredictedTask
) -> tuple[int, float]:
    """Number of rows made at the model's own thresholds from these rows, and the largest difference on them."""
    real = matrix.to_numpy(dtype=np.float32)
    real = real[np.isfinite(real).all(axis=1)]
    near = proof_rows(pipeline, real) if len(real) else real
    if not len(near):
        return 0, 0.0
    rows = pd.DataFrame(near, columns=matrix.columns)
    return len(rows), float(deviations(*_answers(pipeline, onnx_model, rows, task)).max())


def _answers(pipeline: Pipeline, onnx_model: bytes, rows: pd.DataFrame, task: PredictedTask) -> tuple[Floats, Floats]:
    own = task_model(task)
    answered = own.scores(np.asarray(own.answered_by(pipeline, rows), dtype=np.float64))
    return answered, _scores_of(onnx_model, rows, task)


def _scores_of(onnx_model: bytes, rows: pd.DataFrame, task: PredictedTask) -> Floats:
    score = onnx_scorer(onnx_model, task)
    return score(np.ascontiguousarray(rows.to_numpy(dtype=np.float32))).astype(np.float64)


def _changed_decisions(rules: TaskOutputs, expected: Floats, found: Floats) -> int | None:
    """Rows with another decision. Of classes that are equally likely within rounding, either is the same answer."""
    decided, other = rules.of(expected)[1:], rules.of(found)[1:]
    if not decided:
        return None
    if expected.ndim == 1:
        return int((decided[0] != other[0]).sum())
    rows = np.arange(len(expected))
    return int((expected[rows, other[0]] < expected[rows, decided[0]] - MAX_DIFFERENCE).sum())
