"""Whether a household buys in a department within 28 days, if it is offered a coupon of some value.

Nobody knows which coupons the households were offered. Values are drawn by a digest, independently of what they bought:
the tests ask how a request's value travels, not what it tells.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder

from artefacts.cutoffs import CutoffSettings
from training.data.request_times import time_of_day_sql
from training.use_case import Binary, ByFeature, Gate, TimeSplits, UseCase
from use_cases.household_spend.features import LONGEST
from use_cases.household_spend.source import Source

KEY = "household_id::VARCHAR || department"
NUMBERS = [
    "household_department__department_spend_28d",
    "household_department__department_days_84d",
    "household_department__department_discount_share_84d",
    "household_windowed__spend_28d",
    "coupon_offer__coupon_offered",
    "coupon_offer__coupon_over_usual_spend",
    "coupon_offer__days_since_department",
]


@dataclass(frozen=True)
class CouponLabels:
    """The pairs of household and department with a purchase in the last 84 days."""

    source: Source

    def first_event(self) -> datetime:
        return self.source.description().first

    def observed_until(self) -> datetime:
        return self.source.description().observed_until

    def rows(self, cutoff: datetime, splits: CutoffSettings, seed: int) -> pd.DataFrame:
        cutoff_us = round(cutoff.timestamp()) * 1_000_000
        salt = f"{seed}|{cutoff_us}|"
        drawn = time_of_day_sql(splits.hours, salt, KEY)
        with self.source.opened() as connection:
            found: pd.DataFrame = connection.execute(
                "WITH pairs AS (SELECT household_id, department FROM purchases "  # noqa: S608  # numbers
                f"WHERE bought_at < make_timestamptz({cutoff_us}) "
                f"AND bought_at >= make_timestamptz({cutoff_us}) - to_days({LONGEST}) AND department IS NOT NULL "
                f"GROUP BY ALL), asked AS (SELECT *, make_timestamptz({cutoff_us} + {drawn}) AS event_timestamp, "
                f"(md5_number_upper('{salt}' || {KEY}) % 500)::BIGINT / 100 AS coupon_value FROM pairs) "
                "SELECT asked.*, count(bought_at) > 0 AS buys FROM asked LEFT JOIN purchases "
                "ON asked.household_id = purchases.household_id AND asked.department = purchases.department "
                "AND bought_at >= event_timestamp "
                f"AND bought_at < event_timestamp + to_hours({24 * splits.label_days}) "
                "GROUP BY ALL ORDER BY household_id, department"
            ).df()
        return found.assign(event_timestamp=found["event_timestamp"].astype("datetime64[us, UTC]"))


def labels(environ: Mapping[str, str]) -> CouponLabels:
    return CouponLabels(Source.of(environ))


def histogram_boosting(seed: int) -> Pipeline:
    places = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = ColumnTransformer(
        [("numbers", "passthrough", NUMBERS), ("categories", places, ["household_windowed__favourite_department"])]
    )
    boosting = HistGradientBoostingClassifier(max_iter=40, max_leaf_nodes=8, early_stopping=False, random_state=seed)
    return Pipeline([("columns", columns), ("estimator", boosting)])


USE_CASE = UseCase(
    name="coupon_purchase",
    feature_service="coupon_purchase_v1",
    task=Binary(target="buys", classes=("no", "yes")),
    definition="a purchase in the department in the {days} days from the time asked for on",
    labels=labels,
    splits=TimeSplits(label_days=28, training=2, spacing_days=28),
    candidates={"histogram_boosting": histogram_boosting},
    baseline=ByFeature("household_department__department_spend_28d", name="last_28_days"),
    gate=Gate(min_margin=0.0, max_calibration_error=0.1),
)
