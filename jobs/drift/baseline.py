"""Baselines to compare live values with: the rows of training, or a period of the inference log."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from artefacts.process.command_line import parse_utc
from contract import FeatureInput, ModelContract
from contract.inputs import COUNTED_AT
from contract.values.category_counts import CategoryCounts
from contract.values.histogram import Histogram
from jobs.drift.class_counts import Counts
from jobs.drift.score_columns import trained_scores
from jobs.errors import ArgumentError, JobError


@dataclass(frozen=True)
class BaselineChoice:
    """The chosen baseline.

    kind: `training`: the rows of the test cut-off, as counted in the contract. `promoted`: the first `days` in which
        the version answered. `period`: rows of the log in [since, until), whichever version answered.
    """

    kind: Literal["training", "promoted", "period"]
    days: int = 30
    since: datetime | None = None
    until: datetime | None = None

    @classmethod
    def parse(cls, text: str, days: int) -> Self:
        """Read `training`, `promoted` or `<from>..<to>`, ISO times, UTC unless they name a zone.

        Raises:
            ArgumentError: the text is none of these.
        """
        if text == "training":
            return cls("training")
        if text == "promoted":
            return cls("promoted", days)
        first, dots, last = text.partition("..")
        try:
            since, until = parse_utc(first), parse_utc(last)
        except ValueError:
            dots = ""
        if not dots:
            raise ArgumentError(
                f"baseline {text!r}: expected training, promoted, or a period of the log as 2026-01-01..2026-02-01"
            )
        if since >= until:
            raise ArgumentError(f"baseline {text!r}: {first} is not before {last}")
        return cls("period", since=since, until=until)

    def window(self, first_answer: datetime) -> tuple[datetime, datetime] | None:
        """[from, to) of a version's baseline in the log; None if the baseline does not come from the log.

        Args:
            first_answer: time of the version's first answer.
        """
        if self.kind == "promoted":
            return first_answer, first_answer + timedelta(days=self.days)
        return (self.since, self.until) if self.since and self.until else None


@dataclass(frozen=True)
class Baseline:
    """The baseline of one version.

    counts: column → its counts: the inputs and the scores.
    what: describes the rows in words.
    rows: number of rows.
    oldest: the largest age of an entity, in the unit of the age feature; None without an age feature.
    """

    counts: Mapping[str, Counts]
    what: str
    rows: int
    oldest: float | None


def counts_of(values: NDArray[np.float64], given: FeatureInput) -> Counts:
    """Counts of n values of an input, of a category its codes."""
    return Histogram.of(values) if given.vocabulary is None else CategoryCounts.of(values, len(given.vocabulary))


def trained_baseline(contract: ModelContract, age_feature: str) -> Baseline:
    """The baseline that training counted.

    Raises:
        JobError: the contract has no counts, or its inputs and its scores were counted on different rows.
    """
    version = contract.model_version
    scores = trained_scores(contract)
    inputs: dict[str, Counts | None] = {feature.name: feature.distribution.histogram for feature in contract.inputs}
    found: dict[str, Counts | None] = {**inputs, **scores}
    counted = {name: counts for name, counts in found.items() if counts is not None}
    instead = "train anew, or choose another baseline: promoted, or a period of the log as <from>..<to>"
    if len(counted) < len(found):
        raise JobError(f"model version {version} was trained before contracts counted values; {instead}")
    if COUNTED_AT not in contract.training_window:
        raise JobError(
            f"model version {version} was trained when inputs and scores were counted on different rows, so that one "
            f"of them always looks drifted; {instead}"
        )
    ages = counted.get(age_feature)
    return Baseline(
        counts=counted,
        what=f"training: the rows of the test cut-off {contract.training_window[COUNTED_AT]}",
        rows=int(counted[next(iter(scores))].all_counts.sum()),
        oldest=ages.largest if isinstance(ages, Histogram) else None,
    )
