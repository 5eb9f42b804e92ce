"""The cut-offs of training: midnights, and the hours after them at which requests come.

Training makes its rows at them; the feature build makes windowed snapshots for them.
"""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

_MOST_HOURS = 48


@dataclass(frozen=True)
class HourRange:
    """Hours after midnight, `first` ≤ hour < `last`; if both are equal, exactly that time.

    share: share of the requests; the shares of all ranges add up to 1.
    """

    first: float
    last: float
    share: float


class CutoffSettings(BaseSettings):
    """The training settings that determine the cut-offs."""

    model_config = SettingsConfigDict(env_prefix="TRAINING_")

    label_days: int = Field(default=90, ge=0)
    """A label tells of this many days from the moment at which an entity is looked at. Unset, it is the champion's
    (docs/promotion.md#the-label-belongs-to-the-model).
    """

    training_cutoffs: int = Field(default=4, ge=1)
    """Number of cut-offs that the training rows come from."""

    cutoff_spacing_days: int = Field(default=30, ge=1)
    """Days between training cut-offs."""

    request_hours: str = "0-24"
    """Hours after midnight UTC at which entities are looked at, as requests come: `from-to`, or several such ranges
    with `:share` (docs/model.md).
    """

    @field_validator("request_hours")
    @classmethod
    def _are_hours(cls, described: str) -> str:
        hour_ranges(described)
        return described

    @property
    def hours(self) -> tuple[HourRange, ...]:
        """`request_hours`, parsed."""
        return hour_ranges(self.request_hours)

    @property
    def chosen(self) -> dict[str, Any]:
        """The settings that were set explicitly, as arguments of `CutoffSettings`."""
        return {name: getattr(self, name) for name in CutoffSettings.model_fields if name in self.model_fields_set}

    @property
    def label(self) -> timedelta:
        """Length of a label window."""
        return timedelta(days=self.label_days)

    @property
    def reach(self) -> timedelta:
        """Whole days after a cut-off until the last label window of its rows ends."""
        return timedelta(days=self.label_days + math.ceil(max(each.last for each in self.hours) / 24))


def hour_ranges(described: str) -> tuple[HourRange, ...]:
    """Parse ranges of hours: `0-24`, or `8-20:9 20-24:1` if nine of ten requests come before 20:00.

    Raises:
        ValueError: a range is invalid; it is quoted.
    """
    found = []
    for part in described.split():
        hours, _, share = part.partition(":")
        first, _, last = hours.partition("-")
        try:
            each = HourRange(float(first), float(last), float(share or 1))
        except ValueError:
            raise ValueError(f"{part!r}: expected hours as from-to, or from-to:share") from None
        if not (0 <= each.first <= each.last <= _MOST_HOURS and 0 < each.share < math.inf):
            raise ValueError(f"{part!r}: expected 0 ≤ from ≤ to ≤ {_MOST_HOURS} and a share above 0")
        found.append(each)
    if not found:
        raise ValueError("expected at least one range of hours, as 0-24")
    total = sum(each.share for each in found)
    return tuple(HourRange(each.first, each.last, each.share / total) for each in found)


@dataclass(frozen=True)
class Cutoffs:
    """The midnights (UTC) of each split. No label window reaches into a later split.

    training: ascending; the last label window ends at or before `validation`.
    validation: its last label window ends at or before `test`.
    test: the last midnight whose label windows are all completely observed.
    """

    training: tuple[datetime, ...]
    validation: datetime
    test: datetime

    @property
    def all(self) -> tuple[datetime, ...]:
        """The cut-offs of all splits, ascending."""
        return (*self.training, self.validation, self.test)


def midnight(at: datetime) -> datetime:
    """The last midnight at or before a time, in the time's own zone."""
    return at.replace(hour=0, minute=0, second=0, microsecond=0)


def lay_back(observed_until: datetime, settings: CutoffSettings) -> Cutoffs:
    """Compute the cut-offs backwards from the last completely observed label window.

    Args:
        observed_until: every event before this time is known; UTC.
    """
    test = midnight(observed_until) - settings.reach
    validation = test - settings.reach
    last = validation - settings.reach
    spacing = timedelta(days=settings.cutoff_spacing_days)
    return Cutoffs(tuple(last - k * spacing for k in reversed(range(settings.training_cutoffs))), validation, test)
