from datetime import UTC, datetime

from training.churn.orders import parse_cdnow


def test_cdnow_keeps_equal_rows_as_orders_of_their_own_free_orders_and_leading_zeros() -> None:
    orders = parse_cdnow(
        b" _____  _______ _ _____\r\n"
        b" 00001 19970101  1   11.77\r\n"
        b" 00002 19970112  1   12.00\r\n"
        b" 00002 19970112  1   12.00\r\n"
        b" 00003 19980630  5    0.00\r\n"
    )

    twice = ("00002", datetime(1997, 1, 12, tzinfo=UTC), 12.0, 1)
    assert [
        ("00001", datetime(1997, 1, 1, tzinfo=UTC), 11.77, 1),
        twice,
        twice,
        ("00003", datetime(1998, 6, 30, tzinfo=UTC), 0.0, 5),
    ] == list(orders[["customer_id", "event_timestamp", "amount", "items"]].itertuples(index=False, name=None))
    assert ["cdnow-00001", "cdnow-00002", "cdnow-00003", "cdnow-00004"] == list(orders["order_id"])
