import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from contract.values.histogram import Histogram
from jobs.drift.class_counts import ClassCounts
from jobs.drift.statistics import drift, p_value_of, psi_of

Floats = NDArray[np.float64]


def amounts(random: np.random.Generator, n: int) -> Floats:
    """As features are: many zeros, a long tail, some missing."""
    values = np.where(random.random(n) < 0.4, 0.0, random.gamma(2, 30, n))
    values[random.random(n) < 0.1] = np.nan
    return values


TRAINED = Histogram.of(amounts(np.random.default_rng(0), 40_000))


def test_the_p_value_is_that_of_the_chi_squared_test_of_homogeneity() -> None:
    trained, live = np.array([400, 300, 300]), np.array([30, 50, 20])

    assert p_value_of(trained, live) == pytest.approx(stats.chi2_contingency([trained, live], correction=False).pvalue)


def test_bins_that_expect_few_rows_are_put_together() -> None:
    trained, live = np.array([1000, 1, 1, 1, 997]), np.array([50, 1, 0, 0, 49])

    together = stats.chi2_contingency([[1000, 1000], [50, 50]], correction=False).pvalue
    assert p_value_of(trained, live) == pytest.approx(together)


@pytest.mark.parametrize(("trained", "live"), [([0, 0], [1, 2]), ([10, 10], [0, 0]), ([100, 0], [50, 0])])
def test_without_rows_or_with_one_bin_there_is_nothing_to_find(trained: list[int], live: list[int]) -> None:
    assert p_value_of(np.array(trained), np.array(live)) == 1.0


def test_psi_is_its_formula_and_zero_for_equal_shares() -> None:
    trained, live = np.array([1000, 3000]), np.array([200, 200])
    shares = np.array([0.25, 0.75]), np.array([0.5, 0.5])

    expected = float(np.sum((shares[1] - shares[0]) * np.log(shares[1] / shares[0])))
    assert psi_of(trained, live) == pytest.approx(expected, rel=0.02)
    assert psi_of(trained, trained * 2) == pytest.approx(0.0, abs=1e-6)
    assert np.isfinite(psi_of(np.array([100, 0]), np.array([0, 100])))


@pytest.mark.parametrize("n", [200, 1000, 10_000])
def test_values_from_the_same_source_are_called_drifted_no_more_often_than_the_level_says(n: int) -> None:
    random = np.random.default_rng(n)
    level, resamples = 0.05, 300

    alarms = sum(drift("amount", TRAINED, amounts(random, n), level, 1e-9).drifted for _ in range(resamples))

    # 0.05 · 300 and three standard deviations
    assert alarms <= level * resamples + 3 * np.sqrt(level * (1 - level) * resamples)


@pytest.mark.parametrize(
    "changed",
    [
        lambda values: values * 1.3,
        lambda values: np.where(np.isnan(values) | (values == 0), values, values + 15),
        lambda values: np.where(np.arange(len(values)) % 5 == 0, np.nan, values),
        lambda values: np.where(np.arange(len(values)) % 5 == 0, 0.0, values),
    ],
    ids=["other unit", "shifted", "missing", "zeros"],
)
def test_planted_drifts_are_found(changed: object) -> None:
    random = np.random.default_rng(4)

    assert callable(changed)
    assert all(drift("amount", TRAINED, changed(amounts(random, 2000)), 0.05 / 28, 0.02).drifted for _ in range(20))


def test_a_difference_that_does_not_matter_is_none_however_many_rows_show_it() -> None:
    random = np.random.default_rng(5)

    values = amounts(random, 2_000_000) * 1.03

    small, matters = (drift("amount", TRAINED, values, 0.05, min_psi) for min_psi in (0.02, 1e-6))

    assert small.p_value < 1e-6
    assert small.psi < 0.02
    assert (True, False) == (small.significant, small.drifted)
    assert (True, True) == (matters.significant, matters.drifted)


def test_the_missing_of_both_sides_are_told() -> None:
    values = np.where(np.arange(1000) % 4 == 0, np.nan, 10.0)

    found = drift("amount", TRAINED, values, 0.05, 0.1)

    assert found.missing == 0.25
    assert found.missing_before == pytest.approx(0.1, abs=0.01)


def test_classes_are_counted_one_by_one_and_of_a_changed_share_both_figures_tell() -> None:
    trained = ClassCounts.of(("low", "middle", "high"), [0.0] * 500 + [1.0] * 300 + [2.0] * 200)
    same, moved = [0.0] * 50 + [1.0] * 30 + [2.0] * 20, [0.0] * 20 + [1.0] * 30 + [2.0] * 49 + [np.nan]

    assert [500, 300, 200, 0] == trained.all_counts.tolist()
    assert [20, 30, 49, 1] == trained.count(moved).tolist()
    assert not drift("segment", trained, same, level=0.05, min_psi=0.05).drifted
    found = drift("segment", trained, moved, level=0.05, min_psi=0.05)
    assert (True, 0.01) == (found.drifted, found.missing)


def test_rare_classes_are_merged_with_each_other_and_not_with_a_frequent_neighbour() -> None:
    trained, live = np.array([1, 1000, 1, 990]), np.array([10, 500, 10, 490])

    together = stats.chi2_contingency([[2, 1000, 990], [20, 500, 490]], correction=False).pvalue
    assert p_value_of(trained, live, ordered=False) == pytest.approx(together)
