"""Compiles a scikit-learn pipeline to ONNX, and verifies that both give the same answers."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.pipeline import Pipeline

from contract import Task
from scoring.errors import ModelError
from scoring.models.onnx_scorer import ANY_BINARY, onnx_scorer
from training.compilation.boosters import booster_in, register_converters
from training.compilation.float32_thresholds import with_float32_thresholds
from training.compilation.proof_rows import proof_rows
from training.errors import ModelImportError

MAX_DIFFERENCE = 1e-5
"""Largest difference of probabilities that float32 rounding may cause."""

_BOOSTERS_OPSET = {"": 15, "ai.onnx.ml": 3}
"""The newest opset that the converters of LightGBM and XGBoost support."""


@dataclass(frozen=True)
class OnnxComparison:
    """Answers of scikit-learn against ONNX.

    rows, largest_difference, changed_decisions: on n real rows.
    threshold_rows, difference_at_thresholds: on rows at the model's own thresholds.
    """

    rows: int
    largest_difference: float
    changed_decisions: int
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

    def __str__(self) -> str:
        return (
            f"{self.rows:,} test rows, largest difference {self.largest_difference:.1e}, "
            f"{self.changed_decisions} changed decisions; {self.threshold_rows:,} rows at the model's thresholds, "
            f"largest difference {self.difference_at_thresholds:.1e}"
        )


def compile_to_onnx(pipeline: Pipeline, inputs: int, task: Task = ANY_BINARY) -> bytes:
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
    pipeline: Pipeline, onnx_model: bytes, matrix: pd.DataFrame, threshold: float, at_thresholds: bool = True
) -> OnnxComparison:
    """Compare ONNX with scikit-learn on every row, and on rows at the model's own thresholds.

    At thresholds only probabilities are compared: rounding alone may change a decision there.

    Args:
        matrix: float32 (n, k), columns named as in training.
        threshold: decision threshold of the positive class.
        at_thresholds: False: compare only the given rows.
    """
    score = onnx_scorer(onnx_model)

    def both(rows: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        given = np.ascontiguousarray(rows.to_numpy(dtype=np.float32))
        return pipeline.predict_proba(rows)[:, 1].astype(np.float64), score(given).astype(np.float64)

    expected, found = both(matrix)
    near = pd.DataFrame(columns=matrix.columns, dtype=np.float32)
    real = matrix.to_numpy(dtype=np.float32)
    real = real[np.isfinite(real).all(axis=1)]
    if at_thresholds and len(real):
        near = pd.DataFrame(proof_rows(pipeline, real), columns=matrix.columns)
    return OnnxComparison(
        rows=len(matrix),
        largest_difference=float(np.abs(expected - found).max()),
        changed_decisions=int(((expected >= threshold) != (found >= threshold)).sum()),
        threshold_rows=len(near),
        difference_at_thresholds=float(np.abs(np.subtract(*both(near))).max()) if len(near) else 0.0,
    )
