"""The shipped use case: customers who order nothing in the next 90 days. docs/use-cases.md tells of each member."""

from training.churn.candidates import CANDIDATES
from training.churn.labels import labels
from training.churn.order_history import ACTIVE_DAYS, CHURNED
from training.churn.order_labels import order_labels
from training.use_case import Binary, ByFeature, Gate, TimeSplits, UseCase, at_most

# An input is named by its view and its feature.
_RECENCY = "customer_recency__days_since_last_order"

USE_CASE = UseCase(
    name="customer_churn",
    feature_service="churn_v1",
    task=Binary(
        target="churn",
        classes=("retained", "churned"),
        rule="maximises true-positive minus false-positive rate (Youden's J) over all customers at the validation "
        "cut-off",
    ),
    definition="no order in the {days} days from the time asked for on",
    labels=order_labels("churn", CHURNED),
    splits=TimeSplits(label_days=90, training=4, spacing_days=30, request_hours="0-24"),
    candidates=CANDIDATES,
    baseline=ByFeature(_RECENCY, name="recency"),
    populations={"active": at_most(_RECENCY, ACTIVE_DAYS)},
    headline=("active", "roc_auc"),  # whoever has been away for long is easily told
    segments=(_RECENCY, "customer_lifetime__order_count:2:4"),  # terciles; and 1, 2–3, 4 or more orders
    age_feature="customer_recency__tenure_days",
    intended_use="Whom to write to before they are gone: rank customers, or take those at or above the threshold.",
    limits=(
        "Trained on one shop's customers who all came in one quarter; others behave otherwise.",
        "It says who will not order, not whom a letter would bring back.",
        "Not for decisions about credit, prices or rights of a person.",
    ),
    gate=Gate(max_loss=0.01, max_segment_loss=0.01, max_calibration_error=0.05, max_calibration_loss=0.02),
    outcomes=labels,
)
