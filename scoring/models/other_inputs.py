"""Rows as one model sees them → as another model would have seen them.

Models have vocabularies, defaults and policies of their own, so a code or a default of one means nothing to the other.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from contract import FeatureInput, ModelContract, RawFeatures, Resolver
from contract.values.vocabulary import MISSING_CODE, UNSEEN_CODE
from scoring.errors import ModelError

Floats = NDArray[np.float64]


def by_inputs_of(
    contract: ModelContract, inputs: Sequence[FeatureInput], values: NDArray[np.float32] | Floats
) -> Floats:
    """Values of n rows by the inputs of a contract.

    A category that the first model does not know stays unseen, because no value is kept of it.

    Args:
        inputs: of the model that saw the rows.
        values: (n, k) as that model sees them.

    Returns:
        float64 (n, m) in the contract's order, categories by its codes, NaN for null.

    Raises:
        ModelError: there is no such input, or it is of another kind.
    """
    columns = {given.name: (column, given) for column, given in enumerate(inputs)}
    if missing := [name for name in contract.feature_names if name not in columns]:
        raise ModelError(f"the rows lack inputs: {', '.join(missing)}")
    made = np.empty((len(values), len(contract.inputs)), dtype=np.float64)
    for at, wanted in enumerate(contract.inputs):
        column, given = columns[wanted.name]
        if given.kind != wanted.kind:
            raise ModelError(f"{wanted.name!r} is {given.kind} in the rows, {wanted.kind} in the contract")
        made[:, at] = values[:, column]
        if wanted.codes is not None and given.vocabulary is not None:
            codes = np.array([np.nan, UNSEEN_CODE, *wanted.codes.codes(given.vocabulary)])
            there = np.where(np.isnan(made[:, at]), MISSING_CODE, made[:, at])
            made[:, at] = codes[there.astype(np.intp) + 2]
    return made


def seen_by(contract: ModelContract, values: Floats) -> NDArray[np.float32]:
    """What the contract's model sees of the values, by its defaults and policies: float32 (n, m).

    Args:
        values: from `by_inputs_of`.
    """
    ages = [given.kind == "age" for given in contract.inputs]
    raw = RawFeatures(values=np.where(ages, -values, values), event_times=None)  # an age at time 0
    return Resolver.of(contract).resolve(raw, as_of=0.0).matrix


def row_without_values(contract: ModelContract) -> NDArray[np.float32]:
    """What the model sees of an entity without a stored value, its defaults and kept nulls: float32 (1, m)."""
    return seen_by(contract, np.full((1, len(contract.inputs)), np.nan))
