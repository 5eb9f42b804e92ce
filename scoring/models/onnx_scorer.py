"""A compiled model and the one way to call it: training, which proves it, and every plane score with it."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from scoring.errors import ModelError
from scoring.models.classes import check_label, check_probabilities


class Scorer(Protocol):
    """A compiled model: float32 (n, k) in contract order → positive-class probability, float32 (n,)."""

    def __call__(self, matrix: NDArray[np.float32], /) -> NDArray[np.float32]: ...


def onnx_scorer(
    model: bytes, class_names: Sequence[str] = ("negative", "positive"), columns: int | None = None
) -> Scorer:
    """A model in ONNX, whose second output is the probabilities of both classes, float32 (n, 2).

    Args:
        class_names: of the negative and the positive class, as the contract has them.
        columns: how many it is to be asked with; None is what the file says. If neither says, its answers are not
            looked at.

    Raises:
        ModelError: it does not answer so; names what was found and what is expected.
        Exception: onnxruntime's own, for bytes that are no model.
    """
    options = onnxruntime.SessionOptions()
    # One row takes microseconds; handing it to a thread pool would cost more than it.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # its warnings are about what it could drop, and are no lines of our log
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    _check_outputs(session, class_names, columns)
    name = session.get_inputs()[0].name
    output = session.get_outputs()[1].name

    def score(matrix: NDArray[np.float32], /) -> NDArray[np.float32]:
        (both,) = session.run([output], {name: matrix})
        return np.asarray(both[:, 1], dtype=np.float32)

    return score


def _check_outputs(session: Any, class_names: Sequence[str], columns: int | None) -> None:
    """Ask it for two rows: the shapes that a file declares may be open."""
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
        return  # it does not say how wide
    probe = np.zeros((2, width), dtype=np.float32)
    labels, both = session.run([each.name for each in outputs], {inputs[0].name: probe})
    check_probabilities(both, len(probe), class_names)
    check_label(labels, both, class_names)
