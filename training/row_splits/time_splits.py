"""Splits by cut-offs: entities are looked at after some midnights, and their target is read off later events."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

import pandas as pd

from artefacts.cutoffs import Cutoffs, CutoffSettings
from contract.inputs import COUNTED_AT
from training.errors import UseCaseError
from training.row_splits.label_windows import choose_cutoffs, last_labelled
from training.row_splits.split_rows import Part, SplitRows


@runtime_checkable
class LabelSource(Protocol):
    """Where a target comes from, e.g. a file of events."""

    def first_event(self) -> datetime:
        """Time of the first event, UTC. Rows at earlier cut-offs have no features.

        Raises:
            DatasetError: there are no events.
        """
        ...

    def observed_until(self) -> datetime:
        """The time, UTC, before which everything is known.

        Raises:
            DatasetError: there are no events.
        """
        ...

    def rows(self, cutoff: datetime, splits: CutoffSettings, seed: int) -> pd.DataFrame:
        """The entities at a cut-off, each at a request time in the hours after it, with their target.

        Returns:
            The join keys, `event_timestamp` (datetime64[us, UTC]), and the target's column. Further boolean columns are
            groups: what the model says of them is logged.
        """
        ...


@dataclass(frozen=True)
class TimeSplits:
    """Rows at midnights, each some time after the one before, so that no label reaches into a later split.

    label_days: the target is known this many days after a row's request time.
    training: number of cut-offs whose rows a model is fitted on; one more validates, and one more tests.
    spacing_days: between training cut-offs.
    request_hours: hours after midnight UTC at which requests come, see `artefacts.cutoffs.hour_ranges`.
    """

    label_days: int = 90
    training: int = 4
    spacing_days: int = 30
    request_hours: str = "0-24"

    @property
    def settings(self) -> Mapping[str, Any]:
        """See `RowSplits`."""
        return {
            "label_days": self.label_days,
            "training_cutoffs": self.training,
            "cutoff_spacing_days": self.spacing_days,
            "request_hours": self.request_hours,
        }

    def read(self, labels: Any, settings: CutoffSettings, seed: int) -> SplitRows:
        """See `RowSplits`."""
        if settings.label_days < 1:
            raise UseCaseError("splits: label_days: rows at cut-offs need at least 1; set TRAINING_LABEL_DAYS")
        source = _events(labels)
        cutoffs = cutoffs_of(source, settings)
        return SplitRows(
            training=parts_at(source, cutoffs.training, settings, seed),
            validation=parts_at(source, [cutoffs.validation], settings, seed),
            test=parts_at(source, [cutoffs.test], settings, seed),
            window={
                "first_cutoff": cutoffs.training[0].isoformat(),
                "last_cutoff": cutoffs.validation.isoformat(),
                "labels_until": (cutoffs.validation + settings.reach).isoformat(),
                COUNTED_AT: cutoffs.test.isoformat(),
            },
            parameters={
                "cutoffs_training": ",".join(at.date().isoformat() for at in cutoffs.training),
                "cutoff_validation": cutoffs.validation.date().isoformat(),
                "cutoff_test": cutoffs.test.date().isoformat(),
            },
        )

    def test_from(self, labels: Any, settings: CutoffSettings) -> datetime | None:
        """See `RowSplits`."""
        return last_labelled(_events(labels).observed_until(), settings)


def cutoffs_of(source: LabelSource, settings: CutoffSettings) -> Cutoffs:
    """The cut-offs that the settings give on the time that a label source knows.

    Raises:
        DatasetError: as `choose_cutoffs`; or there are no events.
    """
    until = source.observed_until()
    return choose_cutoffs(source.first_event(), until, settings)


def parts_at(source: LabelSource, times: Sequence[datetime], settings: CutoffSettings, seed: int) -> list[Part]:
    """The rows of a label source at some cut-offs."""
    return [Part(source.rows(at, settings, seed), at) for at in times]


def _events(labels: Any) -> LabelSource:
    if not isinstance(labels, LabelSource):
        raise UseCaseError(
            f"labels: {type(labels).__name__} has no rows at cut-offs, which TimeSplits ask for; rows of a table take "
            "TableSplits or RandomSplit"
        )
    return labels
