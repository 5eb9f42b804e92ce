"""Compiling a scikit-learn pipeline to ONNX, and proving that both give the same answers."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.pipeline import Pipeline

from scoring.errors import ModelError
from scoring.models.onnx_scorer import onnx_scorer
from training.compilation.boosters import booster_in, register_converters
from training.compilation.float32_thresholds import convertible
from training.compilation.proof_rows import proof_rows
from training.errors import ModelImportError

MAX_DIFFERENCE = 1e-5
"""Largest difference of a probability that is put down to float32 arithmetic."""

_BOOSTERS_OPSET = {"": 15, "ai.onnx.ml": 3}
"""The latest that the converters of LightGBM and XGBoost write."""


@dataclass(frozen=True)
class Comparison:
    """scikit-learn against ONNX.

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
        """True if ONNX may serve: so written, NaN is unequal."""
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


def compile_to_onnx(pipeline: Pipeline, inputs: int) -> bytes:
    """Express the pipeline in ONNX: float32 (n, inputs) → class, probabilities (n, 2).

    Raises:
        ModelImportError: a step has no ONNX counterpart; the caller falls back to scikit-learn.
    """
    register_converters()
    try:
        copied = convertible(pipeline)
        model = to_onnx(
            copied,
            initial_types=[("features", FloatTensorType([None, inputs]))],
            options={id(copied): {"zipmap": False}},
            target_opset=_BOOSTERS_OPSET if booster_in(copied) else None,
        )
        compiled = bytes(model.SerializeToString())
        onnx_scorer(compiled)
    except ModelError as error:
        raise ModelImportError(f"cannot be expressed in ONNX: {error}") from None
    except Exception as error:  # converters and onnxruntime have no one class for "cannot be expressed"
        said = (str(error).strip().splitlines() or [""])[0]
        raise ModelImportError(f"cannot be expressed in ONNX: {type(error).__name__}: {said}") from None
    return compiled


def compare(
    pipeline: Pipeline, onnx_model: bytes, matrix: pd.DataFrame, threshold: float, at_thresholds: bool = True
) -> Comparison:
    """Hold ONNX against scikit-learn on every row, and on rows at the model's own thresholds.

    There, differences count and decisions do not: a row that lies on the decision's own threshold is decided by the
    last bit.

    Args:
        matrix: float32 (n, k), columns named as in training.
        threshold: at or above it the positive class is decided.
        at_thresholds: False where nothing is proven, only compared.
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
    return Comparison(
        rows=len(matrix),
        largest_difference=float(np.abs(expected - found).max()),
        changed_decisions=int(((expected >= threshold) != (found >= threshold)).sum()),
        threshold_rows=len(near),
        difference_at_thresholds=float(np.abs(np.subtract(*both(near))).max()) if len(near) else 0.0,
    )
