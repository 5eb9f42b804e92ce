"""Features computed at request time: a stored recency is wrong a day later."""

from typing import Any

from feast import Field, RequestSource
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64
from feature_views import customer_lifetime

request_time = RequestSource(
    name="request_time",
    schema=[
        Field(
            name="as_of",
            dtype=Int64,
            description="microseconds since 1970; the cut-off in training",
            # Tells the service to fill this value itself, and with what.
            tags={"filled_by": "request_time_unix_us"},
        )
    ],
)


@on_demand_feature_view(  # type: ignore[untyped-decorator]  # feast publishes no types
    sources=[
        customer_lifetime[["first_order_unix_us", "last_order_unix_us", "mean_gap_days"]],
        request_time,
    ],
    # Feast refuses descriptions and tags here: it compares these fields with ones it infers.
    schema=[
        Field(name="days_since_last_order", dtype=Float64),
        Field(name="tenure_days", dtype=Float64),  # days since the first order
        Field(name="recency_over_mean_gap", dtype=Float64),  # 1 while there is no gap to compare with
        Field(name="active_share_of_tenure", dtype=Float64),  # (last − first) ÷ (now − first), in [0, 1]
    ],
    mode="python",
)
def customer_recency(inputs: dict[str, Any]) -> dict[str, Any]:
    """Columns in, columns out; null where the customer has no order. Stored with Feast, so self-contained."""
    day_us = 86_400_000_000
    recency: list[float | None] = []
    tenure: list[float | None] = []
    ratio: list[float | None] = []
    share: list[float | None] = []
    for as_of, first, last, gap in zip(
        inputs["as_of"],
        inputs["first_order_unix_us"],
        inputs["last_order_unix_us"],
        inputs["mean_gap_days"],
        strict=True,
    ):
        if first is None or last is None or first != first or last != last:  # None online, NaN offline
            recency.append(None)
            tenure.append(None)
            ratio.append(None)
            share.append(None)
            continue
        since_last = (as_of - last) / day_us
        since_first = (as_of - first) / day_us
        recency.append(since_last)
        tenure.append(since_first)
        ratio.append(since_last / gap if gap else 1.0)
        share.append((since_first - since_last) / since_first if since_first else 0.0)
    return {
        "days_since_last_order": recency,
        "tenure_days": tenure,
        "recency_over_mean_gap": ratio,
        "active_share_of_tenure": share,
    }
