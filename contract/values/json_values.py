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
        return float(boolean_of(value))
    number = typed_number(value, dtype)
    with np.errstate(over="ignore"):
        if not np.isfinite(np.float32(number)):
            raise ValueError("must be a finite number within the range of float32")
    return float(number)


def boolean_of(value: object) -> bool:
    """A JSON boolean; raises ValueError for any other value."""
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def typed_number(value: object, dtype: str) -> int | float:
    """A JSON number: an int of a type of whole numbers, else a float, which is infinite beyond float64.

    Raises:
        ValueError: it does not fit the type; the message says what is expected.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"must be a number ({dtype})")
    limit = INTEGER_RANGE.get(dtype)
    if limit is None:
        try:
            return float(value)
        except OverflowError:
            return math.inf
    if isinstance(value, float) and not value.is_integer():  # infinity is none either
        raise ValueError(f"must be a whole number ({dtype})")
    if not -limit <= value < limit:
        raise ValueError(f"is out of range for {dtype}")
    return int(value)
