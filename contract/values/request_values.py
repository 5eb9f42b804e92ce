"""Checks the values that a request gives for on-demand views, by the types that the contract promises."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from contract.errors import OverrideError
from contract.feature_schema import RequestInput
from contract.values.json_values import boolean_of, typed_number

WHERE = "inputs"
"""The member of a request that holds the values."""


def asked_of(request_inputs: Sequence[RequestInput]) -> tuple[RequestInput, ...]:
    """Those that the request fills."""
    return tuple(given for given in request_inputs if given.filled_by == "request")


def times_of(request_inputs: Sequence[RequestInput]) -> tuple[str, ...]:
    """Names of those that are the request's time."""
    return tuple(given.name for given in request_inputs if given.filled_by == "request_time_unix_us")


def checked_inputs(values: Mapping[str, object], asked: Sequence[RequestInput]) -> dict[str, Any]:
    """One request's values as on-demand code gets them, in the order of `asked`; defaults where it gives none.

    Args:
        values: name → value as decoded from JSON.

    Raises:
        OverrideError: a value is missing, unknown or of another type; the message never repeats a value.
    """
    names = {given.name for given in asked}
    for name in values:
        if name not in names:
            what = f"{name[:200]!r} is not asked for; GET /model lists the request inputs"
            raise OverrideError(f"{WHERE}.{name[:200]}", what)
    made = {}
    for given in asked:
        where = f"{WHERE}.{given.name}"
        value = values.get(given.name)
        if value is None:
            if given.default is None:
                raise OverrideError(where, f"is missing; the model needs it ({given.dtype})")
            value = given.default
        try:
            made[given.name] = python_value(value, given.dtype)
        except ValueError as error:
            raise OverrideError(where, str(error)) from None
    return made


def python_value(value: object, dtype: str) -> Any:
    """A JSON value as Feast passes it to on-demand code: bool, int, float, text, or a UTC time of whole seconds.

    Raises:
        ValueError: it does not fit the type; the message says what is expected.
    """
    match dtype:
        case "bool":
            return boolean_of(value)
        case "string":
            if not isinstance(value, str):
                raise ValueError("must be text")
            return value
        case "unixtimestamp":
            return _time(value)
    number = typed_number(value, dtype)
    if dtype == "float32":
        with np.errstate(over="ignore"):
            number = float(np.float32(number))
    if not math.isfinite(number):
        raise ValueError(f"must be a finite number within the range of {dtype}")
    return number


def _time(value: object) -> datetime:
    said = "must be a time with a zone, as 2026-01-31T12:00:00Z"
    if not isinstance(value, str):
        raise ValueError(said)
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(said) from None
    if at.tzinfo is None:
        raise ValueError(said)
    try:
        return at.astimezone(UTC).replace(microsecond=0)
    except OverflowError:
        raise ValueError("is out of range for a time") from None
