"""What `Resolver` decides: the model's input, the state of every feature, and the issues that answers name."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray


class FeatureState(IntEnum):
    """State of one feature in one row."""

    FRESH = 0
    STALE = 1
    MISSING = 2
    OVERRIDDEN = 3
    UNSEEN = 4


StateWord = Literal["stale", "missing", "overridden", "unseen"]


@dataclass(frozen=True, slots=True)
class FeatureIssue:
    """One feature of one row that is not fresh. The elements of an array are one feature.

    age_seconds: request time minus event time of the oldest source row; None if there is no row, or if the value came
        with the request.
    used: what the model saw, the `value`, the `default` or the `null`; None if the row was refused.
    """

    feature: str
    state: StateWord
    age_seconds: float | None
    used: Literal["value", "default", "null"] | None


@dataclass(frozen=True, slots=True)
class ResolvedFeatures:
    """Model input of n rows, with the state of each of the k features.

    matrix: float32 (n, k); finite but for NaN where the contract keeps the null of a number. Categories are codes, see
        `contract.values.vocabulary`.
    states: uint8 (n, k) of `FeatureState`.
    defaulted: bool (n, k), the contract's default was used.
    kept: bool (n, k), the model takes the null, of the store or of an override; None if no input keeps nulls.
    arrays: columns of each input that is an array.
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
    kept: NDArray[np.bool_] | None = None
    arrays: tuple[range, ...] = ()

    @classmethod
    def joined(cls, parts: Sequence["ResolvedFeatures"]) -> "ResolvedFeatures":
        """Concatenate rows of one model."""
        kept = [part.kept for part in parts if part.kept is not None]
        return replace(
            parts[0],
            matrix=np.concatenate([part.matrix for part in parts]),
            states=np.concatenate([part.states for part in parts]),
            defaulted=np.concatenate([part.defaulted for part in parts]),
            ages=np.concatenate([part.ages for part in parts]),
            known=np.concatenate([part.known for part in parts]),
            refused=np.concatenate([part.refused for part in parts]),
            kept=np.concatenate(kept) if kept else None,
        )

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
            kept=None if self.kept is None else self.kept[rows],
            arrays=self.arrays,
        )

    def all_issues(self) -> "FeatureIssues":
        """The features that are not fresh, of all rows at once; unknown keys have none."""
        seen = self._by_feature()
        rows, columns = np.nonzero(seen.states * self.known[:, None])
        states = seen.states[rows, columns]
        ages = self.ages[rows, columns]
        ages[states == FeatureState.OVERRIDDEN] = np.nan
        kept = np.zeros(len(rows), dtype=bool) if seen.kept is None else seen.kept[rows, columns]
        return FeatureIssues(rows, columns, states, ages, seen.defaulted[rows, columns], self.refused[rows], kept)

    def issues(self, row: int) -> list[FeatureIssue]:
        """The features of one row that are not fresh, in model order."""
        seen = self._by_feature() if self.arrays else self
        found = []
        for column in np.flatnonzero(seen.states[row]):
            state = STATE_WORDS[int(seen.states[row, column])]
            # A value from the request has no age; the age of the stored value that it replaced would mislead.
            age = math.nan if state == "overridden" else float(self.ages[row, column])
            used: Literal["value", "default", "null"] = "default" if seen.defaulted[row, column] else "value"
            if seen.kept is not None and seen.kept[row, column]:
                used = "null"
            found.append(
                FeatureIssue(
                    feature=self.feature_of(int(column)),
                    state=state,
                    age_seconds=None if math.isnan(age) else age,
                    used=None if self.refused[row] else used,
                )
            )
        return found

    def feature_of(self, column: int) -> str:
        """The feature reference that an issue of a column names."""
        first = next((array.start for array in self.arrays if array.start <= column < array.stop), None)
        return self.names[column] if first is None else self.names[first].removesuffix("__0")

    def _by_feature(self) -> "ResolvedFeatures":
        """An array's first element stands for all: it has the state of the first element that is not fresh."""
        if not self.arrays:
            return self
        states, defaulted = self.states.copy(), self.defaulted.copy()
        kept = None if self.kept is None else self.kept.copy()
        rows = np.arange(len(states))
        for array in self.arrays:
            elements = slice(array.start, array.stop)
            worst = array.start + (states[:, elements] != 0).argmax(axis=1)
            for of_column in (states, defaulted) if kept is None else (states, defaulted, kept):
                of_column[:, array.start] = of_column[rows, worst]
            states[:, array.start + 1 : array.stop] = 0
        return replace(self, states=states, defaulted=defaulted, kept=kept)


@dataclass(frozen=True, slots=True)
class FeatureIssues:
    """m `FeatureIssue`s as arrays, sorted by row, then in model order.

    rows, columns: int (m,), position in the batch; of an array, its first column.
    states: uint8 (m,) of `FeatureState`.
    ages: float64 (m,) seconds; NaN: none.
    defaulted, kept: bool (m,), the default or the null was used, else the value; none of them where `refused`.
    """

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    states: NDArray[np.uint8]
    ages: NDArray[np.float64]
    defaulted: NDArray[np.bool_]
    refused: NDArray[np.bool_]
    kept: NDArray[np.bool_]


STATE_WORDS: dict[int, StateWord] = {
    FeatureState.STALE: "stale",
    FeatureState.MISSING: "missing",
    FeatureState.OVERRIDDEN: "overridden",
    FeatureState.UNSEEN: "unseen",
}
