from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from artefacts.cutoffs import Cutoffs, CutoffSettings, HourRange, hour_ranges
from training.errors import DatasetError
from training.row_splits.label_windows import choose_cutoffs, last_labelled

times = st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
hours = st.tuples(st.floats(0, 48), st.floats(0, 48)).map(lambda two: f"{min(two):.3f}-{max(two):.3f}")


def settings(label_days: int, training: int, spacing_days: int, request_hours: str = "0-24") -> CutoffSettings:
    return CutoffSettings(
        label_days=label_days,
        training_cutoffs=training,
        cutoff_spacing_days=spacing_days,
        request_hours=request_hours,
    )


@pytest.mark.parametrize(("request_hours", "reach"), [("0-0", 90), ("0-24", 91), ("9-17", 91), ("3-27", 92)])
def test_cutoffs_are_laid_back_from_the_last_observed_label_window(request_hours: str, reach: int) -> None:
    observed = datetime(2024, 6, 1, 17, tzinfo=UTC)
    monthly = settings(90, 3, 30, request_hours)

    cutoffs = choose_cutoffs(datetime(2023, 1, 1, tzinfo=UTC), observed, monthly)

    end = datetime(2024, 6, 1, tzinfo=UTC)
    assert (
        Cutoffs(
            training=tuple(end - timedelta(days=3 * reach + d) for d in (60, 30, 0)),
            validation=end - timedelta(days=2 * reach),
            test=end - timedelta(days=reach),
        )
        == cutoffs
    )
    assert cutoffs.test == last_labelled(observed, monthly)


@given(
    first=times,
    span=st.timedeltas(timedelta(0), timedelta(days=2_000)),
    label_days=st.integers(1, 200),
    training=st.integers(1, 12),
    spacing_days=st.integers(1, 90),
    request_hours=hours,
)
def test_no_label_window_reaches_into_a_later_split(
    first: datetime, span: timedelta, label_days: int, training: int, spacing_days: int, request_hours: str
) -> None:
    """Of whoever is asked about last on the day after a cut-off, too."""
    observed_until, chosen = first + span, settings(label_days, training, spacing_days, request_hours)
    last_window = timedelta(days=label_days, hours=max(each.last for each in chosen.hours))
    try:
        cutoffs = choose_cutoffs(first, observed_until, chosen)
    except DatasetError:
        last_midnight = datetime.combine(observed_until.date(), time(), UTC)
        assert last_midnight - 3 * (last_window + timedelta(days=1)) <= first
        return

    assert all(t + last_window <= cutoffs.validation for t in cutoffs.training)
    assert cutoffs.validation + last_window <= cutoffs.test
    assert cutoffs.test + last_window <= observed_until
    assert all(first < t for t in cutoffs.training)
    assert sorted(set(cutoffs.training)) == list(cutoffs.training)
    assert 1 <= len(cutoffs.training) <= training
    assert {time()} == {t.time() for t in cutoffs.all}


def test_orders_that_span_too_little_time_are_refused_with_what_is_needed() -> None:
    with pytest.raises(DatasetError, match=r"from 2024-01-01 to 2024-09-27 span too few days.*each need 91 days"):
        choose_cutoffs(datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 9, 27, tzinfo=UTC), settings(90, 3, 30))


def test_training_cutoffs_before_the_first_order_are_left_out() -> None:
    first, observed = datetime(2024, 1, 1, 12, tzinfo=UTC), datetime(2024, 11, 2, tzinfo=UTC)

    cutoffs = choose_cutoffs(first, observed, settings(90, 5, 30))

    assert (datetime(2024, 1, 4, tzinfo=UTC), datetime(2024, 2, 3, tzinfo=UTC)) == cutoffs.training


def test_hours_of_requests_may_have_shares() -> None:
    assert (HourRange(0, 24, 1),) == hour_ranges("0-24")
    assert (HourRange(8, 20, 0.75), HourRange(20, 24.5, 0.25)) == hour_ranges("8-20:3  20-24.5:1")


@pytest.mark.parametrize("said", ["", "8", "20-8", "0-49", "-1-3", "8-20:0", "8-20:-1", "8-20:x", "8-20 20-nan"])
def test_other_hours_are_refused_with_what_was_said(said: str) -> None:
    with pytest.raises(ValidationError, match="expected") as refused:
        CutoffSettings(request_hours=said)

    assert "request_hours" in str(refused.value)
