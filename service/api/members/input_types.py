"""JSON types of a model's inputs and of a request's values, for the OpenAPI document."""

from collections.abc import Mapping
from typing import Any

from contract import FeatureInput, RequestInput
from contract.feature_schema import Dtype
from contract.values.json_values import INTEGER_RANGE
from contract.values.vocabulary import MISSING_TEXT, UNSEEN_TEXT

Json = dict[str, Any]

FLOAT32: Json = {"type": "number", "exclusiveMinimum": -(2.0**128 - 2.0**103), "exclusiveMaximum": 2.0**128 - 2.0**103}
"""What rounds to a finite float32, in which the model computes."""
_MOST_LISTED = 50
"""A longer vocabulary is not repeated in the document; `GET /model` has it."""

_OF_REQUEST: Mapping[Dtype, Json] = {
    "bool": {"type": "boolean"},
    "float32": FLOAT32,
    "float64": {"type": "number"},
    "string": {"type": "string"},
    "unixtimestamp": {"type": "string", "format": "date-time", "description": "whole seconds count, with a zone"},
}


def override_type(feature: FeatureInput) -> Json:
    """What may replace a looked-up value."""
    if feature.vocabulary is not None:
        stated = _category(feature, feature.vocabulary, "string" if feature.dtype == "string" else "integer")
    elif feature.kind == "age":
        stated = {**FLOAT32, "description": "seconds from the time to the request's time"}
    elif feature.dtype in ("float32", "float64"):
        stated = FLOAT32
    else:
        stated = _plain(feature.dtype)
    return _nullable(stated) if feature.on_missing == "keep" else stated


def column_type(feature: FeatureInput) -> Json:
    """A cell of `POST /invocations`: every category is text there, as in the model's MLflow signature."""
    keeps_nulls = feature.on_missing == "keep"
    if feature.vocabulary is None:
        return _nullable(FLOAT32) if keeps_nulls else FLOAT32
    texts = [*map(str, feature.vocabulary)]
    if feature.on_unseen != "refuse":
        texts.append(UNSEEN_TEXT)
    if keeps_nulls:
        texts.append(MISSING_TEXT)
    stated = _category(feature, tuple(texts), "string")
    return _nullable(stated) if keeps_nulls else stated


def request_type(given: RequestInput) -> Json:
    """A value for on-demand views. Null is as good as none."""
    stated = _plain(given.dtype)
    return stated if given.default is None else {**_nullable(stated), "default": given.default}


def _plain(dtype: Dtype) -> Json:
    limit = INTEGER_RANGE.get(dtype)
    return _OF_REQUEST[dtype] if limit is None else {"type": "integer", "minimum": -limit, "maximum": limit - 1}


def _nullable(stated: Json) -> Json:
    return {"anyOf": [stated, {"type": "null"}]}


def _category(feature: FeatureInput, values: tuple[Any, ...], kind: str) -> Json:
    plain = {"type": kind} if kind == "string" else _plain(feature.dtype)
    if feature.on_unseen == "use_value":
        words = f"a category; GET /model lists those that the model knows, any other {kind} is unseen"
        return {**plain, "examples": list(values[:_MOST_LISTED]), "description": words}
    if len(values) <= _MOST_LISTED:
        return {**plain, "enum": list(values)}
    return {**plain, "description": "one of the model's categories; GET /model lists them"}
