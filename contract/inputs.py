"""Model inputs: features with their default values, vocabularies and training distributions."""

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Discriminator,
    Field,
    StrictInt,
    StrictStr,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from contract.feature_schema import FeatureSpec, Frozen
from contract.values.category_counts import CategoryCounts
from contract.values.histogram import Histogram
from contract.values.vocabulary import MISSING_TEXT, MOST_CATEGORIES, UNSEEN_TEXT, Vocabulary

COUNTED_AT = "counted_at"
"""Key in `training_window`: the cut-off whose rows the histograms of inputs and scores count."""
QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)


class TrainingDistribution(Frozen):
    """Distribution of one input that is a number.

    quantiles: values at `QUANTILES` over the training rows that have a value, in the feature's unit.
    null_rate: share of the training rows without a value, in [0, 1].
    histogram: counts over the rows of the test cut-off, the rows that the contract's `scores` count too. Live values
        are compared with it. None in contracts older than this member; see `COUNTED_AT`.
    """

    quantiles: tuple[float, ...] = Field(min_length=len(QUANTILES), max_length=len(QUANTILES))
    null_rate: Annotated[float, Field(ge=0, le=1)]
    histogram: Histogram | None = None


class CategoryDistribution(Frozen):
    """Distribution of one input that is a category.

    training: training rows by code.
    null_rate: share of the training rows without a value, in [0, 1].
    histogram: counts over the rows of the test cut-off, as of `TrainingDistribution`.
    """

    training: tuple[Annotated[int, Field(ge=0)], ...]
    null_rate: Annotated[float, Field(ge=0, le=1)]
    histogram: CategoryCounts


def _kind_of(distribution: Any) -> str:
    if isinstance(distribution, dict):
        return "categorical" if "training" in distribution else "numeric"
    return "categorical" if isinstance(distribution, CategoryDistribution) else "numeric"


class FeatureInput(FeatureSpec):
    """One model input: the feature, its default value and its training distribution.

    default: of the feature's own type; None for a null that the model takes.
    default_from: `training_mode` is the most frequent value of a category; `null` is a kept null.
    vocabulary: the values of a category, by code; None if it is none, and then not in the document.
    """

    default: float | str | None
    default_from: Literal["feature_repo", "training_median", "training_mode", "null"]
    distribution: Annotated[
        Annotated[TrainingDistribution, Tag("numeric")] | Annotated[CategoryDistribution, Tag("categorical")],
        Discriminator(_kind_of),
    ]
    vocabulary: tuple[StrictStr, ...] | tuple[StrictInt, ...] | None = Field(
        default=None, exclude_if=lambda values: values is None
    )

    @field_validator("default")
    @classmethod
    def _stands_in(cls, default: float | str | None, info: ValidationInfo) -> float | str | None:
        if default is None and info.data.get("on_missing") != "keep":
            raise ValueError("only an input that keeps nulls (on_missing) can be without one")
        return default

    @model_validator(mode="after")
    def _is_described(self) -> Self:
        values = self.vocabulary
        if (values is None) != (self.kind != "categorical"):
            raise ValueError(f"vocabulary: a {self.kind} input has {'one' if values is None else 'none'}")
        if isinstance(self.distribution, CategoryDistribution) != (values is not None):
            raise ValueError(f"distribution: it is not that of a {self.kind} input")
        if values is None:
            return self
        if len(values) > MOST_CATEGORIES:
            raise ValueError(f"vocabulary: {len(values)} values; at most {MOST_CATEGORIES} can be told apart")
        if len(set(values)) != len(values):
            raise ValueError("vocabulary: a value is listed twice")
        if not values or isinstance(values[0], str) != (self.dtype == "string"):
            raise ValueError(f"vocabulary: must be values of type {self.dtype}")
        if reserved := {UNSEEN_TEXT, MISSING_TEXT}.intersection(map(str, values)):
            raise ValueError(f"vocabulary: {sorted(reserved)[0]!r} has a meaning of its own")
        if self.default is not None and self.default not in values:
            raise ValueError("default: it is not in the vocabulary")
        if isinstance(self.distribution, CategoryDistribution) and {
            len(self.distribution.training),
            len(self.distribution.histogram.counts),
        } != {len(values)}:
            raise ValueError("distribution: one count per value of the vocabulary is needed")
        return self

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As pydantic's. The codes of a copy are those of its own vocabulary."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("codes", None)
        return copied

    @cached_property
    def codes(self) -> Vocabulary | None:
        """The vocabulary of a category, to look up; None of other inputs."""
        return None if self.vocabulary is None else Vocabulary(self.vocabulary)
