"""Model inputs: features with their default values and training distributions."""

from typing import Annotated, Literal

from pydantic import Field

from contract.feature_schema import FeatureSpec, Frozen
from contract.histogram import Histogram

COUNTED_AT = "counted_at"
"""Key in `training_window`: the cut-off whose rows the histograms of inputs and scores count."""
QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)


class TrainingDistribution(Frozen):
    """Distribution of one input.

    quantiles: values at `QUANTILES` over the training rows that have a value, in the feature's unit.
    null_rate: share of the training rows without a value, in [0, 1].
    histogram: counts over the rows of the test cut-off, the rows that the contract's `scores` count too. Live values
        are compared with it. None in contracts older than this member; see `COUNTED_AT`.
    """

    quantiles: tuple[float, ...] = Field(min_length=len(QUANTILES), max_length=len(QUANTILES))
    null_rate: Annotated[float, Field(ge=0, le=1)]
    histogram: Histogram | None = None


class FeatureInput(FeatureSpec):
    """One model input: the feature, its default value and its training distribution."""

    default: float
    default_from: Literal["feature_repo", "training_median"]
    distribution: TrainingDistribution
