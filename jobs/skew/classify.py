"""Classifies the differences between logged values and the offline store.

Pure: arrays in, arrays out. Each class needs proof by stored rows; without proof a difference is `unexplained`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from contract.values.vocabulary import MISSING_CODE, Category
from jobs.skew.evidence import Bools, Evidence, Floats, Replayed, Served, Vectors, Zeroed, equal
from jobs.skew.findings import Finding, code


def differing(served: Served, valid: Vectors) -> Bools:
    """Bool (n, k): values that are not equal as float32 and were not given by the request. There is no tolerance.

    Kept nulls are equal, and so are two categories that the vocabulary lacks: no more is known of them.
    """
    return ~equal(served.values, valid.values) & ~served.overridden


def classify(evidence: Evidence) -> NDArray[np.uint8]:
    """Codes of findings, uint8 (n, k); `AGREES` if neither the value nor its event time differs.

    The first finding that holds is taken. Explanations by stored rows come before explanations by the value alone.
    """
    served, valid, known = evidence.served, evidence.valid, evidence.known
    found = np.zeros(served.values.shape, dtype=np.uint8)
    found[served.overridden] = code(Finding.OVERRIDE)
    unexplained = differing(served, valid)

    def take(finding: Finding, where: Bools) -> None:
        taken = unexplained & where
        found[taken] = code(finding)
        unexplained[taken] = False

    as_of = served.as_of_us[:, None]
    same_row = _same(served.event_us, valid.event_us)
    as_known = equal(served.values, known.values) & _same(served.event_us, known.event_us)
    versions = [
        (equal(served.values, of.values) & np.equal(served.event_us, of.event_us), of) for of in evidence.served_rows
    ]
    other_code = _any([says & _differ(of.made_by, valid.made_by) & same_row for says, of in versions], same_row)
    as_stored = _any([says for says, _ in versions], same_row)

    cached = np.broadcast_to(served.cached[:, None], found.shape)
    take(Finding.CACHED, cached)
    # A wrong event time is a finding even if the value is right.
    unexplained |= (evidence.mistimed | evidence.future) & ~served.overridden & ~cached
    take(Finding.FUTURE, evidence.future)
    take(Finding.MISTIMED_STALE, evidence.mistimed & served.stale)
    take(Finding.MISTIMED, evidence.mistimed)
    take(Finding.OTHER_CODE, other_code)
    late = as_known & np.greater(valid.known_us, as_of)
    take(Finding.MISSED_BUILD, late & evidence.unbuilt & evidence.overdue)
    take(Finding.NOT_BUILT_YET, late & evidence.unbuilt)
    take(Finding.LATE, late)
    take(Finding.NO_LONGER_STORED, evidence.dropped)
    expired = served.stale & served.defaulted
    take(Finding.EXPIRED, expired & np.greater(valid.event_us, served.event_us))
    take(Finding.EXPIRED_ALONE, expired & np.isnan(valid.event_us))
    take(Finding.LAG, as_stored & np.less(served.event_us, valid.event_us))
    take(Finding.LAG_OF_VERSION, as_stored & same_row)
    take(Finding.DEFAULT_USED, served.missing & served.defaulted & ~valid.missing)
    take(Finding.NULL_SEEN, served.missing & ~served.defaulted & ~valid.missing)

    # From here on rows do not explain the value. It is compared with the stored version of the row that was served.
    reference = _of_the_served_row(evidence)
    comparable = ~served.defaulted & ~reference.missing
    # A writer that swaps or truncates values keeps their times. With another time, likeness may be chance.
    served_row = np.equal(served.event_us, reference.event_us)
    same_event = comparable & served_row
    is_number = ~np.isin(np.arange(served.values.shape[1]), [*evidence.vocabularies, *evidence.ages])
    numbers = same_event & is_number
    in_place_of_none = served_row & reference.missing & ~served.missing & ~served.defaulted
    for zeroed in evidence.zeroed:
        take(Finding.ZEROED_SOURCES, same_event & _as_if(zeroed, served))
    seen, expected = (_comparable_across_columns(of.values, evidence.vocabularies) for of in (served, reference))
    take(Finding.SWAPPED, _swapped(seen, expected, unexplained & same_event))
    take(Finding.UNSEEN_FOR_NULL, served.unseen & served_row & reference.missing)
    take(Finding.UNSEEN_SERVED, served.unseen & served_row)
    take(Finding.ZERO_FOR_NULL, in_place_of_none & is_number & np.equal(served.values, 0))
    cut = numbers & np.equal(served.values, np.trunc(reference.values))
    # 0.3 truncated is 0, too. It counts as truncated if other values of the same feature were.
    cut_elsewhere = (unexplained & cut & np.not_equal(served.values, 0)).any(axis=0)
    take(Finding.ZEROED, numbers & np.equal(served.values, 0) & ~(cut & cut_elsewhere))
    with np.errstate(over="ignore"):
        half = reference.values.astype(np.float16).astype(np.float32)
    take(Finding.TRUNCATED, cut)
    take(Finding.HALF_PRECISION, numbers & np.equal(served.values, half))

    on_demand = np.isin(np.arange(served.values.shape[1]), list(evidence.computed_from))
    no_newer = ~np.greater(reference.created_us, as_of)
    otherwise = same_event | in_place_of_none
    take(Finding.COMPUTED, otherwise & _inputs_agree(evidence, reference) & on_demand)
    take(Finding.STORED, otherwise & no_newer & ~on_demand)
    for column, sources in evidence.computed_from.items():
        _inherit(found, unexplained, column, sources)

    take(Finding.NEWER_THAN_DECISION, np.greater(served.event_us, as_of))
    take(Finding.NO_ROW_OFFLINE, ~np.equal(served.event_us, reference.event_us) & ~np.isnan(served.event_us))
    take(Finding.REWRITTEN, ~no_newer)
    take(Finding.UNKNOWN, unexplained)
    return found


def _of_the_served_row(evidence: Evidence) -> Replayed:
    """For each cell the row with the served event time, or the valid row if there is none."""
    valid = evidence.valid
    older = next(iter(evidence.served_rows), valid)
    served_us = evidence.served.event_us
    choose = np.equal(older.event_us, served_us) & ~_same(valid.event_us, served_us)
    return Replayed(
        values=np.where(choose, older.values, valid.values),
        event_us=np.where(choose, older.event_us, valid.event_us),
        missing=np.where(choose, older.missing, valid.missing),
        created_us=np.where(choose, older.created_us, valid.created_us),
        known_us=np.where(choose, older.known_us, valid.known_us),
        made_by=np.where(choose, older.made_by, valid.made_by),
    )


def _comparable_across_columns(values: NDArray[np.float32], vocabularies: Mapping[int, Sequence[Category]]) -> Floats:
    """The values, with one number for each known category, whatever its column; NaN for the others.

    The numbers are beyond those of float32, so none is taken for a number of another column.
    """
    numbers: dict[Category, float] = {}
    found = values.astype(np.float64)
    for column, vocabulary in vocabularies.items():
        of_code = [numbers.setdefault(value, 1e100 * (1 + len(numbers))) for value in vocabulary]
        codes = np.nan_to_num(found[:, column], nan=MISSING_CODE).astype(np.intp)
        found[:, column] = np.array([np.nan, np.nan, *of_code])[codes + 2]
    return found


def _swapped(served: Floats, reference: Floats, candidates: Bools) -> Bools:
    """Cells of a row whose served values are a permutation of what the same cells should hold."""
    swapped = np.zeros_like(candidates)
    for row in np.flatnonzero(candidates.sum(axis=1) > 1):
        columns = np.flatnonzero(candidates[row])
        while len(columns) > 1:
            seen, expected = served[row, columns], reference[row, columns]
            kept = columns[np.isin(seen, expected) & np.isin(expected, seen)]
            if len(kept) == len(columns):
                swapped[row, columns] = Counter(seen.tolist()) == Counter(expected.tolist())
                break
            columns = kept
    return swapped


def _as_if(zeroed: Zeroed, served: Served) -> Bools:
    """Bool (n, k): the outputs of a view, in rows where all of them are what it computes from zeros."""
    alike: Bools = equal(served.values, zeroed.values) | served.overridden
    columns = np.isin(np.arange(alike.shape[1]), zeroed.columns)
    every: Bools = np.logical_and.reduce(alike | ~columns, axis=1)
    return every[:, None] & columns


def _inputs_agree(evidence: Evidence, reference: Replayed) -> Bools:
    """Bool (n, k): all stored features behind an on-demand value are right."""
    served = evidence.served
    agrees = equal(served.values, reference.values) | served.overridden
    inputs = np.ones_like(agrees)
    for column, sources in evidence.computed_from.items():
        inputs[:, column] = agrees[:, list(sources)].all(axis=1)
    return inputs


def _inherit(found: NDArray[np.uint8], unexplained: Bools, column: int, sources: Sequence[int]) -> None:
    """Give an on-demand value the finding of a stored value that it is computed from."""
    for source in sources:
        taken = unexplained[:, column] & (found[:, source] > code(Finding.OVERRIDE))
        found[taken, column] = found[taken, source]
        unexplained[taken, column] = False


def _same(one: Floats, other: Floats) -> Bools:
    """True if the times are equal or both are missing."""
    return np.equal(one, other) | (np.isnan(one) & np.isnan(other))


def _differ(one: Floats, other: Floats) -> Bools:
    """True if both are there and not equal."""
    return np.isfinite(one) & np.isfinite(other) & np.not_equal(one, other)


def _any(cases: Sequence[Bools], like: Bools) -> Bools:
    return np.any(cases, axis=0) if len(cases) else np.zeros_like(like)
