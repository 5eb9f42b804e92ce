"""Compiling a scikit-learn pipeline to ONNX, and proving that both give the same answers."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.pipeline import Pipeline

from scoring.onnx_scorer import onnx_scorer
from training.errors import ModelImportError

MAX_DIFFERENCE = 1e-5
"""Largest difference of a probability that is put down to float32 arithmetic."""


@dataclass(frozen=True)
class Comparison:
    """scikit-learn against ONNX on n rows."""

    rows: int
    largest_difference: float
    changed_decisions: int


def compile_to_onnx(pipeline: Pipeline, inputs: int) -> bytes:
    """Express the pipeline in ONNX: float32 (n, inputs) → class, probabilities (n, 2).

    Raises:
        ModelImportError: a step has no ONNX counterpart; the caller falls back to scikit-learn.
    """
    try:
        model = to_onnx(
            pipeline,
            initial_types=[("features", FloatTensorType([None, inputs]))],
            options={id(pipeline): {"zipmap": False}},
        )
    except (NotImplementedError, RuntimeError, ValueError, TypeError) as error:
        # skl2onnx has no one class for "cannot be expressed"
        raise ModelImportError(f"cannot be expressed in ONNX: {str(error).strip().splitlines()[0]}") from None
    return bytes(model.SerializeToString())


def compare(pipeline: Pipeline, onnx_model: bytes, matrix: pd.DataFrame, threshold: float) -> Comparison:
    """Hold ONNX against scikit-learn on every row.

    Args:
        matrix: float32 (n, k), columns named as in training.
        threshold: at or above it the positive class is decided.
    """
    expected = pipeline.predict_proba(matrix)[:, 1]
    score = onnx_scorer(onnx_model)
    found = score(np.ascontiguousarray(matrix.to_numpy(dtype=np.float32))).astype(np.float64)
    return Comparison(
        rows=len(matrix),
        largest_difference=float(np.abs(expected - found).max()),
        changed_decisions=int(((expected >= threshold) != (found >= threshold)).sum()),
    )
