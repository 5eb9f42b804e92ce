"""Labelled rows of training, validation and test, and the protocol of what makes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import pandas as pd

from artefacts.cutoffs import CutoffSettings

REQUESTED_AT = "event_timestamp"
"""Column with a row's request time, datetime64[us, UTC]."""
HELD_OUT = "held_out"
"""Key in a contract's `training_window`: which entities were kept aside, where entities and not times tell the splits
apart.
"""


@dataclass(frozen=True)
class Part:
    """Some rows of a split.

    rows: join keys, `event_timestamp` (datetime64[us, UTC], the request time) and the target's column. Further columns
        are request values, or boolean: groups.
    cutoff: midnight for which views that are built here must have a snapshot; None if any time will do.
    """

    rows: pd.DataFrame
    cutoff: datetime | None = None


@dataclass(frozen=True)
class SplitRows:
    """Labelled rows of the three splits, before features are looked up.

    window: for the contract's `training_window`.
    parameters: of the run, for people.
    """

    training: Sequence[Part]
    validation: Sequence[Part]
    test: Sequence[Part]
    window: Mapping[str, str]
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def by_name(self) -> Mapping[str, Sequence[Part]]:
        """The three splits."""
        return {"training": self.training, "validation": self.validation, "test": self.test}


class RowSplits(Protocol):
    """Says which labelled rows belong to training, validation and test."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Values of `CutoffSettings` that apply unless a variable sets another."""
        ...

    def read(self, labels: Any, settings: CutoffSettings, seed: int) -> SplitRows:
        """Read the rows of all splits.

        Args:
            labels: what the use case's `labels` made.

        Raises:
            DatasetError: the rows cannot be read, or are too few for three splits.
            UseCaseError: the source of the labels is of another kind.
        """
        ...

    def test_from(self, labels: Any, settings: CutoffSettings) -> datetime | None:
        """Time of the first test row, known without reading features; None where times do not tell the splits apart.

        Raises:
            DatasetError, UseCaseError: as `read`.
        """
        ...
