"""Compiles a scikit-learn pipeline to ONNX, and verifies that both give the same answers."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.pipeline import Pipeline

from contract import Task
from scoring.agreement import CONVERTED, deviations
from scoring.errors import ModelError
from scoring.models.onnx_scorer import ANY_BINARY, onnx_scorer
from scoring.models.task_models import PredictedTask, task_model
from scoring.task_outputs import rules_of
from training.compilation.boosters import booster_in, register_converters
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
    changed_decisions: there; for a multi-class model, rows with another class. None: the task has no decision.
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

    def __str__(self) -> str:
        decided = "" if self.changed_decisions is None else f", {self.changed_decisions} changed decisions"
        return (
            f"{self.rows:,} test rows, largest difference {self.largest_difference:.1e}"
            f"{decided}; {self.threshold_rows:,} rows at the model's thresholds, "
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
        model = to_onnx(
            copied,
            initial_types=[("features", FloatTensorType([None, inputs]))],
            options={id(copied): {"zipmap": False}} if hasattr(copied, "classes_") else None,
            target_opset=_BOOSTERS_OPSET if booster_in(copied) else None,
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
    score, own = onnx_scorer(onnx_model, task), task_model(task)

    def both(rows: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        given = np.ascontiguousarray(rows.to_numpy(dtype=np.float32))
        answered = np.asarray(own.answered_by(pipeline, rows), dtype=np.float64)
        return own.scores(answered), score(given).astype(np.float64)

    expected, found = both(matrix)
    near = pd.DataFrame(columns=matrix.columns, dtype=np.float32)
    real = matrix.to_numpy(dtype=np.float32)
    real = real[np.isfinite(real).all(axis=1)]
    if at_thresholds and len(real):
        near = pd.DataFrame(proof_rows(pipeline, real), columns=matrix.columns)
    decided, found_decided = (rules_of(task).of(scores)[1:] for scores in (expected, found))
    return OnnxComparison(
        rows=len(matrix),
        largest_difference=float(deviations(expected, found).max()),
        changed_decisions=int((decided[0] != found_decided[0]).sum()) if decided else None,
        threshold_rows=len(near),
        difference_at_thresholds=float(deviations(*both(near)).max()) if len(near) else 0.0,
    )
