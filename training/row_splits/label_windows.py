"""Cut-offs that the known time allows: each split's label windows are completely observed."""

from dataclasses import replace
from datetime import datetime

from artefacts.cutoffs import Cutoffs, CutoffSettings, lay_back
from training.errors import DatasetError


def choose_cutoffs(first_event: datetime, observed_until: datetime, settings: CutoffSettings) -> Cutoffs:
    """The cut-offs by the settings, without training cut-offs before the first event.

    Raises:
        DatasetError: the events span too short a time for one training cut-off.
    """
    wanted = lay_back(observed_until, settings)
    usable = tuple(t for t in wanted.training if t > first_event)
    if not usable:
        raise DatasetError(
            f"events from {first_event:%Y-%m-%d} to {wanted.test + settings.reach:%Y-%m-%d} span too few days: "
            f"training, validation and test each need {settings.reach.days} days after the first one "
            f"({settings.label_days} days of a label, and TRAINING_REQUEST_HOURS); "
            "a shorter TRAINING_LABEL_DAYS needs less"
        )
    return replace(wanted, training=usable)


def last_labelled(observed_until: datetime, settings: CutoffSettings) -> datetime:
    """The test cut-off: the last midnight whose label windows are all completely observed."""
    return lay_back(observed_until, settings).test
