"""What a difference is classified by: the served vectors, those of stored rows, and facts about both.

`view_evidence` computes the facts, `model_audit` puts them together, `classify` reads them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

from contract.values.vocabulary import Category

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Vectors:
    """n vectors of k inputs and the rows they come from; times in microseconds since 1970, NaN for none.

    values: float32 (n, k), as the model sees them: codes of categories, NaN for a kept null of a number.
    event_us: (n, k), event time of the oldest row behind the value.
    missing: bool (n, k), there was no value.
    """

    values: NDArray[np.float32]
    event_us: Floats
    missing: Bools

    def take(self, rows: NDArray[np.intp]) -> Self:
        """Some of the rows."""
        return type(self)(**{part.name: getattr(self, part.name)[rows] for part in fields(self)})


@dataclass(frozen=True)
class Served(Vectors):
    """The vectors that the model saw.

    stale: bool (n, k), a row was older than its TTL.
    unseen: bool (n, k), a category that is not in the vocabulary.
    overridden, defaulted: bool (n, k).
    cached: bool (n,).
    as_of_us: float64 (n,).
    """

    stale: Bools
    unseen: Bools
    overridden: Bools
    defaulted: Bools
    cached: Bools
    as_of_us: Floats


@dataclass(frozen=True)
class Replayed(Vectors):
    """The vectors that rows of the offline store would have given; each (n, k).

    created_us: the latest `created_timestamp` of the rows behind a value.
    known_us: when the last of these rows became known.
    made_by: a number for the code that built them.
    """

    created_us: Floats
    known_us: Floats
    made_by: Floats


@dataclass(frozen=True)
class Zeroed:
    """The values that an on-demand view would compute if some of its stored inputs were 0.

    columns: the model's inputs that the view computes.
    values: float32 (n, k).
    """

    columns: tuple[int, ...]
    values: NDArray[np.float32]


@dataclass(frozen=True)
class Evidence:
    """n served rows of k features, and the evidence for each class.

    valid: vectors of the point-in-time join.
    known: the same, from rows that were known at the decision.
    served_rows: vectors of the rows with the served event times, in each stored version.
    dropped: bool (n, k), the build in place has no partition for the served event time.
    computed_from: on-demand column → columns of the stored features that it is computed from.
    mistimed: bool (n, k), no stored row has the served event time, or the one that has it had other values at the
        decision; and the view's values are those of the valid or the known row. Or no row has it, and the row was past
        its TTL.
    future: bool (n, k), no stored row has the served event time, and it is later than the decision by more than clocks
        may differ.
    unbuilt: bool (n, k), the valid row was written by a build, and no build was made between its event time and the
        decision.
    overdue: bool (n, k), the build in place at the decision was older than builds may become.
    zeroed: one for each on-demand view and each tried set of zeros.
    vocabularies: column of a category → its values by code.
    ages: columns of what is seconds since a timestamp. They and codes cannot be zeroed, cut or rounded numbers.
    """

    served: Served
    valid: Replayed
    known: Replayed
    served_rows: tuple[Replayed, ...]
    dropped: Bools
    computed_from: dict[int, tuple[int, ...]]
    mistimed: Bools
    future: Bools
    unbuilt: Bools
    overdue: Bools
    zeroed: tuple[Zeroed, ...] = ()
    vocabularies: Mapping[int, Sequence[Category]] = field(default_factory=dict)
    ages: tuple[int, ...] = ()


def equal(one: NDArray[np.float32], other: NDArray[np.float32]) -> Bools:
    """True if the model saw the same: equal as float32, or kept nulls."""
    return np.equal(one, other) | (np.isnan(one) & np.isnan(other))
