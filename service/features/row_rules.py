"""What is not believed of rows that were read, though every value of them can be decoded."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from contract import RawFeatures
from contract.feature_union import FeatureUnion
from contract.resolve import CLOCK_SKEW_SECONDS

logger = logging.getLogger(__name__)

_NEVER = np.iinfo(np.int64).max

Reason = Literal["undecodable", "no_event_time", "future_event_time"]


class RowRules:
    """Marks rows as `unread` of which age or origin are not known. A row is the first model's, or the others' alone."""

    def __init__(self, union: FeatureUnion) -> None:
        views = {view.name: position for position, view in enumerate(union.views)}
        stored = [(column, views[spec.view]) for column, spec in enumerate(union.features) if spec.view in views]
        self._first = self._part(stored, 0, union.first_features, 0, union.first_views)
        self._further = self._part(stored, union.first_features, len(union.features), union.first_views, len(views))

    @staticmethod
    def _part(
        stored: list[tuple[int, int]], first: int, end: int, first_view: int, end_view: int
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], slice]:
        pairs = [(column, view) for column, view in stored if first <= column < end]
        columns, views = zip(*pairs, strict=True) if pairs else ((), ())
        return np.array(columns, dtype=np.intp), np.array(views, dtype=np.intp), slice(first_view, end_view)

    def apply(self, raw: RawFeatures, as_of_unix_us: int | NDArray[np.int64]) -> tuple[RawFeatures, dict[Reason, int]]:
        """The rows with those marked that are not believed, and how many cannot be answered for which reason."""
        counted: dict[Reason, int] = {}
        if raw.unread is not None:
            counted["undecodable"] = int(raw.unread.sum())
        times = raw.event_times
        if times is None:
            return raw, counted
        earliest = as_of_unix_us if isinstance(as_of_unix_us, int) else as_of_unix_us.min(initial=_NEVER)
        if times.max(initial=-np.inf) <= earliest / 1e6 + CLOCK_SKEW_SECONDS:
            return raw, counted  # nothing is NaN, nothing ahead: mostly so, and soon seen
        latest = np.reshape(np.asarray(as_of_unix_us, dtype=np.float64) / 1e6 + CLOCK_SKEW_SECONDS, (-1, 1))
        ahead, absent = times > latest, np.isnan(times)
        if not ahead.any() and not absent.any():
            return raw, counted
        found = [dict(self._found(raw, ahead, absent, *part)) for part in (self._first, self._further)]
        first, further = (np.any(list(rows.values()), axis=0) for rows in found)
        if not first.any() and not further.any():
            return raw, counted
        counted.update({reason: int(rows.sum()) for reason, rows in found[0].items() if rows.any()})
        reasons = sorted({reason for part in found for reason, rows in part.items() if rows.any()})
        logger.warning(
            "online store: rows of %d of %d customers are not believed: %s",
            int((first | further).sum()),
            len(first),
            ", ".join(reasons),
        )
        values, times = raw.values.copy(), np.where(ahead, np.nan, times)
        values[first], times[first] = np.nan, np.nan
        return replace(
            raw,
            values=values,
            event_times=times,
            unread=_either(raw.unread, first),
            further_unread=_either(raw.further_unread, further),
        ), counted

    @staticmethod
    def _found(
        raw: RawFeatures,
        ahead: NDArray[np.bool_],
        absent: NDArray[np.bool_],
        columns: NDArray[np.intp],
        views: NDArray[np.intp],
        own_views: slice,
    ) -> Iterator[tuple[Reason, NDArray[np.bool_]]]:
        # Feast writes a view's values and its event time together, so values alone were not written by it.
        yield "no_event_time", np.logical_or.reduce(~np.isnan(raw.values[:, columns]) & absent[:, views], axis=1)
        yield "future_event_time", np.logical_or.reduce(ahead[:, own_views], axis=1)


def _either(known: NDArray[np.bool_] | None, found: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    if not found.any():
        return known
    return found if known is None else known | found
