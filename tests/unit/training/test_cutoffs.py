from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.dataset import Cutoffs, choose_cutoffs
from training.errors import DatasetError

moments = st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def test_cutoffs_are_laid_back_from_the_last_observed_label_window() -> None:
    cutoffs = choose_cutoffs(
        datetime(2023, 1, 1, tzinfo=UTC),
        datetime(2024, 6, 1, 17, tzinfo=UTC),
        label_days=90,
        training=3,
        spacing_days=30,
    )

    end = datetime(2024, 6, 1, tzinfo=UTC)
    assert (
        Cutoffs(
            training=tuple(end - timedelta(days=d) for d in (330, 300, 270)),
            validation=end - timedelta(days=180),
            test=end - timedelta(days=90),
        )
        == cutoffs
    )


@given(
    first=moments,
    span=st.timedeltas(timedelta(0), timedelta(days=2_000)),
    label_days=st.integers(1, 200),
    training=st.integers(1, 12),
    spacing_days=st.integers(1, 90),
)
def test_no_label_window_reaches_into_a_later_split(
    first: datetime, span: timedelta, label_days: int, training: int, spacing_days: int
) -> None:
    observed_until, label = first + span, timedelta(days=label_days)
    try:
        cutoffs = choose_cutoffs(first, observed_until, label_days, training, spacing_days)
    except DatasetError:
        last_midnight = datetime.combine(observed_until.date(), time(), UTC)
        assert last_midnight - 3 * label <= first
        return

    assert all(t + label <= cutoffs.validation for t in cutoffs.training)
    assert cutoffs.validation + label <= cutoffs.test
    assert cutoffs.test + label <= observed_until
    assert all(first < t for t in cutoffs.training)
    assert sorted(set(cutoffs.training)) == list(cutoffs.training)
    assert 1 <= len(cutoffs.training) <= training
    assert {time()} == {t.time() for t in (*cutoffs.training, cutoffs.validation, cutoffs.test)}


def test_orders_that_span_too_little_time_are_refused_with_what_is_needed() -> None:
    with pytest.raises(DatasetError, match=r"from 2024-01-01 to 2024-09-27 are too few.*90 days"):
        choose_cutoffs(datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 9, 27, tzinfo=UTC), 90, 3, 30)


def test_training_cutoffs_before_the_first_order_are_left_out() -> None:
    cutoffs = choose_cutoffs(
        datetime(2024, 1, 1, 12, tzinfo=UTC),
        datetime(2024, 10, 30, tzinfo=UTC),
        label_days=90,
        training=5,
        spacing_days=30,
    )

    assert (datetime(2024, 1, 4, tzinfo=UTC), datetime(2024, 2, 3, tzinfo=UTC)) == cutoffs.training
