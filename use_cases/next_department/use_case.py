"""The department in which a household spends most in the next 28 days, beside groceries.

Groceries come first for four households of five, which nobody needs a model for. A household without a purchase in
another department is of the class `NONE`, so that everybody has an answer.
"""

from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import PowerTransformer

from training.use_case import ByCategory, Gate, Multiclass, TimeSplits, UseCase, at_most
from use_cases.household_spend.candidates import linear, trees
from use_cases.household_spend.labels import (
    DEPARTMENT,
    DEPARTMENTS,
    NONE,
    OTHER,
    purchase_labels,
    purchase_outcomes,
)


def logistic(seed: int) -> Pipeline:
    """L2-penalised logistic regression of several classes."""
    return linear(LogisticRegression(C=0.03, max_iter=2000, random_state=seed), PowerTransformer())


def histogram_boosting(seed: int) -> Pipeline:
    """Histogram gradient boosting with few small trees."""
    return trees(
        HistGradientBoostingClassifier(
            learning_rate=0.05,
            max_iter=60,
            max_leaf_nodes=6,
            min_samples_leaf=60,
            l2_regularization=1.0,
            early_stopping=False,
            random_state=seed,
        )
    )


USE_CASE = UseCase(
    name="next_department",
    feature_service="next_department_v1",
    task=Multiclass(target="next_department", classes=(*DEPARTMENTS, OTHER, NONE)),
    definition="department with the most money in the {days} days from the time asked for on, beside groceries",
    labels=purchase_labels("next_department", DEPARTMENT),
    outcomes=purchase_outcomes(DEPARTMENT),
    splits=TimeSplits(label_days=28, training=4, spacing_days=28),
    candidates={"logistic": logistic, "histogram_boosting": histogram_boosting},
    baseline=ByCategory("household_windowed__favourite_department", name="rates_by_favourite"),
    populations={"active": at_most("household_recency__days_since_last_trip", 28)},
    headline=("all", "log_loss"),
    segments=("household_windowed__spend_84d", "household_recency__days_since_last_trip:7:28"),
    age_feature="household_recency__tenure_days",
    intended_use="Which department's offers to show first.",
    limits=("Groceries are left out: nearly every household buys them.", "One year of one grocer's panel."),
    gate=Gate(max_loss=0.03, max_segment_loss=0.06, max_calibration_error=0.05, max_calibration_loss=0.02),
)
