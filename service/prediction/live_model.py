"""One of the models that are live together, and the rows that go through them."""

import numpy as np
from numpy.typing import NDArray

from contract import RawFeatures, ResolvedFeatures, Resolver
from contract.feature_union import FeatureUnion
from scoring.models.imported_model import ImportedModel
from scoring.outcomes import DEGRADED, OK, outcomes
from service.prediction.batch import Scored


class LiveModel:
    """A model, and where it finds its inputs in what is read for all live models together."""

    def __init__(self, model: ImportedModel, union: FeatureUnion) -> None:
        self.model = model
        self.resolver = Resolver.of(model.contract)
        self.part = union.part(model.contract)

    def scored(self, resolved: ResolvedFeatures, scored: NDArray[np.float32], part: RawFeatures) -> Scored:
        """Decide on n rows; one whose values come from a cache is degraded, whatever else there is to say of it."""
        made = outcomes(resolved, scored, self.model.contract.threshold.value)
        if part.cached_seconds is not None:
            made.statuses[(made.statuses == OK) & ~np.isnan(part.cached_seconds)] = DEGRADED
        return Scored(resolved, made)
