"""Resolved features + probabilities → decision and status of every row."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from contract import ResolvedFeatures

Status = Literal["ok", "degraded", "refused", "unknown_customer"]

STATUSES: tuple[Status, ...] = ("ok", "degraded", "refused", "unknown_customer")
OK, DEGRADED, REFUSED, UNKNOWN_CUSTOMER = range(4)


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What became of n rows.

    probabilities: float64 (n,) of the positive class; they mean nothing where a row is refused or unknown.
    decisions: bool (n,), the probability is at or above the contract's threshold.
    statuses: uint8 (n,), positions in `STATUSES`.
    """

    probabilities: NDArray[np.float64]
    decisions: NDArray[np.bool_]
    statuses: NDArray[np.uint8]

    @property
    def scored(self) -> NDArray[np.bool_]:
        """Bool (n,), rows that have a probability and a decision."""
        scored: NDArray[np.bool_] = self.statuses <= DEGRADED
        return scored

    def take(self, rows: NDArray[np.intp]) -> "Outcomes":
        """Some of the rows."""
        return Outcomes(self.probabilities[rows], self.decisions[rows], self.statuses[rows])


def outcomes(resolved: ResolvedFeatures, scored: NDArray[np.float32], threshold: float) -> Outcomes:
    """Decide on n resolved rows.

    A row without any stored row is of an unknown customer. It is refused where the contract forbids scoring it, or
    where the model has no probability: values that are finite themselves can be so far out that its arithmetic
    overflows. It is degraded where at least one feature was not simply fresh.

    Args:
        scored: float32 (n,), what the model says of `resolved.matrix`.
    """
    # Compared as it is answered, in float64, so that nobody can find a decision that contradicts its number.
    probabilities = scored.astype(np.float64)
    statuses: NDArray[np.uint8] = np.any(resolved.states, axis=1).astype(np.uint8)
    statuses[resolved.refused | ~np.isfinite(probabilities)] = REFUSED
    statuses[~resolved.known] = UNKNOWN_CUSTOMER
    return Outcomes(probabilities, np.greater_equal(probabilities, threshold), statuses)
