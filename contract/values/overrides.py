"""Checks values that a caller gives in place of looked-up ones."""

import math

from contract.errors import OverrideError
from contract.inputs import FeatureInput
from contract.values.json_values import number_of
from contract.values.vocabulary import UNSEEN_CODE, Vocabulary

KEPT_NULL = -math.inf
"""An override by null, of an input that keeps nulls."""


def checked_override(value: object, feature: FeatureInput) -> float:
    """A JSON value as the number that the model gets: a category's code, seconds for a timestamp, `KEPT_NULL` for null.

    Raises:
        OverrideError: it does not fit the input's type.
    """
    where = f"features.{feature.name}"
    if value is None and feature.on_missing == "keep":
        return KEPT_NULL
    if feature.codes is not None:
        return _code(value, feature, feature.codes)
    try:
        return number_of(value, "float64" if feature.kind == "age" else feature.dtype)
    except ValueError as error:
        what = f"is the age of a time, in seconds; it {error}" if feature.kind == "age" else str(error)
        raise OverrideError(where, what) from None


def _code(value: object, feature: FeatureInput, codes: Vocabulary) -> float:
    where = f"features.{feature.name}"
    if feature.dtype == "string":
        if not isinstance(value, str):
            raise OverrideError(where, "must be text")
    else:
        try:
            number_of(value, feature.dtype)
        except ValueError as error:
            raise OverrideError(where, str(error)) from None
    code = codes.code(value)  # 7.0 is found as 7
    if code == UNSEEN_CODE and feature.on_unseen != "use_value":
        raise OverrideError(where, "is not one of the model's categories; GET /model lists them")
    return code
