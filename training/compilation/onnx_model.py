"""Compiles a scikit-learn pipeline to ONNX, and verifies that both give the same answers."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from skl2onnx import to_onnx
from sklearn.pipeline import Pipeline

from contract import Task
from scoring.agreement import CONVERTED, deviations
from scoring.errors import ModelError
from scoring.models.model_frame import NUMBERS, CodedColumns
from scoring.models.onnx_scorer import ANY_BINARY, onnx_scorer
from scoring.models.task_models import PredictedTask, task_model
from scoring.task_outputs import Floats, TaskOutputs, rules_of
from training.compilation.boosters import booster_in, register_converters
from training.compilation.decoded_columns import initial_types, number_columns, variables_of, with_decoding
from training.compilation.exact_steps import with_exact_steps
from training.compilation.float32_thresholds import with_float32_thresholds
from training.compilation.planted_rows import planted_rows
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
    planted_rows, difference_on_planted: on rows with nulls, unseen values and rare categories. None: no input is a
        category or keeps nulls.
    """

    rows: int
    largest_difference: float
    changed_decisions: int | None
    threshold_rows: int = 0
    difference_at_thresholds: float = 0.0
    planted_rows: int | None = None
    difference_on_planted: float | None = None

    @property
    def equal(self) -> bool:
        """True if ONNX may serve; NaN counts as unequal."""
        return (
            self.largest_difference <= MAX_DIFFERENCE
            and self.difference_at_thresholds <= MAX_DIFFERENCE
            and (self.difference_on_planted is None or self.difference_on_planted <= MAX_DIFFERENCE)
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
        said = (
            f"{self.on_rows}; {self.threshold_rows:,} rows at the model's thresholds, "
            f"largest difference {self.difference_at_thresholds:.1e}"
        )
        if self.difference_on_planted is None:
            return said
        return (
            f"{said}; {self.planted_rows:,} rows with nulls, unseen values and each category, "
            f"largest difference {self.difference_on_planted:.1e}"
        )


def compile_to_onnx(
    pipeline: Pipeline, inputs: int, task: PredictedTask = ANY_BINARY, coded: CodedColumns = NUMBERS
) -> bytes:
    """Convert the pipeline to ONNX: float32 (n, inputs) → class, probabilities (n, c); of a regression value (n, 1).

    Args:
        coded: columns that hold codes are decoded in the graph.

    Raises:
        ModelImportError: a step cannot be expressed in ONNX.
    """
    register_converters()
    try:
        copied = with_float32_thresholds(pipeline)
        variables = variables_of(copied, inputs, coded.categories)
        number_columns(copied, variables, coded.categories)
        boosted = bool(booster_in(copied))
        with_exact_steps(copied, scalers=boosted)
        model = to_onnx(
            copied,
            initial_types=initial_types(variables, coded.categories),
            options={id(copied): {"zipmap": False}} if hasattr(copied, "classes_") else None,
            target_opset=_BOOSTERS_OPSET if boosted else None,
        )
        if len(variables) > 1 or coded.categories:
            with_decoding(model, variables, inputs, coded.categories)
        compiled = bytes(model.SerializeToString())
        onnx_scorer(compiled, task)
    except ModelError as error:
        raise ModelImportError(f"cannot be expressed in ONNX: {error}") from None
    except Exception as error:  # converters and onnxruntime have no common error class
        said = (str(error).strip().splitlines() or [""])[0]
        raise ModelImportError(f"cannot be expressed in ONNX: {type(error).__name__}: {said}") from None
    return compiled


def compare(
    pipeline: Pipeline,
    onnx_model: bytes,
    matrix: pd.DataFrame,
    task: Task,
    at_thresholds: bool = True,
    coded: CodedColumns = NUMBERS,
    unit: float = 1.0,
) -> OnnxComparison:
    """Compare ONNX with scikit-learn on every row, and on rows at the model's own thresholds, and on planted ones.

    At thresholds, and on planted rows, only scores are compared: rounding alone may change a decision there.

    Args:
        matrix: float32 (n, k), columns named as in training.
        task: of the contract.
        at_thresholds: False: compare only the given rows.
        coded: columns of the matrix that hold codes or nulls.
        unit: see `scoring.agreement.unit_of`; of what `deviations` are relative to.

    Raises:
        ModelImportError: ONNX refuses a row.
    """
    expected, found = _answers(pipeline, onnx_model, matrix, task, coded)
    made: dict[str, Any] = {}
    if at_thresholds:
        made |= dict(
            zip(
                ("threshold_rows", "difference_at_thresholds"),
                difference_at_thresholds(pipeline, onnx_model, matrix, task, coded, unit),
                strict=True,
            )
        )
    if at_thresholds and (coded.categories or coded.kept):
        made |= dict(
            zip(
                ("planted_rows", "difference_on_planted"),
                difference_on_planted(pipeline, onnx_model, matrix, task, coded, unit),
                strict=True,
            )
        )
    return OnnxComparison(
        rows=len(matrix),
        largest_difference=float(deviations(expected, found, unit).max()),
        changed_decisions=_changed_decisions(rules_of(task), expected, found),
        **made,
    )


def compare_recorded(
    onnx_model: bytes, matrix: pd.DataFrame, recorded: Floats, task: Task, unit: float = 1.0
) -> OnnxComparison:
    """Compare ONNX with the scores that another framework recorded of the same rows.

    Args:
        matrix: float32 (n, k), columns in the order of the contract.
        recorded: (n,) or (n, c).
        task: of the contract.
    """
    found = _scores_of(onnx_model, matrix, task)
    return OnnxComparison(
        rows=len(matrix),
        largest_difference=float(deviations(recorded, found, unit).max()),
        changed_decisions=_changed_decisions(rules_of(task), recorded, found),
    )


def difference_at_thresholds(
    pipeline: Pipeline,
    onnx_model: bytes,
    matrix: pd.DataFrame,
    task: PredictedTask,
    coded: CodedColumns = NUMBERS,
    unit: float = 1.0,
) -> tuple[int, float]:
    """Number of rows made at the model's own thresholds from these rows, and the largest difference on them."""
    real = _without_nulls(matrix.to_numpy(dtype=np.float32), coded)
    real = real[np.isfinite(real).all(axis=1)]
    near = proof_rows(pipeline, real, coded=coded) if len(real) else real
    return _difference(pipeline, onnx_model, pd.DataFrame(near, columns=matrix.columns), task, coded, unit)


def _without_nulls(rows: NDArray[np.float32], coded: CodedColumns) -> NDArray[np.float32]:
    """The rows with the median in place of nulls that reach the model, because these have no threshold."""
    filled = rows.copy()
    for at in coded.kept:
        there = np.isfinite(rows[:, at])
        filled[~there, at] = np.median(rows[there, at]) if there.any() else 0.0
    return filled


def difference_on_planted(
    pipeline: Pipeline,
    onnx_model: bytes,
    matrix: pd.DataFrame,
    task: PredictedTask,
    coded: CodedColumns,
    unit: float = 1.0,
) -> tuple[int, float]:
    """Number of `planted_rows` made from these rows, and the largest difference on them."""
    real = matrix.to_numpy(dtype=np.float32)
    made = [rows for _, rows in planted_rows(real, coded)] if len(real) else []
    planted = np.concatenate([real[:0], *made])
    return _difference(pipeline, onnx_model, pd.DataFrame(planted, columns=matrix.columns), task, coded, unit)


def _difference(
    pipeline: Pipeline, onnx_model: bytes, rows: pd.DataFrame, task: PredictedTask, coded: CodedColumns, unit: float
) -> tuple[int, float]:
    if not len(rows):
        return 0, 0.0
    return len(rows), float(deviations(*_answers(pipeline, onnx_model, rows, task, coded), unit).max())


def _answers(
    pipeline: Pipeline, onnx_model: bytes, rows: pd.DataFrame, task: PredictedTask, coded: CodedColumns
) -> tuple[Floats, Floats]:
    own = task_model(task)
    frame = coded.frame(rows.to_numpy(), list(rows.columns))
    answered = own.scores(np.asarray(own.answered_by(pipeline, frame), dtype=np.float64))
    return answered, _scores_of(onnx_model, rows, task)


def _scores_of(onnx_model: bytes, rows: pd.DataFrame, task: PredictedTask) -> Floats:
    score = onnx_scorer(onnx_model, task)
    try:
        return score(np.ascontiguousarray(rows.to_numpy(dtype=np.float32))).astype(np.float64)
    except Exception as error:  # onnxruntime has no class for all that it raises
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelImportError(f"ONNX gives no answer to some rows: {said}") from None


def _changed_decisions(rules: TaskOutputs, expected: Floats, found: Floats) -> int | None:
    """Rows with another decision. Of classes that are equally likely within rounding, either is the same answer."""
    decided, other = rules.of(expected)[1:], rules.of(found)[1:]
    if not decided:
        return None
    if expected.ndim == 1:
        return int((decided[0] != other[0]).sum())
    rows = np.arange(len(expected))
    return int((expected[rows, other[0]] < expected[rows, decided[0]] - MAX_DIFFERENCE).sum())
