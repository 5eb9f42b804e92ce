import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score

from scoring.evaluation import (
    BINARY,
    Bools,
    Floats,
    compare_scores,
    evaluate,
    expected_calibration_error,
    lift_at,
    proportion,
    rank_correlation,
    youden_threshold,
)

METRICS = BINARY.metrics
# AUC .75: of the four pairs of a positive and a negative, only (.2, .3) is the wrong way round. Brier: 1.1 ÷ 4.
FOUR_CHURNED: Bools = np.array([False, True, False, True])
FOUR_SCORES: Floats = np.array([0.1, 0.2, 0.3, 0.4])


def customers(n: int, seed: int) -> tuple[Bools, Floats]:
    generator = np.random.default_rng(seed)
    score = generator.uniform(0.01, 0.99, n)
    return generator.uniform(size=n) < score, score


@pytest.mark.parametrize(
    ("share", "lift"),
    [(0.1, 5.0), (0.2, 2.5), (0.3, 2 / 3 / 0.2), (0.15, 1 / 1.5 / 0.2), (0.25, 1.5 / 2.5 / 0.2), (1.0, 1.0)],
)
def test_lift_is_the_rate_among_the_highest_scores_over_the_base_rate(share: float, lift: float) -> None:
    churned = np.array([True, False, True] + [False] * 7)
    shuffled = np.array([7, 0, 5, 2, 9, 1, 3, 8, 4, 6])

    assert lift == pytest.approx(lift_at(churned[shuffled], -shuffled.astype(np.float64), share), abs=1e-12)


def test_calibration_error_is_the_mean_distance_of_rate_and_probability_over_filled_bins() -> None:
    churned = np.array([True, False, True, False])
    probability = np.array([0.8, 0.1, 0.6, 0.3])

    assert pytest.approx((0.2 + 0.3) / 2) == expected_calibration_error(churned, probability, bins=2)
    assert pytest.approx((0.2 + 0.1 + 0.4 + 0.3) / 4) == expected_calibration_error(churned, probability, bins=10)


def test_the_threshold_is_the_lowest_probability_that_is_still_called_positive() -> None:
    churned = np.array([False, False, True, True, False])
    probability = np.array([0.1, 0.3, 0.6, 0.8, 0.7])

    assert 0.6 == youden_threshold(churned, probability)


def test_the_threshold_of_a_score_that_tells_nothing_is_still_a_probability() -> None:
    assert 1.0 == youden_threshold(np.array([True, False]), np.array([0.5, 0.5]))


def test_metrics_equal_those_worked_out_by_hand() -> None:
    estimates = evaluate(np.tile(FOUR_CHURNED, 25), np.tile(FOUR_SCORES, 25), METRICS, resamples=200, seed=1)

    assert pytest.approx(0.75) == estimates["roc_auc"].value
    assert pytest.approx(0.275) == estimates["brier"].value
    assert pytest.approx((1 + 2 / 3) / 2) == estimates["average_precision"].value
    assert pytest.approx(2.0) == estimates["lift_at_10pct"].value
    expected = -np.log([0.9, 0.2, 0.7, 0.4]).mean()
    assert pytest.approx(expected) == estimates["log_loss"].value


def test_the_same_seed_gives_the_same_intervals_and_another_seed_the_same_values() -> None:
    churned, score = customers(200, seed=3)

    first = evaluate(churned, score, METRICS, resamples=50, seed=1)
    other = evaluate(churned, score, METRICS, resamples=50, seed=2)

    assert first == evaluate(churned, score, METRICS, resamples=50, seed=1)
    assert first != other
    assert {n: e.value for n, e in first.items()} == {n: e.value for n, e in other.items()}


def test_an_interval_contains_its_value_and_narrows_with_more_customers() -> None:
    few = evaluate(*customers(100, seed=3), METRICS, resamples=200, seed=1)
    many = evaluate(*customers(2_000, seed=3), METRICS, resamples=200, seed=1)

    for name in METRICS:
        assert few[name].low < few[name].value < few[name].high
        assert many[name].high - many[name].low < few[name].high - few[name].low


@pytest.mark.parametrize("name", METRICS)
def test_a_weight_counts_as_so_many_rows(name: str) -> None:
    churned, score = customers(60, seed=4)
    weights = np.random.default_rng(5).integers(0, 4, 60)
    repeated = np.repeat(np.arange(60), weights)

    expected = METRICS[name](churned[repeated], score[repeated], np.ones(len(repeated)))

    assert pytest.approx(expected, rel=1e-12) == METRICS[name](churned, score, weights.astype(np.float64))


def test_rows_of_one_customer_widen_no_sample() -> None:
    """Somebody who was asked about three times is drawn as one: neither figures nor intervals change."""
    churned, score = customers(80, seed=6)
    whose = np.repeat(np.arange(80), 3)

    once = evaluate(churned, score, METRICS, resamples=50, seed=1)
    thrice = evaluate(churned[whose], score[whose], METRICS, resamples=50, seed=1, entities=whose)

    for name in METRICS:
        expected = (once[name].value, once[name].low, once[name].high)
        assert expected == pytest.approx((thrice[name].value, thrice[name].low, thrice[name].high))


def test_two_scores_are_compared_over_the_same_resamples() -> None:
    churned, score = customers(300, seed=7)
    auc = METRICS["roc_auc"]

    same = compare_scores(auc, churned, score, score**2, resamples=50, seed=1)
    noisy = compare_scores(auc, churned, score, score + np.random.default_rng(8).normal(0, 0.5, 300), 50, 1)

    assert (0, 0, 0) == (same.difference.value, same.difference.low, same.difference.high)
    assert noisy.difference.high < 0
    assert pytest.approx(noisy.candidate - noisy.champion) == noisy.difference.value


def test_a_weight_moves_the_calibration_of_its_bin() -> None:
    churned, probability = np.array([True, False, True, False]), np.array([0.8, 0.1, 0.6, 0.3])
    weights = np.array([1.0, 0.0, 3.0, 2.0])

    assert pytest.approx((abs(0.2 + 3 * 0.4) + 2 * 0.3) / 6) == expected_calibration_error(
        churned, probability, bins=2, weight=weights
    )


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"), [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0)]
)
def test_the_interval_of_a_share_is_wilsons(successes: int, n: int, low: float, high: float) -> None:
    share = proportion(successes, n)

    assert (successes / n, low, high) == pytest.approx((share.value, share.low, share.high), abs=1e-4)


def test_rank_correlation_asks_for_order_alone_and_is_none_of_a_constant() -> None:
    score = np.array([0.1, 0.2, 0.3, 0.9])

    assert pytest.approx(1.0) == rank_correlation(score, score**3)
    assert pytest.approx(-1.0) == rank_correlation(score, -score)
    assert 0.0 == rank_correlation(score, np.ones(4))


@pytest.mark.parametrize("digits", [1, 8])
def test_metrics_made_by_hand_equal_scikit_learns_whatever_the_ties_and_weights(digits: int) -> None:
    churned, score = customers(500, seed=9)
    score = score.round(digits)
    weights = np.random.default_rng(10).integers(0, 4, 500).astype(np.float64)

    expected = roc_auc_score(churned, score, sample_weight=weights)
    assert pytest.approx(expected, rel=1e-12) == METRICS["roc_auc"](churned, score, weights)
    expected = brier_score_loss(churned, score, sample_weight=weights)
    assert pytest.approx(expected, rel=1e-12) == METRICS["brier"](churned, score, weights)
