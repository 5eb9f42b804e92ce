"""Rejects rows that decode well but whose age or origin cannot be trusted."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from contract import RawFeatures
from contract.feature_union import FeatureUnion, InputGroup
from contract.resolve import CLOCK_SKEW_SECONDS

logger = logging.getLogger(__name__)

_NEVER = np.iinfo(np.int64).max

Reason = Literal["undecodable", "no_event_time", "future_event_time"]


class RowRules:
    """Marks inputs as `unread` whose age or origin is not known.

    A row that breaks a rule in the union's first group is unread as a whole: no answer is given for it. In another
    group it costs the inputs of that group alone.
    """

    def __init__(self, union: FeatureUnion) -> None:
        views = {view.name: position for position, view in enumerate(union.views)}
        stored = [(column, views[spec.view]) for column, spec in enumerate(union.features) if spec.view in views]
        self._groups = [_Group.of(group, stored) for group in union.groups]

    def apply(self, raw: RawFeatures, as_of_unix_us: int | NDArray[np.int64]) -> tuple[RawFeatures, dict[Reason, int]]:
        """The rows with those marked that are not believed, and how many cannot be answered for which reason."""
        counted: dict[Reason, int] = {}
        first = self._groups[0]
        if raw.unread is not None and (undecodable := raw.unread[:, first.inputs].any(axis=1)).any():
            counted["undecodable"] = int(undecodable.sum())
        times = raw.event_times
        if times is None:
            return raw, counted
        earliest = as_of_unix_us if isinstance(as_of_unix_us, int) else as_of_unix_us.min(initial=_NEVER)
        if times.max(initial=-np.inf) <= earliest / 1e6 + CLOCK_SKEW_SECONDS:
            return raw, counted  # the usual case: nothing is NaN or in the future
        latest = np.reshape(np.asarray(as_of_unix_us, dtype=np.float64) / 1e6 + CLOCK_SKEW_SECONDS, (-1, 1))
        ahead, absent = times > latest, np.isnan(times)
        if not ahead.any() and not absent.any():
            return raw, counted
        found = [dict(self._found(raw, ahead, absent, group)) for group in self._groups]
        failed = [np.any(list(rows.values()), axis=0) for rows in found]
        if not np.any(failed):
            return raw, counted
        counted.update({reason: int(rows.sum()) for reason, rows in found[0].items() if rows.any()})
        reasons = sorted({reason for group in found for reason, rows in group.items() if rows.any()})
        logger.warning(
            "online store: rows of %d of %d entities are not believed: %s",
            int(np.any(failed, axis=0).sum()),
            len(times),
            ", ".join(reasons),
        )
        unread = np.zeros(raw.values.shape, dtype=bool) if raw.unread is None else raw.unread.copy()
        for group, rows in zip(self._groups, failed, strict=True):
            unread[:, slice(None) if group is first else group.inputs] |= rows[:, None]
        times = np.where(ahead, np.nan, times)
        times[failed[0]] = np.nan
        return replace(raw, values=np.where(unread, np.nan, raw.values), event_times=times, unread=unread), counted

    @staticmethod
    def _found(
        raw: RawFeatures, ahead: NDArray[np.bool_], absent: NDArray[np.bool_], group: "_Group"
    ) -> Iterator[tuple[Reason, NDArray[np.bool_]]]:
        # Feast writes a view's values and event time together, so values without a time were not written by it.
        values = raw.values[:, group.stored]
        yield "no_event_time", np.logical_or.reduce(~np.isnan(values) & absent[:, group.views_of_stored], axis=1)
        yield "future_event_time", np.logical_or.reduce(ahead[:, group.views], axis=1)


class _Group(NamedTuple):
    """An `InputGroup` as indices.

    stored, views_of_stored: its inputs that are stored, and the view of each.
    """

    inputs: slice
    views: slice
    stored: NDArray[np.intp]
    views_of_stored: NDArray[np.intp]

    @classmethod
    def of(cls, group: InputGroup, stored: list[tuple[int, int]]) -> "_Group":
        """From the positions of every stored input of the union and its view."""
        pairs = np.array([pair for pair in stored if pair[0] in group.features], dtype=np.intp).reshape(-1, 2)
        inputs, views = (slice(each.start, each.stop) for each in (group.features, group.views))
        return cls(inputs, views, pairs[:, 0], pairs[:, 1])
