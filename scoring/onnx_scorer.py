"""A compiled model and the one way to call it: training, which proves it, and every plane score with it."""

from typing import Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray


class Scorer(Protocol):
    """A compiled model: float32 (n, k) in contract order → positive-class probability, float32 (n,)."""

    def __call__(self, matrix: NDArray[np.float32], /) -> NDArray[np.float32]: ...


def onnx_scorer(model: bytes) -> Scorer:
    """A model in ONNX, whose second output is the probabilities of both classes, float32 (n, 2).

    Raises:
        Exception: onnxruntime's own, for bytes that are no model.
    """
    options = onnxruntime.SessionOptions()
    # One row takes microseconds; handing it to a thread pool would cost more than it.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    output = session.get_outputs()[1].name

    def score(matrix: NDArray[np.float32], /) -> NDArray[np.float32]:
        (both,) = session.run([output], {name: matrix})
        return np.asarray(both[:, 1], dtype=np.float32)

    return score
