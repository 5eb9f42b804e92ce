"""Resolved features + scores → each row's outputs and status."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contract import FeatureState, ModelContract, ResolvedFeatures
from scoring.task_outputs import Outputs, TaskOutputs

OK, DEGRADED, REFUSED, UNKNOWN = range(4)


def statuses_of(contract: ModelContract) -> tuple[str, ...]:
    """Names of the statuses `OK`, `DEGRADED`, `REFUSED` and `UNKNOWN`, in this order."""
    return ("ok", "degraded", "refused", contract.unknown_status)


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Outcomes of n rows.

    outputs: see `scoring.task_outputs.Outputs`; without meaning if the row is refused or unknown.
    statuses: uint8 (n,): `OK`, `DEGRADED`, `REFUSED` or `UNKNOWN`.
    """

    outputs: Outputs
    statuses: NDArray[np.uint8]

    @property
    def scored(self) -> NDArray[np.bool_]:
        """Bool (n,): the row has outputs."""
        scored: NDArray[np.bool_] = self.statuses <= DEGRADED
        return scored

    def take(self, rows: NDArray[np.intp]) -> "Outcomes":
        """Some of the rows."""
        return Outcomes(tuple(output[rows] for output in self.outputs), self.statuses[rows])


def outcomes(resolved: ResolvedFeatures, scores: NDArray[np.float32], task: TaskOutputs) -> Outcomes:
    """Derive outputs and status of n resolved rows.

    - unknown: the store has no row of its key.
    - refused: the contract forbids scoring the row, or a score is not finite (extreme finite values can overflow in the
      model).
    - degraded: at least one feature is not fresh, nulls that the contract keeps aside.

    Args:
        scores: float32 (n,) or (n, c), the model's for `resolved.matrix`.
    """
    # Compared in float64, as answered, so that a decision never contradicts its probability.
    answered = scores.astype(np.float64)
    finite = np.isfinite(answered if answered.ndim == 1 else answered.sum(axis=1))  # a sum is as finite as its terms
    return Outcomes(task.of(answered), statuses(resolved, finite))


def statuses(resolved: ResolvedFeatures, finite: NDArray[np.bool_] | None = None) -> NDArray[np.uint8]:
    """The statuses of n resolved rows, uint8 (n,); see `outcomes`.

    Args:
        finite: bool (n,), the row's score is; None: no model has scored the rows.
    """
    states = resolved.states
    if resolved.kept is not None:
        states = np.where(resolved.kept & (states == FeatureState.MISSING), np.uint8(0), states)
    found: NDArray[np.uint8] = np.any(states, axis=1).astype(np.uint8)
    found[resolved.refused if finite is None else resolved.refused | ~finite] = REFUSED
    found[~resolved.known] = UNKNOWN
    return found
