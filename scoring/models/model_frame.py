"""The DataFrame that a pipeline of scikit-learn gets, in training and wherever it scores."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from contract import FeatureInput


def model_frame(inputs: Sequence[FeatureInput], matrix: NDArray[np.float32]) -> pd.DataFrame:
    """Model input as a pipeline takes it.

    Args:
        matrix: float32 (n, k), as `contract.Resolver` gives it.

    Returns:
        n rows, one column per input, named after it: float32, NaN for a kept null; or the text of a category, see
        `contract.vocabulary`.
    """
    frame = pd.DataFrame(matrix, columns=[given.name for given in inputs])
    for at, given in enumerate(inputs):
        if given.codes is not None:
            frame[given.name] = given.codes.texts(matrix[:, at])
    return frame
