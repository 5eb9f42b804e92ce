"""Computes the evidence for classes of difference, view by view, from replays of the same decisions."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from contract import FeatureState, ResolvedFeatures
from contract.resolve import CLOCK_SKEW_SECONDS
from jobs.inference_log.reading import LoggedRows
from jobs.offline_store.offline_features import FeaturePlan, StoredField, StoredRows
from jobs.skew.evidence import Bools, Floats, Replayed, Served, Zeroed, equal

_MOST_SUBSETS_OF = 4
"""Up to so many stored values every subset is tried; of more, each alone and all together."""


@dataclass(frozen=True)
class Replay:
    """n vectors from rows of the offline store.

    resolved: the vectors as the model would see them.
    vectors: the same with the times of the rows behind each input.
    rows: view → the rows.
    event_us, known_us, made_by: float64 (n, v), of the rows of each view, see `PastRows`.
    """

    resolved: ResolvedFeatures
    vectors: Replayed
    rows: Mapping[str, StoredRows]
    event_us: Floats
    known_us: Floats
    made_by: Floats


def served_of(rows: LoggedRows) -> Served:
    """The vectors that the model saw, from logged rows."""
    return Served(
        values=rows.inputs,
        event_us=rows.event_us,
        missing=rows.states == FeatureState.MISSING,
        stale=rows.states == FeatureState.STALE,
        unseen=rows.states == FeatureState.UNSEEN,
        overridden=rows.states == FeatureState.OVERRIDDEN,
        defaulted=rows.defaulted,
        cached=rows.cached,
        as_of_us=rows.as_of_us.astype(np.float64),
    )


def mistimed_views(
    served: Served,
    served_us: Floats,
    held: Bools,
    replays: Sequence[Replay],
    stored: Replay,
    own: Sequence[Sequence[int]],
) -> tuple[Bools, Bools]:
    """Find served event times that are not those of the values: no stored row has them, or one with other values.

    Args:
        served_us: (n, v), event time of the served row of each view.
        held: (n, v), the build in place has the partition of that time.
        replays: replays whose values may have been served under the wrong time.
        stored: the replay of the rows with the served event times.
        own: for each view the columns of inputs that are made from it alone.

    Returns:
        Two arrays, bool (n, v): times with the values of another row or past the TTL, and times in the future.
    """
    unknown = np.isfinite(served_us) & np.not_equal(stored.event_us, served_us)
    future = unknown & (served_us > served.as_of_us[:, None] + CLOCK_SKEW_SECONDS * 1e6)
    # A row that was written anew since the decision may have had the served values before.
    as_then = np.equal(stored.event_us, served_us) & ~np.greater(stored.known_us, served.as_of_us[:, None])
    alike, stale, otherwise = (np.zeros_like(unknown) for _ in range(3))

    def as_served(replay: Replay, of_view: list[int]) -> Bools:
        same = equal(served.values, replay.vectors.values) | served.overridden
        whole: Bools = np.logical_and.reduce(same[:, of_view], axis=1)
        return whole

    for view, columns in enumerate(own):
        if not columns:
            continue
        of_view = list(columns)
        for replay in replays:
            another = np.not_equal(replay.event_us[:, view], served_us[:, view])
            alike[:, view] |= another & as_served(replay, of_view)
        stale[:, view] = served.stale[:, of_view].any(axis=1)
        otherwise[:, view] = ~as_served(stored, of_view)
    return (unknown & held & (alike | stale)) | (as_then & otherwise & alike), future


def unbuilt_views(valid: Replay, as_of_us: Floats, in_place_us: Floats) -> Bools:
    """Bool (n, v): the valid row comes from a build after the decision; none was made between event time and decision.

    Args:
        in_place_us: (n, v), when the build in place at the decision was made; NaN if that is not known.
    """
    later = np.greater(valid.known_us, as_of_us[:, None])
    return later & np.isfinite(valid.made_by) & np.greater(valid.event_us, in_place_us)


def zeroed_views(
    plan: FeaturePlan,
    rows: Mapping[str, StoredRows],
    differs: Bools,
    values_of: Callable[[Mapping[str, StoredRows]], NDArray[np.float32]],
) -> Iterator[Zeroed]:
    """Yield what on-demand views with a differing value would compute if some of their stored inputs were 0.

    Args:
        rows: view → the served rows, as they are stored.
        differs: (n, k).
        values_of: computes the vectors, float32 (n, k), from rows.
    """
    for computing in plan.on_demand:
        columns = tuple(column for output in computing.outputs.values() for column in output.columns)
        if not differs[:, list(columns)].any():
            continue
        numbers = [at for at in computing.inputs if _is_number(rows[at.view].fields[at.field].type)]
        for fields in _subsets(numbers):
            try:
                yield Zeroed(columns, values_of(_with_zeros(rows, fields)))
            except Exception:  # noqa: S112  # a view's own code may fail on zeros; then it did not serve them
                continue


def _is_number(column: pa.DataType) -> bool:
    return bool(pa.types.is_integer(column) or pa.types.is_floating(column) or pa.types.is_boolean(column))


def _subsets(fields: list[StoredField]) -> Iterator[Sequence[StoredField]]:
    sizes = range(1, len(fields) + 1) if len(fields) <= _MOST_SUBSETS_OF else (1, len(fields))
    for size in sizes:
        yield from combinations(fields, size)


def _with_zeros(rows: Mapping[str, StoredRows], fields: Sequence[StoredField]) -> dict[str, StoredRows]:
    changed = dict(rows)
    for view, field in fields:
        held = changed[view]
        column = held.fields[field]
        zeros = pa.array(np.zeros(len(column)), mask=column.is_null().to_numpy(zero_copy_only=False))
        changed[view] = replace(held, fields={**held.fields, field: zeros.cast(column.type)})
    return changed
