"""Raw feature values + event times + overrides → model input + the state of every feature.

Only this module decides what the model sees when a feature is stale, missing or overridden. Training, HTTP, batch and
stream scoring all call it, so they cannot differ.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from contract.errors import ContractError, OverrideError
from contract.feature_schema import SourceView
from contract.inputs import FeatureInput
from contract.model_contract import ModelContract
from contract.raw_features import RawFeatures

CLOCK_SKEW_SECONDS = 300.0
"""Allowed difference between the clocks of feature writers and readers. An event time further in the future is invalid:
its values would count as fresh until that time."""

_EFFECTS = {"on_stale": ("use_value", "use_default", "refuse"), "on_missing": ("use_default", "refuse")}
"""Policies that `Resolver` applies. A name that only feature_schema.py knows must not act as `use_default`."""

_INTEGER_RANGE = {"int32": 2**31, "int64": 2**63}


class FeatureState(IntEnum):
    """State of one feature in one row."""

    FRESH = 0
    STALE = 1
    MISSING = 2
    OVERRIDDEN = 3


@dataclass(frozen=True, slots=True)
class FeatureIssue:
    """One feature of one row that is not fresh.

    age_seconds: request time minus event time of the oldest source row; None if there is no row, or if the value came
        with the request.
    used: what the model saw, the `value` or the `default`; None if the row was refused.
    """

    feature: str
    state: Literal["stale", "missing", "overridden"]
    age_seconds: float | None
    used: Literal["value", "default"] | None


@dataclass(frozen=True, slots=True)
class ResolvedFeatures:
    """Model input of n rows, with the state of each of the k features.

    matrix: float32 (n, k), every value finite.
    states: uint8 (n, k) of `FeatureState`.
    defaulted: bool (n, k), the contract's default was used.
    ages: float64 (n, k) seconds; NaN: no row, or the age is unknown.
    known: bool (n,), the store has at least one row of this key.
    refused: bool (n,), the contract forbids scoring this row.
    """

    matrix: NDArray[np.float32]
    states: NDArray[np.uint8]
    defaulted: NDArray[np.bool_]
    ages: NDArray[np.float64]
    known: NDArray[np.bool_]
    refused: NDArray[np.bool_]
    names: tuple[str, ...]

    def take(self, rows: NDArray[np.intp]) -> "ResolvedFeatures":
        """Some of the rows."""
        return ResolvedFeatures(
            matrix=self.matrix[rows],
            states=self.states[rows],
            defaulted=self.defaulted[rows],
            ages=self.ages[rows],
            known=self.known[rows],
            refused=self.refused[rows],
            names=self.names,
        )

    def all_issues(self) -> "FeatureIssues":
        """The features that are not fresh, of all rows at once; unknown keys have none."""
        rows, columns = np.nonzero(self.states * self.known[:, None])
        states = self.states[rows, columns]
        ages = self.ages[rows, columns]
        ages[states == FeatureState.OVERRIDDEN] = np.nan
        return FeatureIssues(rows, columns, states, ages, self.defaulted[rows, columns], self.refused[rows])

    def issues(self, row: int) -> list[FeatureIssue]:
        """The features of one row that are not fresh, in model order."""
        found = []
        for column in np.flatnonzero(self.states[row]):
            state = STATE_WORDS[int(self.states[row, column])]
            # A value from the request has no age; the age of the stored value that it replaced would mislead.
            age = math.nan if state == "overridden" else float(self.ages[row, column])
            used: Literal["value", "default"] = "default" if self.defaulted[row, column] else "value"
            found.append(
                FeatureIssue(
                    feature=self.names[column],
                    state=state,
                    age_seconds=None if math.isnan(age) else age,
                    used=None if self.refused[row] else used,
                )
            )
        return found


@dataclass(frozen=True, slots=True)
class FeatureIssues:
    """m `FeatureIssue`s as arrays, sorted by row, then in model order.

    rows, columns: int (m,), position in the batch.
    states: uint8 (m,) of `FeatureState`.
    ages: float64 (m,) seconds; NaN: none.
    defaulted: bool (m,), the default was used, else the value; neither where `refused`.
    """

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    states: NDArray[np.uint8]
    ages: NDArray[np.float64]
    defaulted: NDArray[np.bool_]
    refused: NDArray[np.bool_]


STATE_WORDS: dict[int, Literal["stale", "missing", "overridden"]] = {
    FeatureState.STALE: "stale",
    FeatureState.MISSING: "missing",
    FeatureState.OVERRIDDEN: "overridden",
}


class Resolver:
    """Applies a contract's policies to raw features; its inputs are compiled once into arrays.

    Attributes:
        names: the k feature references in model order.
        views: names of the v stored views, in the order of `RawFeatures.event_times`.
    """

    def __init__(self, inputs: Sequence[FeatureInput], views: Sequence[SourceView]) -> None:
        self.names = tuple(f.name for f in inputs)
        self.views = tuple(v.name for v in views)
        self._inputs = {f.name: (column, f) for column, f in enumerate(inputs)}
        self._ttl = np.array([math.inf if v.ttl_seconds is None else v.ttl_seconds for v in views])
        sources = [[self.views.index(s) for s in f.sources] for f in inputs]
        self._first_source = np.array([positions[0] if positions else 0 for positions in sources], dtype=np.intp)
        self._sourceless = [c for c, positions in enumerate(sources) if not positions]  # from the request only
        self._further_sources = [(c, positions) for c, positions in enumerate(sources) if len(positions) > 1]
        with np.errstate(over="ignore"):
            self._default = np.array([f.default for f in inputs]).astype(np.float32)
        if not np.isfinite(self._default).all():
            bad = [name for name, d in zip(self.names, self._default, strict=True) if not np.isfinite(d)]
            raise ContractError(f"default of {bad} is not a finite float32")
        for feature, (which, known) in product(inputs, _EFFECTS.items()):
            if (policy := getattr(feature, which)) not in known:
                raise ContractError(f"{feature.name}: {which}: {policy!r} has no effect in this code; it knows {known}")
        self._stale_uses_value = np.array([f.on_stale == "use_value" for f in inputs])
        self._stale_refuses = np.array([f.on_stale == "refuse" for f in inputs])
        self._missing_refuses = np.array([f.on_missing == "refuse" for f in inputs])

    @classmethod
    def of(cls, contract: ModelContract) -> "Resolver":
        """The resolver of a contract."""
        return cls(contract.inputs, contract.feature_schema.views)

    def check_overrides(self, overrides: Mapping[str, object]) -> dict[int, float]:
        """Check a caller's overrides; returns column → value.

        Args:
            overrides: feature reference → value as decoded from JSON.

        Raises:
            OverrideError: a name is not an input of the model, or a value does not fit the input's type.
        """
        checked = {}
        for name, value in overrides.items():
            if name not in self._inputs:
                what = f"{name[:200]!r} is not an input of this model; GET /model lists them"
                raise OverrideError(f"features.{name[:200]}", what)
            column, feature = self._inputs[name]
            checked[column] = _typed(value, feature)
        return checked

    def resolve(
        self,
        raw: RawFeatures,
        as_of: float | NDArray[np.float64],
        overrides: Mapping[int, float | NDArray[np.float64]] | None = None,
    ) -> ResolvedFeatures:
        """Decide what the model sees for every feature of every row.

        - Missing: the store has no value, or it is not finite as float32, the model's type.
        - Stale: a source row is older than its view's TTL (age > TTL, as in Feast's point-in-time join).
        - A row up to `CLOCK_SKEW_SECONDS` in the future is fresh. Beyond that its value is missing, as the join would
          not find the row; its age is negative.

        Args:
            raw: n rows.
            as_of: the request's time in unix seconds; float64 (n,) for rows of several requests.
            overrides: column → value for all rows, from `check_overrides`; or float64 (n,), NaN for rows without one.
        """
        rows, columns = raw.values.shape
        if columns != len(self.names):
            raise ContractError(f"{columns} feature columns for {len(self.names)} inputs")
        with np.errstate(over="ignore"):
            matrix = raw.values.astype(np.float32)
        missing = ~np.isfinite(matrix)
        if raw.event_times is None:
            stale = np.zeros((rows, columns), dtype=bool)
            ages = np.full((rows, columns), np.nan)
            known = np.any(np.isfinite(matrix), axis=1)
        else:
            view_ages = np.reshape(as_of, (-1, 1)) - raw.event_times
            expired = view_ages > self._ttl
            ages = view_ages[:, self._first_source]
            stale = expired[:, self._first_source]
            for column, sources in self._further_sources:
                ages[:, column] = np.fmax.reduce(view_ages[:, sources], axis=1)
                stale[:, column] = expired[:, sources].any(axis=1)
            ahead = view_ages < -CLOCK_SKEW_SECONDS
            if ahead.any():
                from_ahead = ahead[:, self._first_source]
                for column, sources in self._further_sources:
                    from_ahead[:, column] = ahead[:, sources].any(axis=1)
                from_ahead[:, self._sourceless] = False
                missing |= from_ahead
            ages[:, self._sourceless] = np.nan
            stale[:, self._sourceless] = False
            known = np.any(np.isfinite(raw.event_times), axis=1)

        states = np.zeros((rows, columns), dtype=np.uint8)
        states[stale] = FeatureState.STALE
        states[missing] = FeatureState.MISSING
        defaulted = missing | (stale & ~self._stale_uses_value)
        refused_cells = (stale & ~missing & self._stale_refuses) | (missing & self._missing_refuses)
        np.copyto(matrix, self._default, where=defaulted)
        for column, value in (overrides or {}).items():
            given = np.broadcast_to(value, rows)
            overridden = ~np.isnan(given)
            matrix[overridden, column] = given[overridden]
            states[overridden, column] = FeatureState.OVERRIDDEN
            defaulted[overridden, column] = False
            refused_cells[overridden, column] = False
        return ResolvedFeatures(
            matrix=matrix,
            states=states,
            defaulted=defaulted,
            ages=ages,
            known=known,
            refused=np.any(refused_cells, axis=1),
            names=self.names,
        )


def _typed(value: object, feature: FeatureInput) -> float:
    where = f"features.{feature.name}"
    if feature.dtype == "bool":
        if not isinstance(value, bool):
            raise OverrideError(where, "must be true or false")
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise OverrideError(where, f"must be a number ({feature.dtype})")
    if feature.dtype in _INTEGER_RANGE:
        limit = _INTEGER_RANGE[feature.dtype]
        if value != value or value in (math.inf, -math.inf) or int(value) != value:
            raise OverrideError(where, f"must be a whole number ({feature.dtype})")
        if not -limit <= value < limit:
            raise OverrideError(where, f"is out of range for {feature.dtype}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    with np.errstate(over="ignore"):
        if not np.isfinite(np.float32(number)):
            raise OverrideError(where, "must be a finite number within the range of float32")
    return number
