"""A logged answer in words, for each task: what was answered, and what the model makes of the same inputs now."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from contract import BinaryTask, ModelContract, MulticlassTask, RegressionTask
from scoring.task_outputs import Outputs


class AnswerWords(Protocol):
    """Words about one row. `logged` and `again` are the outputs of this row alone, see `Outputs`."""

    def lines(self, logged: Outputs, again: Outputs) -> Iterator[str]:
        """What was answered, and what is computed now."""
        ...

    def unlike(self, logged: Outputs, again: Outputs) -> str:
        """The scores of a row that is not reproduced."""
        ...

    def contradiction(self, logged: Outputs) -> str:
        """A decision, class or value that does not follow from the logged scores."""
        ...


@dataclass(frozen=True)
class _BinaryWords:
    name: str
    threshold: float

    def lines(self, logged: Outputs, again: Outputs) -> Iterator[str]:
        probability, recomputed = float(logged[0][0]), float(again[0][0])
        decision = self.name if logged[1][0] else f"no {self.name}"
        yield f"probability {probability!r}: {decision}, which it is from {self.threshold!r} on"
        yield f"recomputed  {recomputed!r}, differs by {abs(recomputed - probability):.1e}"

    def unlike(self, logged: Outputs, again: Outputs) -> str:
        return _unlike(logged, again)

    def contradiction(self, logged: Outputs) -> str:
        probability = float(logged[0][0])
        return f"the logged decision contradicts probability {probability!r} at threshold {self.threshold!r}"


@dataclass(frozen=True)
class _ClassWords:
    classes: tuple[str, ...]

    def lines(self, logged: Outputs, again: Outputs) -> Iterator[str]:
        position = int(logged[1][0])
        probability, recomputed = float(logged[0][0, position]), float(again[0][0, position])
        yield f"class       {self._name(position)}: probability {probability!r}"
        yield f"of all      {self._all(logged)}"
        widest = float(np.abs(again[0] - logged[0]).max())
        yield f"recomputed  {recomputed!r}; a class differs by {widest:.1e} at most"

    def unlike(self, logged: Outputs, again: Outputs) -> str:
        return f"makes {self._all(again)} of these inputs, {self._all(logged)} was answered"

    def contradiction(self, logged: Outputs) -> str:
        return f"the logged class {self._name(int(logged[1][0]))} contradicts its probabilities: {self._all(logged)}"

    def _name(self, position: int) -> str:
        return self.classes[position] if position >= 0 else "(none of the contract's)"

    def _all(self, outputs: Outputs) -> str:
        return ", ".join(f"{name} {of!r}" for name, of in zip(self.classes, outputs[0][0].tolist(), strict=True))


@dataclass(frozen=True)
class _ValueWords:
    unit: str

    def lines(self, logged: Outputs, again: Outputs) -> Iterator[str]:
        value, recomputed = float(logged[0][0]), float(again[0][0])
        yield f"value       {value!r}{self.unit and ' '}{self.unit}"
        yield f"recomputed  {recomputed!r}, differs by {abs(recomputed - value):.1e}"

    def unlike(self, logged: Outputs, again: Outputs) -> str:
        return _unlike(logged, again)

    def contradiction(self, logged: Outputs) -> str:
        return f"the logged value {float(logged[0][0])!r} is beyond the contract's bounds"


def _unlike(logged: Outputs, again: Outputs) -> str:
    return f"makes {float(again[0][0])!r} of these inputs, {float(logged[0][0])!r} was answered"


def answer_words(contract: ModelContract) -> AnswerWords:
    """The words of a contract's task."""
    match contract.task:
        case BinaryTask(threshold=threshold):
            return _BinaryWords(contract.outputs[-1].name, threshold.value)
        case MulticlassTask(classes=classes):
            return _ClassWords(classes)
        case RegressionTask(unit=unit):
            return _ValueWords(unit)
