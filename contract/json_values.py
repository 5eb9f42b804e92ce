"""Checks values as decoded from JSON against the types of features and request inputs."""

import math

import numpy as np

from contract.feature_schema import Dtype

INTEGER_RANGE = {"int32": 2**31, "int64": 2**63}
"""Type of whole numbers → its values lie in [−n, n)."""


def number_of(value: object, dtype: Dtype) -> float:
    """A JSON number or boolean as the number that the model gets.

    Raises:
        ValueError: it does not fit the type; the message says what is expected.
    """
    if dtype == "bool":
        if not isinstance(value, bool):
            raise ValueError("must be true or false")
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"must be a number ({dtype})")
    if dtype in INTEGER_RANGE:
        limit = INTEGER_RANGE[dtype]
        if value != value or value in (math.inf, -math.inf) or int(value) != value:
            raise ValueError(f"must be a whole number ({dtype})")
        if not -limit <= value < limit:
            raise ValueError(f"is out of range for {dtype}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    with np.errstate(over="ignore"):
        if not np.isfinite(np.float32(number)):
            raise ValueError("must be a finite number within the range of float32")
    return number
