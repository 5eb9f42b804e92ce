"""`ModelContract`: what one model version promises, as immutable, versioned, content-hashed JSON."""

import json
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr, ValidationError, model_validator

from contract import version_1
from contract.errors import ContractError, ContractVersionError
from contract.feature_schema import FeatureSchema, Frozen, content_sha256
from contract.inputs import FeatureInput
from contract.tasks import OUTPUT_KINDS, RESERVED_NAMES, BinaryTask, MulticlassTask, Output, Task
from contract.validation import first_problem
from contract.values.histogram import Histogram

SCHEMA_VERSION: Literal[2] = 2
EVERYONE = "all"
"""The population of every row. It needs no entry in `populations`."""


class Label(Frozen):
    """The outcome that the model predicts, as it is known later.

    name: of the target.
    days: the outcome is known this many days after the request's time; None if there is no such time.
    definition: in words.
    """

    name: str
    days: Annotated[int, Field(ge=1)] | None
    definition: str


class Population(Frozen):
    """A group of rows with its own metrics: those whose input `feature` is within both bounds.

    at_least, at_most: None for no bound.
    """

    feature: str
    at_least: float | None = Field(default=None, exclude_if=lambda bound: bound is None)
    at_most: float | None = Field(default=None, exclude_if=lambda bound: bound is None)

    @model_validator(mode="after")
    def _is_bounded(self) -> Self:
        if self.at_least is None and self.at_most is None:
            raise ValueError("at_least or at_most is needed")
        return self

    def contains(self, values: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
        """Which of n values of the feature are within the bounds; a missing one is not."""
        at_least = -math.inf if self.at_least is None else self.at_least
        at_most = math.inf if self.at_most is None else self.at_most
        inside: NDArray[np.bool_] = (values >= at_least) & (values <= at_most)
        return inside


class Headline(Frozen):
    """The metric, and the population, by which versions of the model are compared."""

    population: str
    metric: str


class ClassScores(Frozen):
    """Scores of a multi-class model on the rows of the test cut-off.

    counts: rows whose likeliest class it is, for each class of the task, in its order.
    top: histogram of the likeliest class's probability.
    """

    counts: tuple[Annotated[int, Field(ge=0)], ...]
    top: Histogram


class ModelContract(Frozen):
    """What one model version promises.

    entity: what the join keys identify, e.g. `user`; unknown keys get the status `unknown_<entity>`.
    inputs: in model order.
    outputs: members of the answer, in the order of `OUTPUT_KINDS` for the task.
    training_window: first and last cut-off, the end of the last label window, and the cut-off whose rows the histograms
        count (`COUNTED_AT`); ISO 8601 UTC. Older contracts lack the last: they counted inputs at the training cut-offs
        and scores at another.
    data_fingerprint: sha256 of the rows that the model was fitted on: training and validation cut-offs.
    metrics: name → value at the test cut-off, whose rows were used for nothing else.
    scores: counts of the model's scores there: a histogram of the probability or value, or of a multi-class model
        `ClassScores`; None in contracts older than this member.
    label: None in contracts older than this member.
    populations: prefix of a metric's name → the population it is computed on, beside `all`.
    headline: which metric versions are compared by.
    age_feature: input that says for how long an entity has been known; None if none does.
    trusted_types: types in the stored pipeline beyond the scoring room's `TRUSTED_TYPES`. A process loads the pipeline
        only if its settings trust each of them. Not in the document if empty.
    """

    schema_version: Literal[2] = SCHEMA_VERSION
    model_name: str
    model_version: str
    run_id: str
    feature_schema: FeatureSchema
    entity: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    inputs: tuple[FeatureInput, ...] = Field(min_length=1)
    task: Task
    outputs: tuple[Output, ...]
    training_window: dict[str, str]
    data_fingerprint: str
    metrics: dict[str, float]
    library_versions: dict[str, str]
    scores: Histogram | ClassScores | None = None
    label: Label | None = None
    populations: dict[str, Population] = Field(default_factory=dict)
    headline: Headline
    age_feature: str | None = None
    trusted_types: tuple[str, ...] = Field(default=(), exclude_if=lambda types: not types)

    _version_1: version_1.ModelContract | None = PrivateAttr(default=None)
    """What it was read from, if that was a document of version 1."""

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
        if self.age_feature is not None and self.age_feature not in names:
            raise ValueError(f"age_feature: {self.age_feature!r} is not an input")
        if self.headline.population not in (EVERYONE, *self.populations):
            raise ValueError(f"headline.population: {self.headline.population!r} is not a population")
        offered = {f.name: f for f in self.feature_schema.features}
        for given in self.inputs:
            feature = offered.get(given.name)
            if feature is None:
                raise ValueError(f"inputs: {given.name!r} is not a feature of {self.feature_service!r}")
            if (given.dtype, given.view, given.sources) != (feature.dtype, feature.view, feature.sources):
                raise ValueError(f"inputs: {given.name!r} is not what feature_schema says of it")
        self._check_outputs()
        return self

    def _check_outputs(self) -> None:
        kinds = tuple(output.kind for output in self.outputs)
        if kinds != OUTPUT_KINDS[self.task.kind]:
            expected = ", ".join(OUTPUT_KINDS[self.task.kind])
            raise ValueError(f"outputs: a {self.task.kind} model answers {expected}, in this order")
        keys = {key.join_key for key in self.feature_schema.entity_keys}
        if reserved := sorted(keys & RESERVED_NAMES):
            raise ValueError(f"feature_schema.entity_keys: a join key cannot have the name {reserved[0]!r}")
        taken = keys | RESERVED_NAMES
        for output in self.outputs:
            if output.name in taken:
                raise ValueError(f"outputs: the name {output.name!r} is taken; give the target another name")
            taken.add(output.name)
        if self.scores is None:
            return
        if isinstance(self.scores, ClassScores) != isinstance(self.task, MulticlassTask):
            raise ValueError(f"scores: they are not those of a {self.task.kind} model")
        if isinstance(self.scores, ClassScores) and len(self.scores.counts) != len(getattr(self.task, "classes", ())):
            raise ValueError("scores.counts: one per class is needed")

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read a contract of this version or an older one.

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
        version = raw.get("schema_version", 1)
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise ContractVersionError(
                f"contract has schema_version {version}; this code understands up to {SCHEMA_VERSION}"
            )
        try:
            if version == SCHEMA_VERSION:
                return cls.model_validate_json(text)
            first = version_1.ModelContract.model_validate_json(text)
            contract = cls.model_validate_json(json.dumps(version_1.upgraded(first.model_dump(mode="json"))))
        except ValidationError as error:
            problem = first_problem(error)
            raise ContractError(f"contract is invalid at {problem.where or 'contract'}: {problem.what}") from None
        contract._version_1 = first
        return contract

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As pydantic's. A copy with other members is no longer the document that was read."""
        copied = super().model_copy(update=update, deep=deep)
        if update:
            copied._version_1 = None
        return copied

    @property
    def written(self) -> "ModelContract | version_1.ModelContract":
        """The contract in the version it was written in, as clients and digests know it."""
        return self._version_1 or self

    @property
    def document(self) -> dict[str, Any]:
        """The document as JSON values, in the version it was written in."""
        return self.written.model_dump(mode="json")

    def to_json(self) -> str:
        """Indented JSON; `from_json` reads the same contract back. A contract of an older version stays in it."""
        return self.written.model_dump_json(indent=2) + "\n"

    @property
    def sha256(self) -> str:
        """`content_sha256` of the document."""
        return content_sha256(self.written.model_dump_json())

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

    @property
    def join_key(self) -> str:
        """Name of the only join key, and of its member in requests, answers and files."""
        return self.feature_schema.entity_keys[0].join_key

    @property
    def unknown_status(self) -> str:
        """Status of a row whose key has no features."""
        return f"unknown_{self.entity}"

    @property
    def binary(self) -> BinaryTask:
        """The task of a binary model.

        Raises:
            ContractError: the model is of another task.
        """
        if not isinstance(self.task, BinaryTask):
            raise ContractError(f"model {self.model_name!r} is a {self.task.kind} model, not a binary one")
        return self.task
