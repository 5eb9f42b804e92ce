"""Resolved features + probabilities → each row's decision and status."""

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
    """Outcomes of n rows.

    probabilities: float64 (n,) of the positive class; without meaning if the row is refused or unknown.
    decisions: bool (n,), probability ≥ the contract's threshold.
    statuses: uint8 (n,), positions in `STATUSES`.
    """

    probabilities: NDArray[np.float64]
    decisions: NDArray[np.bool_]
    statuses: NDArray[np.uint8]

    @property
    def scored(self) -> NDArray[np.bool_]:
        """Bool (n,): the row has a probability and a decision."""
        scored: NDArray[np.bool_] = self.statuses <= DEGRADED
        return scored

    def take(self, rows: NDArray[np.intp]) -> "Outcomes":
        """Some of the rows."""
        return Outcomes(self.probabilities[rows], self.decisions[rows], self.statuses[rows])


def outcomes(resolved: ResolvedFeatures, scored: NDArray[np.float32], threshold: float) -> Outcomes:
    """Derive decision and status of n resolved rows.

    - unknown customer: the store has no row of it.
    - refused: the contract forbids scoring the row, or the probability is not finite (extreme finite values can
      overflow in the model).
    - degraded: at least one feature is not fresh.

    Args:
        scored: float32 (n,), the model's probabilities for `resolved.matrix`.
    """
    # Compared in float64, as answered, so that a decision never contradicts its probability.
    probabilities = scored.astype(np.float64)
    statuses: NDArray[np.uint8] = np.any(resolved.states, axis=1).astype(np.uint8)
    statuses[resolved.refused | ~np.isfinite(probabilities)] = REFUSED
    statuses[~resolved.known] = UNKNOWN_CUSTOMER
    return Outcomes(probabilities, np.greater_equal(probabilities, threshold), statuses)
