"""One of the models that are live together: it scores rows, answers them and logs what it answered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contract import RawFeatures, ResolvedFeatures, Resolver
from contract.feature_union import FeatureUnion
from scoring.models.imported_model import ImportedModel
from scoring.models.task_models import Scorer
from scoring.outcomes import DEGRADED, OK, outcomes, statuses
from service.prediction.batch import AnswerLog, Batch, Scored, answers_of
from service.prediction.predictions import AnswerRules, Prediction, predictions
from service.telemetry.metrics import ServiceMetrics


@dataclass(frozen=True)
class ReadFeatures:
    """A model's inputs of n rows, as they were read and as the model would take them.

    statuses: of each row, as of an answer.
    as_of: unix seconds, (n,) or ().
    """

    raw: RawFeatures
    resolved: ResolvedFeatures
    statuses: Sequence[str]
    as_of: NDArray[np.float64]


class LiveModel:
    """A model, and the part of what is read for all live models that it takes.

    Args:
        union: what is read for all live models.
        log: where its rows are kept.
        identity: what its answers say about it; None for the champion, which every response names.
    """

    def __init__(
        self,
        model: ImportedModel,
        union: FeatureUnion,
        metrics: ServiceMetrics,
        log: AnswerLog | None = None,
        identity: dict[str, str] | None = None,
    ) -> None:
        self.model = model
        self.part = union.part(model.contract)
        self.resolver = Resolver.of(model.contract)
        self._rules = AnswerRules.of(model.contract)
        self._metrics = metrics
        self._log = log
        self._identity = identity

    def decide(
        self, part: RawFeatures, as_of: NDArray[np.float64], overrides: Mapping[int, float] | None, score: Scorer
    ) -> Scored:
        """Resolve n rows, score them and decide. A row whose values come from a cache is at least degraded.

        Args:
            part: the rows, with the model's inputs only.
            as_of: unix seconds, (n,) or ().
            overrides: column → value, for every row.
            score: the model's own, or one that also times it.
        """
        resolved = self.resolver.resolve(part, as_of, overrides)
        made = outcomes(resolved, score(resolved.matrix), self._rules.task)
        _degrade_cached(made.statuses, part)
        return Scored(resolved, made)

    def features(self, part: RawFeatures, as_of: NDArray[np.float64]) -> ReadFeatures:
        """Resolve n rows, without scoring them. Arguments as of `decide`."""
        resolved = self.resolver.resolve(part, as_of)
        found = statuses(resolved)
        _degrade_cached(found, part)
        return ReadFeatures(part, resolved, [self._rules.statuses[status] for status in found], as_of)

    def answer(self, batch: Batch, part: RawFeatures, scored: Scored) -> list[Prediction]:
        """Make this model's answers, counted and logged."""
        made = predictions(batch, part, scored, self._rules, self._metrics, self._identity)
        self.log(batch, part, scored, answered=True)
        return made

    def log(self, batch: Batch, part: RawFeatures, scored: Scored, *, answered: bool) -> None:
        """Log n rows.

        Args:
            answered: this model gave the answers.
        """
        if self._log is not None:
            self._log.put(answers_of(batch, part, self.model, scored, answered))


def _degrade_cached(statuses: NDArray[np.uint8], part: RawFeatures) -> None:
    if part.cached_seconds is not None:
        statuses[(statuses == OK) & ~np.isnan(part.cached_seconds)] = DEGRADED
