"""Raw feature values + event times + overrides → model input + the state of every feature.

Only this module decides what the model sees when a feature is stale, missing or overridden. Training, HTTP, batch and
stream scoring all call it, so they cannot differ.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from contract.errors import ContractError, OverrideError
from contract.feature_schema import SourceView
from contract.inputs import FeatureInput
from contract.model_contract import ModelContract
from contract.raw_features import RawFeatures
from contract.resolved import FeatureState, ResolvedFeatures
from contract.values.overrides import KEPT_NULL, checked_override
from contract.values.vocabulary import MISSING_CODE, UNSEEN_CODE

CLOCK_SKEW_SECONDS = 300.0
"""Allowed difference between the clocks of feature writers and readers. An event time further in the future is invalid:
its values would count as fresh until that time."""

_EFFECTS = {
    "on_stale": ("use_value", "use_default", "refuse"),
    "on_missing": ("use_default", "refuse", "keep"),
    "on_unseen": ("use_value", "use_default", "refuse"),
}
"""Policies that `Resolver` applies. A name that only feature_schema.py knows must not act as `use_default`."""


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
        self._default = _defaults(inputs)
        for feature, (which, known) in product(inputs, _EFFECTS.items()):
            if (policy := getattr(feature, which)) not in known:
                raise ContractError(f"{feature.name}: {which}: {policy!r} has no effect in this code; it knows {known}")
        self._stale_uses_value = np.array([f.on_stale == "use_value" for f in inputs])
        self._stale_refuses = np.array([f.on_stale == "refuse" for f in inputs])
        self._missing_refuses = np.array([f.on_missing == "refuse" for f in inputs])
        self._ages = [column for column, f in enumerate(inputs) if f.kind == "age"]
        self._categories = np.flatnonzero([f.kind == "categorical" for f in inputs])
        self._unseen_defaults = np.array([f.on_unseen == "use_default" for f in inputs])[self._categories]
        self._unseen_refuses = np.array([f.on_unseen == "refuse" for f in inputs])[self._categories]
        self._keeps = np.array([f.on_missing == "keep" for f in inputs])
        self._keeps_any = bool(self._keeps.any())
        self._null = np.array([MISSING_CODE if f.kind == "categorical" else np.nan for f in inputs], dtype=np.float32)
        self._arrays = tuple(_arrays(inputs))

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
            checked[column] = checked_override(value, feature)
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
        - Unseen: a category's value is not in the vocabulary.
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
            for column in self._ages:  # a difference of float64: float32 holds no time of today to the minute
                matrix[:, column] = as_of - raw.values[:, column]
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
        if len(self._categories):
            self._judge_unseen(matrix, missing, states, defaulted, refused_cells)
        np.copyto(matrix, self._default, where=defaulted)
        kept = None
        if self._keeps_any:
            kept = missing & self._keeps
            np.copyto(matrix, self._null, where=kept)
            defaulted &= ~kept
        for column, value in (overrides or {}).items():
            given = np.broadcast_to(value, rows)
            overridden = ~np.isnan(given)
            matrix[overridden, column] = np.where(given == KEPT_NULL, self._null[column], given)[overridden]
            states[overridden, column] = FeatureState.OVERRIDDEN
            for cells in (defaulted, refused_cells):
                cells[overridden, column] = False
            if kept is not None:
                kept[overridden, column] = (given == KEPT_NULL)[overridden]
        return ResolvedFeatures(
            matrix=matrix,
            states=states,
            defaulted=defaulted,
            ages=ages,
            known=known,
            refused=np.any(refused_cells, axis=1),
            names=self.names,
            kept=kept,
            arrays=self._arrays,
        )

    def _judge_unseen(
        self,
        matrix: NDArray[np.float32],
        missing: NDArray[np.bool_],
        states: NDArray[np.uint8],
        defaulted: NDArray[np.bool_],
        refused_cells: NDArray[np.bool_],
    ) -> None:
        columns = self._categories
        unseen = (matrix[:, columns] == UNSEEN_CODE) & ~missing[:, columns]
        if not unseen.any():
            return
        states[:, columns] = np.where(unseen, FeatureState.UNSEEN, states[:, columns])
        defaulted[:, columns] |= unseen & self._unseen_defaults
        refused_cells[:, columns] |= unseen & self._unseen_refuses


def _defaults(inputs: Sequence[FeatureInput]) -> NDArray[np.float32]:
    """What stands in for a value, as the model sees it; of a kept null, the null."""
    defaults = np.empty(len(inputs), dtype=np.float32)
    for column, given in enumerate(inputs):
        if given.default is None:
            defaults[column] = MISSING_CODE if given.codes else np.nan
        elif given.codes:
            defaults[column] = given.codes.code(given.default)
        else:
            with np.errstate(over="ignore"):
                defaults[column] = np.float32(given.default)
    bad = [f.name for f, d in zip(inputs, defaults, strict=True) if f.default is not None and not np.isfinite(d)]
    if bad:
        raise ContractError(f"default of {bad} is not a finite float32")
    return defaults


def _arrays(inputs: Sequence[FeatureInput]) -> Iterator[range]:
    columns: dict[str, list[int]] = {}
    for column, given in enumerate(inputs):
        if given.element is not None:
            columns.setdefault(given.reference, []).append(column)
    for found in columns.values():
        yield range(found[0], found[-1] + 1)
