"""How many orders a customer places in the next 90 days: none, one, two or three, more."""

from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline

from training.churn.candidates import logistic
from training.churn.labels import order_outcomes
from training.churn.order_history import ACTIVE_DAYS
from training.churn.order_labels import order_labels
from training.use_case import ByFeature, Gate, Multiclass, UseCase, at_most

CLASSES = ("0", "1", "2-3", "4+")
_COUNT = "count(*) FILTER (labelled)"
ORDERS = f"CASE WHEN {_COUNT} < 2 THEN {_COUNT}::VARCHAR WHEN {_COUNT} < 4 THEN '2-3' ELSE '4+' END"
"""SQL: the class of the number of orders in the label window."""


def histogram_boosting(seed: int) -> Pipeline:
    """Histogram gradient boosting with small trees."""
    return Pipeline(
        [
            (
                "classifier",
                HistGradientBoostingClassifier(
                    learning_rate=0.1,
                    max_iter=50,
                    max_leaf_nodes=8,
                    min_samples_leaf=100,
                    l2_regularization=1.0,
                    early_stopping=False,
                    random_state=seed,
                ),
            )
        ]
    )


USE_CASE = UseCase(
    name="order_count",
    feature_service="order_count_v1",
    task=Multiclass(target="orders_90d", classes=CLASSES),
    definition="number of orders in the {days} days from the time asked for on",
    labels=order_labels("orders_90d", ORDERS),
    outcomes=order_outcomes(ORDERS),
    candidates={"logistic": logistic, "histogram_boosting": histogram_boosting},
    baseline=ByFeature("customer_orders_windowed__order_count_90d", name="rates_by_order_count"),
    populations={"active": at_most("customer_recency__days_since_last_order", ACTIVE_DAYS)},
    headline=("all", "log_loss"),
    segments=("customer_recency__days_since_last_order", "customer_lifetime__order_count:2:4"),
    age_feature="customer_recency__tenure_days",
    gate=Gate(max_loss=0.01, max_segment_loss=0.02, max_calibration_error=0.05, max_calibration_loss=0.02),
)
