"""The rows of `POST /features`: what was read of each feature, its age and its state."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field, create_model

from contract import FeatureInput, FeatureState, Key, ModelContract
from contract.resolved import STATE_WORDS
from contract.values.vocabulary import UNSEEN_CODE, UNSEEN_TEXT
from scoring.outcomes import statuses_of
from service.api.members.key_types import KEY_TYPES
from service.api.members.schemas import without_default
from service.prediction.live_model import ReadFeatures
from service.prediction.predictions import key_in_json

_STATES = [STATE_WORDS.get(state, "fresh") for state in FeatureState]
_LIST: Any = list
_ONE_OF: Any = Literal
"""Of types and words that are known only when the contract has been read."""


class _Type(NamedTuple):
    """How features of one type are written.

    name: of their body.
    value: JSON type of a value.
    used: JSON type of what a model takes of it; a default need not be of the feature's own type.
    written: a value, as a number or code → what JSON says.
    """

    name: str
    value: Any
    used: Any
    written: Callable[[float], Any]


def _type_of(given: FeatureInput) -> _Type:
    if given.vocabulary is not None:
        texts = {UNSEEN_CODE: UNSEEN_TEXT} | {float(code): str(text) for code, text in enumerate(given.vocabulary)}
        return _Type("CategoryFeature", str, str, texts.__getitem__)
    if given.dtype == "bool":
        return _Type("BooleanFeature", bool, float, bool)
    if given.dtype in ("int32", "int64"):
        return _Type("IntegerFeature", int, float, int)
    return _Type("NumberFeature", float, float, float)


@dataclass(frozen=True)
class _Feature:
    """One feature; an array is one, with a list of values.

    columns: of the matrix.
    defaults: the contract's, of each column.
    ttl_seconds: age from which it is stale; None: there is none, or not one for all its views.
    """

    name: str
    columns: slice
    is_array: bool
    is_age: bool
    type: _Type
    defaults: Sequence[Any]
    ttl_seconds: float | None

    @classmethod
    def of(cls, at: int, inputs: Sequence[FeatureInput], ttls: Mapping[str, float | None]) -> "_Feature":
        """The feature of some inputs.

        Args:
            at: the first one's column.
            ttls: stored view → seconds.
        """
        first, kind = inputs[0], _type_of(inputs[0])
        limits = {ttls[view] for view in first.sources}
        return cls(
            name=first.reference,
            columns=slice(at, at + len(inputs)),
            is_array=first.element is not None,
            is_age=first.kind == "age",
            type=kind,
            defaults=[None if given.default is None else kind.used(given.default) for given in inputs],
            ttl_seconds=limits.pop() if len(limits) == 1 else None,
        )

    def cells(self, read: ReadFeatures) -> list[dict[str, Any]]:
        """The feature in each of n rows."""
        resolved = read.resolved
        states = resolved.states[:, self.columns]
        worst = states[np.arange(len(states)), (states != 0).argmax(axis=1)]
        ages = resolved.ages[:, self.columns.start]
        values = self._values(read)
        cells = [
            {
                "value": of_row if self.is_array else of_row[0],
                "state": _STATES[state],
                "age_seconds": age,  # JSON has null for NaN
                "ttl_seconds": self.ttl_seconds,
            }
            for of_row, state, age in zip(values, worst.tolist(), ages.tolist(), strict=True)
        ]
        replaced = resolved.defaulted[:, self.columns] & ~resolved.refused[:, None]
        for row in np.flatnonzero(replaced.any(axis=1)).tolist():
            columns = zip(replaced[row].tolist(), self.defaults, values[row], strict=True)
            used = [default if is_replaced else value for is_replaced, default, value in columns]
            cells[row]["used"] = used if self.is_array else used[0]
        return cells

    def _values(self, read: ReadFeatures) -> list[list[Any]]:
        numbers = read.raw.values[:, self.columns]
        if self.is_age:
            numbers = np.reshape(read.as_of, (-1, 1)) - numbers
        missing = read.resolved.states[:, self.columns] == FeatureState.MISSING
        written = self.type.written
        return [
            [None if is_missing else written(number) for number, is_missing in zip(row, of_row, strict=True)]
            for row, of_row in zip(numbers.tolist(), missing.tolist(), strict=True)
        ]

    @property
    def body(self) -> Any:
        """Type of its cells."""
        value = _LIST[self.type.value | None] if self.is_array else self.type.value | None
        used = _LIST[self.type.used | None] if self.is_array else self.type.used | None
        states = ("fresh", "stale", "missing", *(("unseen",) if self.type.name == "CategoryFeature" else ()))
        words = "age from which it is stale; null if there is none, or not one for all its views"
        left_out = Field(
            default=None,
            description="what a model takes where that is not the value; else absent",
            json_schema_extra=without_default,
        )
        return create_model(
            f"{self.type.name}{'Array' if self.is_array else ''}",
            __doc__="A feature as it was read.",
            __module__=__name__,
            value=(value, Field(description="null if it is missing")),
            state=(_ONE_OF[states], ...),
            age_seconds=(float | None, Field(description="of its oldest row; null if there is none")),
            ttl_seconds=(float | None, Field(description=words)),
            used=(used, left_out),
        )


@dataclass(frozen=True)
class FeatureRows:
    """Writes the rows of one contract."""

    contract: ModelContract

    @cached_property
    def _features(self) -> list[_Feature]:
        ttls = {view.name: view.ttl_seconds for view in self.contract.feature_schema.views}
        features, at = [], 0
        for _, alike in groupby(self.contract.inputs, lambda given: given.reference):
            inputs = list(alike)
            features.append(_Feature.of(at, inputs, ttls))
            at += len(inputs)
        return features

    def rows(self, keys: Sequence[Key], read: ReadFeatures, at: Sequence[int]) -> list[dict[str, Any]]:
        """The rows of n keys.

        Args:
            at: where each key's row is in `read`.
        """
        names = [feature.name for feature in self._features]
        cells = zip(*(feature.cells(read) for feature in self._features), strict=True)
        known, cached = read.resolved.known.tolist(), read.raw.cached_seconds
        rows = [
            {
                "status": status,
                "features": dict(zip(names, of_row, strict=True)) if is_known else None,
                "cached_seconds": None if cached is None else float(cached[row]),
            }
            for row, (of_row, status, is_known) in enumerate(zip(cells, read.statuses, known, strict=True))
        ]
        join_keys = [key.join_key for key in self.contract.feature_schema.entity_keys]
        return [
            {**dict(zip(join_keys, key_in_json(key), strict=True)), **rows[position]}
            for key, position in zip(keys, at, strict=True)
        ]

    @property
    def body(self) -> Any:
        """Type of a row."""
        keys: dict[str, Any] = {
            f"key_{at}": (KEY_TYPES[key.dtype].answered, Field(alias=key.join_key))
            for at, key in enumerate(self.contract.feature_schema.entity_keys)
        }
        bodies = {(feature.type.name, feature.is_array): feature.body for feature in self._features}
        members: dict[str, Any] = {
            f"feature_{at}": (bodies[feature.type.name, feature.is_array], Field(alias=feature.name))
            for at, feature in enumerate(self._features)
        }
        features = create_model(
            "FeatureValues",
            __doc__="Feature reference (view__feature) → what was read.",
            __module__=__name__,
            **members,
        )
        cached = Field(description="how long ago the features were read, if last known good ones stand in; else null")
        return create_model(
            "FeatureRow",
            __doc__=f"The features of one {self.contract.entity}.",
            __module__=__name__,
            **keys,
            status=(_ONE_OF[statuses_of(self.contract)], ...),
            features=(features | None, Field(description="null if none are stored")),
            cached_seconds=(Annotated[float, Field(ge=0)] | None, cached),
        )
