"""What a customer spends in the next 90 days.

Most spend nothing, and a few spend much. The answer is the mean, so that sums over customers are right; squared errors
judge means. Absolute errors would favour the median, which is 0.
"""

from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import PoissonRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import PowerTransformer

from training.churn.labels import order_outcomes
from training.churn.order_history import ACTIVE_DAYS
from training.churn.order_labels import order_labels
from training.use_case import ByFeature, Gate, Regression, UseCase, at_most

SPEND = "coalesce(sum(amount) FILTER (labelled), 0)"
"""SQL: money in the label window."""


def poisson(seed: int) -> Pipeline:
    """Yeo–Johnson transform, then a log-linear mean by Poisson's likelihood, which any non-negative target may have."""
    del seed  # nothing is random
    return Pipeline(
        [
            ("to_normal", PowerTransformer(method="yeo-johnson", standardize=True)),
            ("regressor", PoissonRegressor(alpha=0.1, max_iter=2000)),
        ]
    )


def histogram_boosting(seed: int) -> Pipeline:
    """Histogram gradient boosting of squared errors, with large leaves against the heavy tail."""
    return Pipeline(
        [
            (
                "regressor",
                HistGradientBoostingRegressor(
                    learning_rate=0.05,
                    max_iter=100,
                    max_leaf_nodes=8,
                    min_samples_leaf=200,
                    l2_regularization=1.0,
                    early_stopping=False,
                    random_state=seed,
                ),
            )
        ]
    )


USE_CASE = UseCase(
    name="customer_spend",
    feature_service="spend_v1",
    task=Regression(target="spend_90d", at_least=0, unit="$"),
    definition="money spent in the {days} days from the time asked for on",
    labels=order_labels("spend_90d", SPEND),
    outcomes=order_outcomes(SPEND),
    candidates={"poisson": poisson, "histogram_boosting": histogram_boosting},
    baseline=ByFeature("customer_orders_windowed__spend_90d", name="last_90_days"),
    populations={"active": at_most("customer_recency__days_since_last_order", ACTIVE_DAYS)},
    headline=("all", "rmse"),
    segments=("customer_recency__days_since_last_order", "customer_lifetime__order_count:2:4"),
    age_feature="customer_recency__tenure_days",
    # Errors in $. Customers whose spending falls from quarter to quarter are overestimated by a model that learnt from
    # the quarters before; half of the mean spend is what is tolerated.
    gate=Gate(
        max_loss=1.0,
        max_segment_loss=2.0,
        max_calibration_error=0.5,
        max_calibration_loss=0.1,
        max_changed_decisions=0.5,
    ),
)
