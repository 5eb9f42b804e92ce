"""The classifier alone: of every class, the evidence that it takes, and evidence that looks like it and is not."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from contract.values.vocabulary import Category
from jobs.skew.classify import classify, differing
from jobs.skew.evidence import Bools, Evidence, Replayed, Served, Zeroed
from jobs.skew.findings import AGREES, CLASSES, FINDINGS, Finding

A, B, C, COMPUTED = range(4)
"""Two features of one view, one of another, and one that is computed on demand from the first view."""
OLD, VALID, AS_OF, LATER = 1e15, 2e15, 3e15, 4e15
NAN = np.nan


def values(*of_row: float) -> NDArray[np.float32]:
    return np.array([of_row], dtype=np.float32)


TRUE_VALUES = values(10.25, 20.5, 3.0, 0.7)


def rows(vector: NDArray[np.float32] = TRUE_VALUES, event_us: float = VALID, **parts: Any) -> Replayed:
    """A row of the offline store, known since it is valid."""
    shape = vector.shape
    given = {
        "event_us": np.full(shape, event_us),
        "missing": np.zeros(shape, dtype=bool),
        "created_us": np.full(shape, event_us),
        "known_us": np.full(shape, event_us),
        "made_by": np.full(shape, 1.0),
    }
    return Replayed(vector, **{**given, **parts})


def served(vector: NDArray[np.float32] = TRUE_VALUES, event_us: float = VALID, **flags: list[int]) -> Served:
    """What the model saw; `flags` names the columns for which each is true."""

    def flag(name: str) -> NDArray[np.bool_]:
        columns: NDArray[np.bool_] = np.isin(np.arange(vector.shape[1]), flags.get(name, []))
        return np.broadcast_to(columns, vector.shape).copy()

    return Served(
        values=vector,
        event_us=np.full(vector.shape, event_us),
        missing=flag("missing"),
        stale=flag("stale"),
        unseen=flag("unseen"),
        overridden=flag("overridden"),
        defaulted=flag("defaulted"),
        cached=np.array(["cached" in flags] * len(vector)),
        as_of_us=np.full(len(vector), AS_OF),
    )


def found(
    of: Served,
    valid: Replayed | None = None,
    known: Replayed | None = None,
    versions: tuple[Replayed, ...] = (),
    dropped: bool = False,
    zeroed: tuple[Zeroed, ...] = (),
    **which: list[int],
) -> list[Finding | None]:
    """The finding of each value of the first row; None where it agrees.

    Args:
        which: flag of `Evidence` → columns for which it is true.
    """
    valid = valid or rows()

    def flag(name: str) -> Bools:
        return np.broadcast_to(np.isin(np.arange(of.values.shape[1]), which.get(name, [])), of.values.shape)

    evidence = Evidence(
        served=of,
        valid=valid,
        known=known or valid,
        served_rows=versions or (valid, valid),
        dropped=np.full(of.values.shape, dropped),
        computed_from={COMPUTED: (A, B)},
        mistimed=flag("mistimed"),
        future=flag("future"),
        unbuilt=flag("unbuilt"),
        overdue=flag("overdue"),
        zeroed=zeroed,
    )
    return [None if code == AGREES else FINDINGS[code - 1] for code in classify(evidence)[0].tolist()]


def cell(column: int, value: float, vector: NDArray[np.float32] = TRUE_VALUES) -> NDArray[np.float32]:
    changed = vector.copy()
    changed[0, column] = value
    return changed


NOT_THERE = rows(event_us=NAN)


def test_equal_vectors_agree_and_the_last_bit_of_a_float32_is_a_difference() -> None:
    next_float = np.nextafter(np.float32(10.25), np.float32(11))

    assert [None] * 4 == found(served())
    assert [True, False, False, False] == differing(served(cell(A, float(next_float))), rows())[0].tolist()


def test_a_value_that_the_request_gave_is_named_so_whatever_it_is() -> None:
    assert [Finding.OVERRIDE, None, None, None] == found(served(cell(A, 99.0), overridden=[A]))
    assert [Finding.OVERRIDE, None, None, None] == found(served(overridden=[A]))


def test_an_older_row_that_is_stored_as_it_was_served_is_lag_and_so_is_what_was_computed_of_it() -> None:
    older = rows(values(9.0, 20.5, 3.0, 0.9), event_us=OLD)

    assert [Finding.LAG, None, None, Finding.LAG] == found(served(older.values, event_us=OLD), versions=(older, older))


def test_an_older_row_with_values_that_nobody_stored_is_no_lag() -> None:
    older = rows(values(9.0, 20.5, 3.0, 0.7), event_us=OLD)

    assert [Finding.STORED, None, None, None] == found(served(cell(A, 8.5), event_us=OLD), versions=(older, older))
    assert [Finding.NO_ROW_OFFLINE, None, None, None] == found(
        served(cell(A, 8.5), event_us=OLD), versions=(NOT_THERE, NOT_THERE)
    )


def test_an_earlier_version_under_the_same_event_time_is_lag_unless_it_became_known_later() -> None:
    first = rows(cell(A, 9.0))
    corrected = rows(known_us=np.full((1, 4), LATER), created_us=np.full((1, 4), OLD))

    assert [Finding.LAG_OF_VERSION, None, None, None] == found(served(cell(A, 9.0)), versions=(rows(), first))
    assert Finding.LATE is found(served(cell(A, 9.0)), corrected, known=first, versions=(first, first))[A]


def test_a_late_event_is_one_only_if_what_was_known_then_is_what_was_served() -> None:
    late = rows(known_us=np.full((1, 4), LATER), created_us=np.full((1, 4), LATER))
    known = rows(cell(A, 9.0), event_us=OLD)

    assert [Finding.LATE, None, None, None] == found(served(known.values, event_us=OLD), late, known)
    assert Finding.LATE is not found(served(cell(A, 8.5), event_us=OLD), late, known, versions=(known, known))[A]
    # Nothing of then is stored any more.
    assert [Finding.REWRITTEN, None, None, None] == found(served(cell(A, 8.5)), late, NOT_THERE)


def test_a_customer_of_whom_nothing_was_known_yet_is_a_late_event_not_a_missing_value() -> None:
    late = rows(known_us=np.full((1, 4), LATER))
    nothing = rows(values(1.0, 2.0, 3.0, 4.0), event_us=NAN, missing=np.ones((1, 4), dtype=bool))
    everything = [A, B, C, COMPUTED]
    defaults = served(nothing.values, event_us=NAN, missing=everything, defaulted=everything)

    assert {Finding.LATE} == {f for f in found(defaults, late, nothing) if f}
    assert {Finding.DEFAULT_USED} == {f for f in found(defaults, rows(), rows()) if f}


def test_a_default_past_the_ttl_is_not_lag_though_a_fresher_row_is_there() -> None:
    default = served(cell(C, 99.0), event_us=OLD, stale=[C], defaulted=[C])
    older = rows(cell(C, 99.0), event_us=OLD)

    assert Finding.EXPIRED is found(default, versions=(older, older))[C]
    assert Finding.EXPIRED_ALONE is found(default, rows(event_us=NAN), versions=(older, older))[C]


def test_a_missing_value_is_a_default_only_where_the_offline_store_has_one() -> None:
    default = served(cell(A, 1.0), missing=[A], defaulted=[A])

    assert Finding.DEFAULT_USED is found(default)[A]
    nothing = rows(cell(A, 5.0), missing=np.isin(np.arange(4), [A])[None])
    assert Finding.DEFAULT_USED is not found(default, nothing)[A]


@pytest.mark.parametrize(
    ("vector", "faults"),
    [
        ((20.5, 10.25, 3.0, 0.7), {A, B}),
        ((3.0, 10.25, 20.5, 0.7), {A, B, C}),  # a rotation
        ((0.7, 20.5, 3.0, 10.25), {A, COMPUTED}),
        ((20.5, 20.5, 3.0, 0.7), set()),  # B twice is no permutation
    ],
)
def test_values_that_are_each_others_are_swapped(vector: tuple[float, ...], faults: set[int]) -> None:
    says = found(served(values(*vector)))

    assert faults == {column for column, finding in enumerate(says) if finding is Finding.SWAPPED}


def test_a_swap_is_seen_beside_another_fault_and_makes_what_is_computed_of_it_its_own() -> None:
    says = found(served(values(20.5, 10.25, 4.5, 0.1)))

    assert [Finding.SWAPPED, Finding.SWAPPED, Finding.STORED, Finding.SWAPPED] == says


def test_a_swap_in_a_row_that_lags_is_held_against_that_row() -> None:
    older = rows(values(7.5, 8.5, 3.0, 0.7), event_us=OLD)

    says = found(served(values(8.5, 7.5, 3.0, 0.7), event_us=OLD), versions=(older, older))

    assert [Finding.SWAPPED, Finding.SWAPPED, None, None] == says


def test_values_of_a_row_that_is_not_stored_are_no_swap_and_no_cast_though_they_look_like_one() -> None:
    replaced = rows(values(546.75, 547.75, 3.0, 0.7))

    for by_chance in (values(547.75, 546.75, 3.0, 0.7), values(546.0, 547.0, 3.0, 0.7)):
        says = found(served(by_chance, event_us=OLD), replaced, versions=(NOT_THERE, NOT_THERE))
        assert [Finding.NO_ROW_OFFLINE, Finding.NO_ROW_OFFLINE, None, None] == says


def test_lossy_casts_are_faults_of_type_and_a_change_of_unit_is_not() -> None:
    exact = cell(A, 1234.567)
    half = float(np.float16(1234.567))

    assert Finding.TRUNCATED is found(served(cell(A, 1234.0)), rows(exact))[A]
    assert Finding.HALF_PRECISION is found(served(cell(A, half)), rows(exact))[A]
    assert Finding.STORED is found(served(cell(A, 123456.7)), rows(exact))[A]


def test_on_demand_outputs_over_rows_that_agree_are_a_changed_transformation() -> None:
    assert [None, None, None, Finding.COMPUTED] == found(served(cell(COMPUTED, 0.3)))
    # The rows agree in their times, but a value that it is computed from was stored otherwise.
    assert [Finding.STORED, None, None, Finding.STORED] == found(served(values(11.0, 20.5, 3.0, 0.3)))


def test_a_row_of_a_build_by_other_code_is_a_changed_transformation_whenever_it_was_made() -> None:
    by_older_code = rows(cell(A, 9.0), made_by=np.full((1, 4), 0.0))
    rebuilt = rows(known_us=np.full((1, 4), LATER))

    assert Finding.OTHER_CODE is found(served(cell(A, 9.0)), rebuilt, by_older_code, (by_older_code,) * 2)[A]


def test_last_known_good_values_are_named_before_anything_else_but_what_the_request_gave() -> None:
    says = found(served(cell(A, 9.0), event_us=OLD, cached=[], overridden=[B]), versions=(NOT_THERE,))

    assert [Finding.CACHED, Finding.OVERRIDE, None, None] == says


def test_a_snapshot_that_the_store_has_dropped_is_neither_explained_nor_a_fault() -> None:
    assert Finding.NO_LONGER_STORED is found(served(cell(C, 5.0)), rows(event_us=OLD), dropped=True)[C]


def test_a_row_from_after_the_decision_is_unexplained() -> None:
    says = found(served(cell(A, 9.5), event_us=LATER), versions=(NOT_THERE,))

    assert Finding.NEWER_THAN_DECISION is says[A]


def test_rows_are_classified_apart() -> None:
    both = np.concatenate([values(20.5, 10.25, 3.0, 0.7), TRUE_VALUES])
    valid = np.concatenate([TRUE_VALUES, TRUE_VALUES])
    no = np.zeros((2, 4), dtype=bool)
    codes = classify(
        Evidence(served(both), rows(valid), rows(valid), (rows(valid),), no, {COMPUTED: (A,)}, no, no, no, no)
    )

    assert [2, 0] == (codes > AGREES).sum(axis=1).tolist()
    one = served(both).take(np.array([0]))
    assert [Finding.SWAPPED, Finding.SWAPPED, None, None] == found(one)


def test_a_row_that_no_build_could_have_had_yet_is_no_late_event_but_a_missed_build_if_one_was_overdue() -> None:
    later = rows(known_us=np.full((1, 4), LATER))
    known = rows(cell(A, 9.0), event_us=OLD)
    lagging = served(known.values, event_us=OLD)

    assert Finding.LATE is found(lagging, later, known)[A]
    assert Finding.LATE is found(lagging, later, known, overdue=[A])[A], "a build had been made, however old it was"
    assert Finding.NOT_BUILT_YET is found(lagging, later, known, unbuilt=[A])[A]
    assert Finding.MISSED_BUILD is found(lagging, later, known, unbuilt=[A], overdue=[A])[A]


def test_an_event_time_that_no_row_has_is_a_fault_though_every_value_agrees() -> None:
    assert [Finding.MISTIMED, Finding.MISTIMED, None, Finding.MISTIMED] == found(served(), mistimed=[A, B, COMPUTED])
    assert [None, None, Finding.FUTURE, None] == found(served(), future=[C], mistimed=[C])
    assert (
        Finding.MISTIMED_STALE
        is found(served(cell(C, 9.0), event_us=OLD, stale=[C], defaulted=[C]), versions=(NOT_THERE,), mistimed=[C])[C]
    )
    assert [None, None, None, None] == found(served(cached=[]), mistimed=[])


def test_zeros_are_named_so_and_so_is_what_was_computed_of_zeros() -> None:
    of_zeros = Zeroed((COMPUTED,), cell(COMPUTED, 0.3))

    assert Finding.ZEROED is found(served(cell(A, 0.0)))[A]
    assert Finding.ZEROED is found(served(cell(COMPUTED, 0.0)))[COMPUTED]
    assert Finding.ZEROED_SOURCES is found(served(cell(COMPUTED, 0.3)), zeroed=(of_zeros,))[COMPUTED]
    assert Finding.COMPUTED is found(served(cell(COMPUTED, 0.4)), zeroed=(of_zeros,))[COMPUTED]


def test_a_zero_is_cut_where_other_values_of_the_feature_are_cut() -> None:
    both = np.concatenate([cell(A, 0.0), cell(A, 10.0)])
    valid = np.concatenate([cell(A, 0.25), TRUE_VALUES])
    no = np.zeros((2, 4), dtype=bool)

    codes = classify(
        Evidence(served(both), rows(valid), rows(valid), (rows(valid),), no, {COMPUTED: (A,)}, no, no, no, no)
    )

    assert [Finding.TRUNCATED] * 2 == [FINDINGS[number - 1] for number in codes[:, A].tolist()]


def test_every_class_of_the_audit_is_named() -> None:
    assert {
        "override",
        "cached",
        "event_time_fault",
        "missed_build",
        "not_built_yet",
        "late_event",
        "zeroed_input",
        "no_longer_stored",
        "expired_defaulted",
        "materialization_lag",
        "default_used",
        "type_or_order_fault",
        "transformation_changed",
        "unexplained",
    } == set(CLASSES)
    assert len({finding.proof for finding in Finding}) == len(FINDINGS)


TEXTS: Mapping[int, Sequence[Category]] = {
    A: ("beach", "family", "student"),
    B: ("family", "senior", "student"),
    C: (10, 20, 2**53),
}
CODED = values(1.0, 1.0, 2.0, 0.7)
"""family, senior and 2**53."""


def found_of_categories(of: Served, valid: Replayed, **which: Any) -> list[Finding | None]:
    no = np.zeros(of.values.shape, dtype=bool)
    evidence = Evidence(of, valid, valid, (valid, valid), no, {}, no, no, no, no, vocabularies=TEXTS, **which)
    return [None if code == AGREES else FINDINGS[code - 1] for code in classify(evidence)[0].tolist()]


def test_codes_are_equal_or_not_and_never_zeroed_cut_or_rounded() -> None:
    assert [None] * 4 == found_of_categories(served(CODED), rows(CODED))
    assert [Finding.STORED, None, None, None] == found_of_categories(served(cell(A, 0.0, CODED)), rows(CODED))
    assert [None, None, Finding.STORED, None] == found_of_categories(served(cell(C, 0.0, CODED)), rows(CODED))


def test_categories_are_swapped_if_their_texts_are_whatever_their_codes() -> None:
    stored = values(1.0, 2.0, 2.0, 0.7)  # family, student
    swapped = values(2.0, 0.0, 2.0, 0.7)  # student, family

    assert [Finding.SWAPPED, Finding.SWAPPED, None, None] == found_of_categories(served(swapped), rows(stored))
    # As codes these were each other's; as texts they are beach and student instead of student and beach.
    assert [Finding.STORED] * 2 == found_of_categories(served(values(0.0, 2.0, 2.0, 0.7)), rows(values(2, 0, 2, 0.7)))[
        :2
    ]


def test_a_known_category_that_is_served_as_an_unknown_one_is_of_another_vocabulary() -> None:
    of = served(cell(A, -1.0, CODED), unseen=[A])

    assert [Finding.UNSEEN_SERVED, None, None, None] == found_of_categories(of, rows(CODED))


def test_two_categories_that_the_model_does_not_know_are_equal() -> None:
    unseen = cell(A, -1.0, CODED)

    assert [None] * 4 == found_of_categories(served(unseen, unseen=[A]), rows(unseen))


def test_a_null_that_is_served_as_text_is_named() -> None:
    null = np.isin(np.arange(4), [A])[None]
    kept = rows(cell(A, -2.0, CODED), missing=null)

    assert Finding.UNSEEN_FOR_NULL is found_of_categories(served(cell(A, -1.0, CODED), unseen=[A]), kept)[A]


def test_kept_nulls_are_equal_and_a_null_instead_of_a_value_is_named() -> None:
    nulls = values(-2.0, 1.0, 2.0, NAN)
    missing = np.isin(np.arange(4), [A, COMPUTED])[None]
    of = served(nulls, missing=[A, COMPUTED])

    assert [None] * 4 == found_of_categories(of, rows(nulls, missing=missing))
    assert [Finding.NULL_SEEN, None, None, Finding.NULL_SEEN] == found_of_categories(of, rows(CODED))


def test_an_older_category_or_null_that_is_stored_as_it_was_served_is_lag() -> None:
    older = rows(values(-2.0, 0.0, 2.0, NAN), event_us=OLD, missing=np.isin(np.arange(4), [A, COMPUTED])[None])
    no = np.zeros((1, 4), dtype=bool)
    of = served(older.values, event_us=OLD, missing=[A, COMPUTED])
    evidence = Evidence(of, rows(CODED), rows(CODED), (older, older), no, {}, no, no, no, no, vocabularies=TEXTS)

    assert [Finding.LAG, Finding.LAG, None, Finding.LAG] == [
        None if code == AGREES else FINDINGS[code - 1] for code in classify(evidence)[0].tolist()
    ]


def test_ages_are_no_numbers_that_a_writer_could_cut() -> None:
    of = served(cell(COMPUTED, 0.0, CODED))

    assert [None, None, None, Finding.ZEROED] == found_of_categories(of, rows(CODED))
    assert [None, None, None, Finding.STORED] == found_of_categories(of, rows(CODED), ages=(COMPUTED,))
