"""What a household spends in the next 28 days.

The answer is the mean, so that sums over households are right; squared errors judge means.
"""

from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler

from training.use_case import ByFeature, Gate, Regression, TimeSplits, UseCase, at_most

from .candidates import linear, trees
from .labels import SPEND, purchase_labels, purchase_outcomes


def ridge(seed: int) -> Pipeline:
    """Linear regression with an L2 penalty: what was spent before counts as it is, in money.

    Numbers from 0 to 1 leave a small intercept. With standardised ones, float32 loses the small answers, which are
    differences of large numbers, and ONNX could not serve the model.
    """
    del seed  # nothing is random
    return linear(Ridge(alpha=1), MinMaxScaler())


def histogram_boosting(seed: int) -> Pipeline:
    """Histogram gradient boosting with small trees and large leaves against the heavy tail."""
    return trees(
        HistGradientBoostingRegressor(
            learning_rate=0.05,
            max_iter=100,
            max_leaf_nodes=8,
            min_samples_leaf=60,
            l2_regularization=1.0,
            early_stopping=False,
            random_state=seed,
        )
    )


USE_CASE = UseCase(
    name="household_spend",
    feature_service="household_spend_v1",
    task=Regression(target="spend_28d", at_least=0, unit="$"),
    definition="money spent in the {days} days from the time asked for on",
    labels=purchase_labels("spend_28d", SPEND),
    outcomes=purchase_outcomes(SPEND),
    splits=TimeSplits(label_days=28, training=4, spacing_days=28),
    candidates={"ridge": ridge, "histogram_boosting": histogram_boosting},
    baseline=ByFeature("household_windowed__spend_28d", name="last_28_days"),
    populations={"active": at_most("household_recency__days_since_last_trip", 28)},
    headline=("all", "rmse"),
    segments=("household_windowed__spend_84d", "household_recency__days_since_last_trip:7:28"),
    age_feature="household_recency__tenure_days",
    intended_use="Planning: sums over many households are right on average; a single household's figure is uncertain.",
    limits=("One year of one grocer's panel: no model of it has seen two Decembers.",),
    # Errors in $. Of 2,469 households a few spend ten times the mean, so intervals are wide; December's spending is
    # above what the months before it taught.
    gate=Gate(
        max_loss=5.0,
        max_segment_loss=10.0,
        max_calibration_error=0.15,
        max_calibration_loss=0.05,
        max_changed_decisions=0.5,
    ),
)
