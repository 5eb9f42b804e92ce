"""`ModelContract`: what one model version promises, as immutable, versioned, content-hashed JSON."""

import json
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from contract.errors import ContractError, ContractVersionError
from contract.feature_schema import FeatureSchema, FeatureSpec, Frozen
from contract.histogram import Histogram
from contract.validation import first_problem

SCHEMA_VERSION: Literal[1] = 1
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


class DecisionThreshold(Frozen):
    """The probability at or above which the decision is the positive class, and the rule that chose it."""

    value: Annotated[float, Field(ge=0, le=1)]
    rule: str


class Label(Frozen):
    """What the positive class means: an outcome within `days` days after the request's time.

    name: name of the positive class.
    definition: in words; it contains `days`.
    """

    name: str
    days: Annotated[int, Field(ge=1)]
    definition: str


class Population(Frozen):
    """A group of customers with its own metrics: those with input `feature` ≤ `at_most`."""

    feature: str
    at_most: float


class ModelContract(Frozen):
    """What one model version promises.

    inputs: in model order.
    class_names: the negative class, then the positive one.
    training_window: first and last cut-off, the end of the last label window, and the cut-off whose rows the histograms
        count (`COUNTED_AT`); ISO 8601 UTC. Older contracts lack the last: they counted inputs at the training cut-offs
        and scores at another.
    data_fingerprint: sha256 of the rows that the model was fitted on: training and validation cut-offs.
    metrics: name → value at the test cut-off, whose rows were used for nothing else.
    scores: histogram of the model's probabilities there; None in contracts older than this member.
    label: what the positive class means; None in contracts older than this member, and then not in the document.
    populations: prefix of a metric's name → the population it is computed on; not in the document if empty.
    trusted_types: types in the stored pipeline beyond the scoring room's `TRUSTED_TYPES`. A process loads the pipeline
        only if its settings trust each of them. Not in the document if empty.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    model_name: str
    model_version: str
    run_id: str
    feature_schema: FeatureSchema
    inputs: tuple[FeatureInput, ...] = Field(min_length=1)
    class_names: tuple[str, str]
    threshold: DecisionThreshold
    training_window: dict[str, str]
    data_fingerprint: str
    metrics: dict[str, float]
    library_versions: dict[str, str]
    scores: Histogram | None = None
    label: Label | None = Field(default=None, exclude_if=lambda label: label is None)
    populations: dict[str, Population] = Field(default_factory=dict, exclude_if=lambda found: not found)
    trusted_types: tuple[str, ...] = Field(default=(), exclude_if=lambda types: not types)

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        names = [f.name for f in self.inputs]
        if len(set(names)) != len(names):
            raise ValueError("inputs: a feature is listed twice")
        views = {v.name for v in self.feature_schema.views}
        unread = sorted({s for f in self.inputs for s in f.sources} - views)
        if unread:
            raise ValueError(f"feature_schema.views: {unread} are sources of inputs but not listed")
        for population, members in self.populations.items():
            if members.feature not in names:
                raise ValueError(f"populations.{population}: {members.feature!r} is not an input")
        offered = {f.name: f for f in self.feature_schema.features}
        for given in self.inputs:
            feature = offered.get(given.name)
            if feature is None:
                raise ValueError(f"inputs: {given.name!r} is not a feature of {self.feature_service!r}")
            if (given.dtype, given.view, given.sources) != (feature.dtype, feature.view, feature.sources):
                raise ValueError(f"inputs: {given.name!r} is not what feature_schema says of it")
        return self

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read a contract.

        Raises:
            ContractVersionError: its `schema_version` is newer than this code supports.
            ContractError: it is not a contract; the message names the wrong member.
        """
        try:
            raw: Any = json.loads(text)
        except ValueError as error:
            raise ContractError(f"contract is not JSON: {error}") from None
        if not isinstance(raw, dict):
            raise ContractError("contract is not a JSON object")
        version = raw.get("schema_version")
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise ContractVersionError(
                f"contract has schema_version {version}; this code understands up to {SCHEMA_VERSION}"
            )
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            problem = first_problem(error)
            raise ContractError(f"contract is invalid at {problem.where or 'contract'}: {problem.what}") from None

    def to_json(self) -> str:
        """Indented JSON; `from_json` reads the same contract back."""
        return self.model_dump_json(indent=2) + "\n"

    @property
    def label_days(self) -> int | None:
        """Length of the label window in days; None if a contract older than `label` does not state it."""
        if self.label is not None:
            return self.label.days
        try:
            window = [datetime.fromisoformat(self.training_window[end]) for end in ("last_cutoff", "labels_until")]
            days = (window[1] - window[0]).days
        except (KeyError, TypeError, ValueError):  # the last two: times that cannot be read or subtracted
            return None
        return days if days > 0 else None

    @property
    def feature_service(self) -> str:
        """Name of the feature service that the inputs come from."""
        return self.feature_schema.feature_service

    @property
    def feature_names(self) -> list[str]:
        """Feature references in model order."""
        return [f.name for f in self.inputs]
