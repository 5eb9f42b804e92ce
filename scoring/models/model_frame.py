"""The DataFrame that a pipeline of scikit-learn gets, in training and wherever it scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from contract import FeatureInput, Vocabulary

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class CodedColumns:
    """Which columns of the model's matrix (n, k) hold more than finite numbers.

    categories: position → vocabulary, whose codes the column holds.
    unseen: positions of the categories whose unseen values reach the model.
    kept: positions of the inputs whose nulls reach the model.
    """

    categories: Mapping[int, Vocabulary] = field(default_factory=dict)
    unseen: frozenset[int] = frozenset()
    kept: frozenset[int] = frozenset()

    @classmethod
    def of(cls, inputs: Sequence[FeatureInput]) -> "CodedColumns":
        """Those of a contract's inputs."""
        categories = {at: given.codes for at, given in enumerate(inputs) if given.codes is not None}
        unseen = frozenset(at for at in categories if inputs[at].on_unseen == "use_value")
        return cls(categories, unseen, frozenset(at for at, given in enumerate(inputs) if given.on_missing == "keep"))

    def frame(self, matrix: NDArray[np.floating[Any]], names: Sequence[str]) -> "pd.DataFrame":
        """Model input as a pipeline takes it.

        Args:
            matrix: (n, k), as `contract.Resolver` gives it.
            names: of the k inputs.

        Returns:
            n rows, one column per input, named after it: numbers as in the matrix, NaN for a kept null; or the text of
            a category, see `contract.values.vocabulary`.
        """
        import pandas as pd  # a process that scores with ONNX does not need it

        if not self.categories:
            return pd.DataFrame(matrix, columns=list(names))
        texts = {at: codes.texts(matrix[:, at]) for at, codes in self.categories.items()}
        return pd.DataFrame({name: texts.get(at, matrix[:, at]) for at, name in enumerate(names)}, columns=list(names))


NUMBERS = CodedColumns()
"""All columns hold finite numbers."""


def model_frame(inputs: Sequence[FeatureInput], matrix: NDArray[np.float32]) -> "pd.DataFrame":
    """Model input as a pipeline takes it, see `CodedColumns.frame`."""
    return CodedColumns.of(inputs).frame(matrix, [given.name for given in inputs])
