"""Loads an ONNX model as a scoring function; training, which verifies it, and every plane use it."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from scoring.errors import ModelError
from scoring.models.classes import check_label, check_probabilities


class Scorer(Protocol):
    """Scores a batch: float32 (n, k) in contract order → positive-class probability, float32 (n,)."""

    def __call__(self, matrix: NDArray[np.float32], /) -> NDArray[np.float32]: ...


def onnx_scorer(
    model: bytes, class_names: Sequence[str] = ("negative", "positive"), columns: int | None = None
) -> Scorer:
    """Load an ONNX model whose second output is the probabilities of both classes, float32 (n, 2).

    Args:
        class_names: of the negative and the positive class, as in the contract.
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
    _check_outputs(session, class_names, columns)
    name = session.get_inputs()[0].name
    output = session.get_outputs()[1].name

    def score(matrix: NDArray[np.float32], /) -> NDArray[np.float32]:
        (both,) = session.run([output], {name: matrix})
        return np.asarray(both[:, 1], dtype=np.float32)

    return score


def _check_outputs(session: Any, class_names: Sequence[str], columns: int | None) -> None:
    """Score two rows, because the declared shapes may be dynamic."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    expected = f"a class and the probabilities of {class_names[0]} and {class_names[1]}"
    if len(outputs) != 2:
        named = ", ".join(f"{each.name} {each.shape}" for each in outputs)
        raise ModelError(f"the model has {len(outputs)} output(s), {named}; two are expected, {expected}")
    if len(inputs) != 1 or inputs[0].type != "tensor(float)":
        named = ", ".join(f"{each.name} {each.type}" for each in inputs)
        raise ModelError(f"the model takes {named}; one float32 matrix is expected")
    width = columns or (inputs[0].shape[-1] if inputs[0].shape else None)
    if not isinstance(width, int):
        return  # the width is unknown
    probe = np.zeros((2, width), dtype=np.float32)
    labels, both = session.run([each.name for each in outputs], {inputs[0].name: probe})
    check_probabilities(both, len(probe), class_names)
    check_label(labels, both, class_names)
