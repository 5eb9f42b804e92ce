"""Loads an ONNX model as a scoring function; training, which verifies it, and every plane use it."""

from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from contract import BinaryTask, DecisionThreshold
from scoring.errors import ModelError
from scoring.models.task_models import PredictedTask, Scorer, TaskModel, task_model

ANY_BINARY = BinaryTask(classes=("negative", "positive"), threshold=DecisionThreshold(value=0.5, rule="none"))
"""For models whose contract is not known yet."""


def onnx_scorer(model: bytes, task: PredictedTask = ANY_BINARY, columns: int | None = None) -> Scorer:
    """Load an ONNX model.

    Its outputs are a class and the probabilities of all classes, float32 (n, c); of a regression the value alone,
    float32 (n, 1).

    Args:
        task: of the contract, or of a use case.
        columns: number of input columns; None: as the file declares. If both are unknown, the outputs are not checked.

    Raises:
        ModelError: its outputs have another form; names what was found and what is expected.
        Exception: onnxruntime's own, for bytes that are not a model.
    """
    options = onnxruntime.SessionOptions()
    # Scoring a row takes microseconds; a thread pool would cost more.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only: its warnings report dropped parts of the graph
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    own = task_model(task)
    _check_outputs(session, own, columns)
    name = session.get_inputs()[0].name
    output, scores = session.get_outputs()[-1].name, own.scores

    def score(matrix: NDArray[np.float32], /) -> NDArray[np.float32]:
        return np.asarray(scores(session.run([output], {name: matrix})[0]), dtype=np.float32)

    return score


def _check_outputs(session: Any, own: TaskModel, columns: int | None) -> None:
    """Score two rows, because the declared shapes may be dynamic."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(outputs) != own.onnx_outputs:
        named = ", ".join(f"{each.name} {each.shape}" for each in outputs)
        raise ModelError(f"the model has {len(outputs)} output(s), {named}; {own.onnx_expected}")
    if len(inputs) != 1 or inputs[0].type != "tensor(float)":
        named = ", ".join(f"{each.name} {each.type}" for each in inputs)
        raise ModelError(f"the model takes {named}; one float32 matrix is expected")
    width = columns or (inputs[0].shape[-1] if inputs[0].shape else None)
    if not isinstance(width, int):
        return  # the width is unknown
    probe = np.zeros((2, width), dtype=np.float32)
    own.check_outputs(session.run([each.name for each in outputs], {inputs[0].name: probe}), len(probe))
