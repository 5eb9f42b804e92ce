import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from scoring.evaluation import (
    CHANGED_SHARE,
    Floats,
    LabelsError,
    Scored,
    evaluate,
    metrics_of,
)

REGRESSION = metrics_of("regression")
METRICS = {**REGRESSION.metrics, REGRESSION.calibration.name: REGRESSION.calibration, **REGRESSION.levels}
FOUR_TARGETS: Floats = np.array([0.0, 10.0, 20.0, 30.0])
FOUR_PREDICTIONS: Floats = np.array([2.0, 9.0, 30.0, 25.0])


def rows(n: int, seed: int) -> tuple[Floats, Floats]:
    """Spend: zero for most, long-tailed for the rest; predictions are right on average."""
    generator = np.random.default_rng(seed)
    prediction = generator.gamma(2.0, 10.0, n)
    target = np.where(generator.uniform(size=n) < 0.6, 0.0, generator.gamma(1.0, 2.5 * prediction))
    return target, prediction


def test_metrics_equal_those_worked_out_by_hand() -> None:
    found = {name: metric(FOUR_TARGETS, FOUR_PREDICTIONS) for name, metric in METRICS.items()}

    assert pytest.approx((2 + 1 + 10 + 5) / 4) == found["mae"]
    assert pytest.approx(np.sqrt((4 + 1 + 100 + 25) / 4)) == found["rmse"]
    assert pytest.approx((2 - 1 + 10 - 5) / 4) == found["bias"]
    assert pytest.approx(1 - 130 / 500) == found["r2"]
    assert pytest.approx(0.8) == found["spearman"]
    assert pytest.approx((2 + 1 + 10 + 5) / 4 / 15) == found["decile_error"]
    assert (16.5, 15.0) == (found["mean_prediction"], found["mean_target"])


@pytest.mark.parametrize("digits", [0, 8])
def test_metrics_equal_scikit_learns_and_pandas_whatever_the_ties_and_weights(digits: int) -> None:
    target, prediction = (values.round(digits) for values in rows(500, 1))
    weights = np.random.default_rng(2).integers(0, 4, 500)
    repeated = np.repeat(np.arange(500), weights)

    found = {name: metric(target, prediction, weights.astype(np.float64)) for name, metric in METRICS.items()}

    arguments = target, prediction
    assert pytest.approx(mean_absolute_error(*arguments, sample_weight=weights), rel=1e-12) == found["mae"]
    assert pytest.approx(root_mean_squared_error(*arguments, sample_weight=weights), rel=1e-12) == found["rmse"]
    assert pytest.approx(r2_score(*arguments, sample_weight=weights), rel=1e-12) == found["r2"]
    expected = pd.Series(target[repeated]).corr(pd.Series(prediction[repeated]), method="spearman")
    assert pytest.approx(expected, rel=1e-12) == found["spearman"]
    assert pytest.approx(found["mean_prediction"] - found["mean_target"]) == found["bias"]


@pytest.mark.parametrize("name", METRICS)
def test_a_weight_counts_as_so_many_rows(name: str) -> None:
    target, prediction = rows(400, 3)
    weights = np.random.default_rng(4).integers(0, 4, 400)
    if name == "decile_error":  # weights do not move the deciles
        weights = np.full(400, 2)
    repeated = np.repeat(np.arange(400), weights)

    assert pytest.approx(METRICS[name](target[repeated], prediction[repeated]), rel=1e-9) == METRICS[name](
        target, prediction, weights.astype(np.float64)
    )


def test_the_error_by_decile_is_the_distance_of_predicted_and_observed_in_the_order_of_the_predictions() -> None:
    prediction = np.arange(20.0)
    target = prediction - np.repeat(np.arange(10.0), 2)
    shuffled = np.random.default_rng(5).permutation(20)

    predicted, observed = np.array(REGRESSION.calibration_points(target[shuffled], prediction[shuffled])).T
    assert pytest.approx(np.arange(0.5, 20, 2)) == predicted
    assert pytest.approx(np.arange(10.0)) == predicted - observed
    assert pytest.approx(4.5 / np.abs(target).mean()) == METRICS["decile_error"](target, prediction)


def test_metrics_of_a_constant_are_defined_or_refused_and_never_nan() -> None:
    constant, target = np.full(30, 3.0), np.arange(30.0)

    assert 0.0 == METRICS["spearman"](target, constant)
    assert 0.0 == METRICS["spearman"](constant, target)
    assert 0.0 == METRICS["r2"](constant, target)
    assert 1.0 == METRICS["r2"](constant, constant)
    with pytest.raises(LabelsError, match="every target is 0"):
        METRICS["decile_error"](np.zeros(30), target)


def test_every_metric_has_an_interval_around_its_value() -> None:
    found = evaluate(*rows(2_000, 6), METRICS, resamples=200, seed=1)

    for name, estimate in found.items():
        if not METRICS[name].corrected:
            assert estimate.low < estimate.value < estimate.high
        assert np.isfinite([estimate.value, estimate.low, estimate.high]).all()


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.array(["1", "2"]), "labels of a regression are float64, not <U1"),
        (np.array([True, False]), "not bool"),
        (np.array([1.0, np.nan, np.inf]), "2 of 3 labels are null or infinite"),
        (np.array([2.5, 2.5]), "all 2 labels are 2.5; there is nothing to predict"),
        (np.array([]), "there are no rows"),
    ],
)
def test_labels_that_do_not_fit_are_refused_by_name(labels: Floats, said: str) -> None:
    with pytest.raises(LabelsError, match=said):
        REGRESSION.check(labels, ())


def test_rows_are_too_few_below_a_hundred_entities_and_below_twenty_that_differ_from_the_usual_target() -> None:
    mostly_zero = np.where(np.arange(120) < 19, 5.0, 0.0)

    assert "" == REGRESSION.too_few(np.arange(100.0), None, ())
    assert "99 rows; at least 100 are needed" == REGRESSION.too_few(np.arange(99.0), None, ())
    assert "60 rows; at least 100 are needed" == REGRESSION.too_few(np.arange(120.0), np.arange(120) // 2, ())
    assert "19 rows with a target other than 0; at least 20 are needed" == REGRESSION.too_few(mostly_zero, None, ())


def test_a_decision_changes_when_a_prediction_moves_by_more_than_a_tenth_of_the_targets_scale() -> None:
    scale = REGRESSION.scale_of(FOUR_TARGETS)
    before, now = np.array([100.0, 100.0]), np.array([100.0 + 0.9, 100.0 - 1.1])

    assert (10.0, 0.1) == (scale, CHANGED_SHARE)
    assert [False, True] == REGRESSION.changed_decisions(Scored(before), Scored(now), scale).tolist()
    assert pytest.approx([0.9, 1.1]) == REGRESSION.moves(before, now)
    assert 0.0 == REGRESSION.rank_correlation(before, now)
