"""One feature service per model generation: the model's inputs, in the model's order."""

from data_sources import logging_of
from entities import OWNER
from feast import FeatureService
from feature_views import customer_lifetime, customer_orders_windowed
from on_demand_feature_views import customer_recency

churn_v1 = FeatureService(
    name="churn_v1",
    features=[
        customer_lifetime[
            [
                "order_count",
                "order_day_count",
                "item_count",
                "total_spend",
                "mean_order_value",
                "max_order_value",
                "last_order_value",
                "mean_items_per_order",
                "mean_gap_days",
                "max_gap_days",
                "last_gap_days",
            ]
        ],
        customer_orders_windowed,
        customer_recency,
    ],
    description="Inputs of customer_churn from version 1 on.",
    logging_config=logging_of("churn_v1"),
    owner=OWNER,
)

spend_v1 = FeatureService(
    name="spend_v1",
    features=[
        customer_lifetime[
            [
                "order_count",
                "order_day_count",
                "total_spend",
                "mean_order_value",
                "max_order_value",
                "last_order_value",
                "mean_gap_days",
                "last_gap_days",
            ]
        ],
        customer_orders_windowed[
            [
                *("order_count_30d", "spend_30d"),
                *("order_count_90d", "spend_90d"),
                *("order_count_180d", "spend_180d"),
            ]
        ],
        customer_recency,
    ],
    description="Inputs of customer_spend from version 1 on.",
    logging_config=logging_of("spend_v1"),
    owner=OWNER,
)

order_count_v1 = FeatureService(
    name="order_count_v1",
    features=[
        customer_lifetime[
            ["order_count", "order_day_count", "mean_items_per_order", "mean_gap_days", "max_gap_days", "last_gap_days"]
        ],
        customer_orders_windowed[["order_count_7d", "order_count_30d", "order_count_90d", "order_count_180d"]],
        customer_recency,
    ],
    description="Inputs of order_count from version 1 on.",
    logging_config=logging_of("order_count_v1"),
    owner=OWNER,
)
