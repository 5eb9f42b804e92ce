"""What readiness probes look up. No entity has such a key, which is fine: only the round trip matters."""

from datetime import UTC, datetime
from typing import Any

from contract import Key, key_of
from contract.feature_schema import Dtype, KeyDtype
from contract.feature_union import FeatureUnion
from contract.values.request_values import asked_of, python_value

_KEYS: dict[KeyDtype, str | int] = {"string": "readiness-probe", "int32": -(2**31), "int64": -(2**63)}
_VALUES: dict[Dtype, Any] = {
    "bool": True,
    "int32": 1,
    "int64": 1,
    "float32": 1.0,
    "float64": 1.0,
    "string": "",
    "unixtimestamp": datetime.fromtimestamp(0, UTC),
}
"""Stand in for the values of a request. On-demand code may divide by a number, so it is not zero."""


def key_of_no_entity(union: FeatureUnion) -> Key:
    """A key of the types that are looked up by."""
    return key_of([_KEYS[key.dtype] for key in union.entity_keys])


def values_of_no_request(union: FeatureUnion) -> dict[str, list[Any]] | None:
    """One row of the values that the port asks for: defaults, or made-up ones. None if it asks for none."""
    values = {
        given.name: [_VALUES[given.dtype] if given.default is None else python_value(given.default, given.dtype)]
        for given in asked_of(union.request_inputs)
    }
    return values or None
