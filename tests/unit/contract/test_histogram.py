import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from contract.values.histogram import MOST_BINS, Histogram

ANY = st.one_of(st.just(float("nan")), st.floats(-1e6, 1e6, width=32), st.integers(0, 4).map(float))


@given(st.lists(ANY, min_size=1, max_size=300))
def test_it_counts_its_own_values_as_it_was_made(values: list[float]) -> None:
    made = Histogram.of(values)

    assert made.all_counts.tolist() == made.count(values).tolist()
    assert len(values) == made.all_counts.sum()
    assert len(made.counts) <= 2 * MOST_BINS


def test_every_different_value_has_its_own_bin_where_there_are_few() -> None:
    made = Histogram.of([0, 0, 0, 1, 1, 2, np.nan])

    assert (0.0, 1.0) == made.edges
    assert (3, 2, 1) == made.counts
    assert made.missing == 1
    assert [0, 0, 4, 2] == made.count([2, 3, 99, 2, np.nan, np.inf]).tolist()


def test_a_value_that_many_rows_have_shares_its_bin_with_no_other() -> None:
    random = np.random.default_rng(3)
    values = np.where(random.random(5000) < 0.5, 7.0, random.normal(7.0, 5.0, 5000))

    made = Histogram.of(values)

    only_sevens = made.count(np.full(10, 7.0))
    just_beside = made.count(np.nextafter(np.full(10, 7.0, dtype=np.float32), np.float32(8)))
    below = made.count(np.nextafter(np.full(10, 7.0, dtype=np.float32), np.float32(6)))
    assert not np.any((only_sevens > 0) & ((just_beside > 0) | (below > 0)))
    assert (values == 7.0).sum() == made.all_counts[only_sevens > 0]


def test_bins_of_many_different_values_hold_about_as_many_each() -> None:
    made = Histogram.of(np.random.default_rng(1).normal(size=10_000))

    assert (min(made.counts), max(made.counts)) == pytest.approx((1000, 1000), abs=2)


def test_values_are_counted_as_the_model_sees_them() -> None:
    made = Histogram.of(np.arange(100) + 0.1)

    assert made.all_counts.tolist() == made.count((np.arange(100) + 0.1).astype(np.float32)).tolist()


def test_nothing_but_missing_values_can_be_counted() -> None:
    made = Histogram.of([np.nan, np.nan])

    assert [0, 2] == made.all_counts.tolist()
    assert [1, 1] == made.count([5.0, np.nan]).tolist()


@pytest.mark.parametrize(
    ("edges", "counts", "named"), [((1.0,), (1,), "counts"), ((2.0, 1.0), (1, 1, 1), "edges"), ((), (-1,), "counts")]
)
def test_what_is_no_histogram_is_refused(edges: tuple[float, ...], counts: tuple[int, ...], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        Histogram(edges=edges, counts=counts, missing=0)
