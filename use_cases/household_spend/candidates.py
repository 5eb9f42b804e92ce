"""Parts of the candidates, by the names of the inputs: numbers, and categories as text."""

from typing import Any

from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

CATEGORIES = [
    *("household_windowed__favourite_department", "household_windowed__favourite_store"),
    *(
        f"household_demographics__{name}"
        for name in (
            *("age", "income", "home_ownership", "marital_status"),
            *("household_size", "household_comp", "kids_count"),
        )
    ),
]
NUMBERS = [
    *(
        f"household_windowed__{name}_{days}d"
        for days in (7, 28, 84)
        for name in ("spend", "trip_days", "basket_count", "department_count", "discount_share")
    ),
    *(
        f"household_lifetime__{name}"
        for name in (
            *("basket_count", "total_spend", "mean_basket", "last_spend", "mean_gap_days", "max_gap_days"),
            "last_coupon_at",
        )
    ),
    *(f"household_recency__{name}" for name in ("days_since_last_trip", "tenure_days", "recency_over_mean_gap")),
]


def linear(estimator: Any, scaler: Any) -> Pipeline:
    """Nulls become medians, numbers are scaled, and each category is a column of its own."""
    numbers = make_pipeline(SimpleImputer(strategy="median"), scaler)
    columns = [("numbers", numbers, NUMBERS), ("categories", OneHotEncoder(handle_unknown="ignore"), CATEGORIES)]
    return Pipeline([("columns", ColumnTransformer(columns)), ("estimator", estimator)])


def trees(estimator: Any) -> Pipeline:
    """Trees take nulls as they are, and categories by their place in the alphabet."""
    places = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = [("numbers", "passthrough", NUMBERS), ("categories", places, CATEGORIES)]
    return Pipeline([("columns", ColumnTransformer(columns)), ("estimator", estimator)])
