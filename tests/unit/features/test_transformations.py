"""Every stored and on-demand feature against a computation that shares nothing with the product code."""

import importlib
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import ibis
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from feature_repo.transformations import customer_lifetime, customer_orders_windowed, distinct_orders

DAY_US = 86_400_000_000
BASE_DAY = 19_723  # 2024-01-01
WINDOWS = (7, 30, 90, 180)
Row = dict[str, Any]
Udf = Callable[[dict[str, list[Any]]], dict[str, list[Any]]]

# Feature = integer ÷ integer is rounded once. These two divide twice, so they may be off by one rounding.
TWICE_ROUNDED = {"mean_order_value", "mean_gap_days"}

# Every example is a query; explaining a failure on top of shrinking it would take minutes.
slow_enough = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=set(Phase) - {Phase.explain},
)


@dataclass(frozen=True)
class Order:
    customer: str
    at: int
    money: int  # ten-thousandths
    items: int
    id: str = ""
    streamed: int = 0


CONNECTION = ibis.duckdb.connect()


def orders_table(orders: list[Order]) -> Any:
    return ibis.memtable(
        {
            "order_id": [o.id for o in orders],
            "customer_id": [o.customer for o in orders],
            "event_unix_us": [o.at for o in orders],
            "amount": [o.money / 10_000 for o in orders],
            "items": [o.items for o in orders],
            "streamed": [o.streamed for o in orders],
        },
        schema={
            "order_id": "string",
            "customer_id": "string",
            "event_unix_us": "int64",
            "amount": "float64",
            "items": "int64",
            "streamed": "int64",
        },
    )


def sorted_rows(rows: Any) -> list[Row]:
    found: list[Row] = CONNECTION.to_pyarrow(rows.order_by("customer_id", "event_unix_us")).to_pylist()
    return found


def lifetime_rows(orders: list[Order]) -> list[Row]:
    return sorted_rows(customer_lifetime(orders_table(orders)))


def windowed_rows(orders: list[Order], snapshots: list[int]) -> list[Row]:
    times = ibis.memtable({"snapshot_unix_us": snapshots}, schema={"snapshot_unix_us": "int64"})
    return sorted_rows(customer_orders_windowed(orders_table(orders), times))


def expected_lifetime(orders: list[Order]) -> list[Row]:
    rows = []
    for customer, at in sorted({(o.customer, o.at) for o in orders}):
        past = [o for o in orders if o.customer == customer and o.at <= at]
        times = sorted({o.at for o in past})
        gaps = [b - a for a, b in pairwise(times)]
        money = sum(o.money for o in past)
        items = sum(o.items for o in past)
        rows.append(
            {
                "customer_id": customer,
                "event_unix_us": at + 1,
                "order_count": len(past),
                "order_day_count": len({o.at // DAY_US for o in past}),
                "item_count": items,
                "total_spend": float(Fraction(money, 10_000)),
                "mean_order_value": float(Fraction(money, 10_000 * len(past))),
                "max_order_value": float(Fraction(max(o.money for o in past), 10_000)),
                "last_order_value": float(Fraction(sum(o.money for o in past if o.at == at), 10_000)),
                "mean_items_per_order": float(Fraction(items, len(past))),
                "mean_gap_days": float(Fraction(sum(gaps), DAY_US * len(gaps))) if gaps else 0.0,
                "max_gap_days": float(Fraction(max(gaps, default=0), DAY_US)),
                "last_gap_days": float(Fraction(gaps[-1] if gaps else 0, DAY_US)),
                "first_order_unix_us": times[0],
                "last_order_unix_us": at,
            }
        )
    return rows


def expected_windowed(orders: list[Order], snapshots: list[int]) -> list[Row]:
    rows = []
    for customer in sorted({o.customer for o in orders}):
        for at in sorted(snapshots):
            first = min(o.at for o in orders if o.customer == customer)
            past = [o for o in orders if o.customer == customer and o.at < at]
            if first + 1 >= at + DAY_US:
                continue
            row: Row = {"customer_id": customer, "event_unix_us": at if past else first + 1}
            for days in WINDOWS:
                inside = [o for o in past if o.at >= at - days * DAY_US]
                row[f"order_count_{days}d"] = len(inside)
                row[f"item_count_{days}d"] = sum(o.items for o in inside)
                row[f"spend_{days}d"] = float(Fraction(sum(o.money for o in inside), 10_000))
            if row not in rows:  # snapshots less than a day apart
                rows.append(row)
    return rows


moments = st.builds(
    lambda day, offset: (BASE_DAY + day) * DAY_US + offset,
    st.integers(0, 400),
    st.sampled_from([0, 1, DAY_US // 2, DAY_US - 1]) | st.integers(0, DAY_US - 1),
)
some_orders = st.builds(
    Order,
    customer=st.integers(0, 6).map(lambda n: f"{n:05d}"),
    at=moments | st.sampled_from([BASE_DAY * DAY_US, BASE_DAY * DAY_US + 1]),  # same time, same day
    money=st.just(0) | st.sampled_from([1, 117_700]) | st.integers(0, 10**9),
    items=st.integers(0, 99),
)
order_lists = st.lists(some_orders, min_size=1, max_size=30)


@st.composite
def orders_and_snapshots(draw: st.DrawFn) -> tuple[list[Order], list[int]]:
    """Snapshots lie anywhere, but mostly where an order is exactly on the border of a window."""
    orders = draw(order_lists)
    borders = st.builds(
        lambda order, days: order.at + days * DAY_US, st.sampled_from(orders), st.sampled_from([0, *WINDOWS])
    )
    return orders, draw(st.lists(borders | borders | moments, min_size=1, max_size=8, unique=True))


@slow_enough
@given(order_lists)
def test_lifetime_features_equal_brute_force(orders: list[Order]) -> None:
    """Exact rational arithmetic on the raw orders; equal to the last bit but for `TWICE_ROUNDED`."""
    expected, actual = expected_lifetime(orders), lifetime_rows(orders)

    assert len(expected) == len(actual)
    for want, got in zip(expected, actual, strict=True):
        for name in TWICE_ROUNDED:
            assert math.isclose(want.pop(name), got.pop(name), rel_tol=2**-51)
        assert want == got


@slow_enough
@given(orders_and_snapshots())
def test_windowed_features_equal_brute_force(drawn: tuple[list[Order], list[int]]) -> None:
    """Exact rational arithmetic on the raw orders; every feature equal to the last bit."""
    orders, snapshots = drawn

    def in_order(rows: list[Row]) -> list[tuple[Any, ...]]:
        return sorted(tuple(row.values()) for row in rows)

    expected, actual = expected_windowed(orders, snapshots), windowed_rows(orders, snapshots)
    assert [list(row) for row in expected[:1]] == [list(row) for row in actual[:1]]
    assert in_order(expected) == in_order(actual)


@slow_enough
@given(orders_and_snapshots(), st.data())
def test_orders_in_the_label_window_move_no_row_at_or_before_the_cutoff(
    drawn: tuple[list[Order], list[int]], data: st.DataObject
) -> None:
    orders, snapshots = drawn
    cutoff = data.draw(st.sampled_from(snapshots))
    later = data.draw(st.lists(st.just(0) | st.integers(0, 90 * DAY_US), min_size=1, max_size=3))
    planted = [Order(f"{n:05d}", cutoff + delay, 10_000, 1) for n in (0, 1, 9) for delay in later]

    def up_to_cutoff(rows: list[Row]) -> list[str]:
        return sorted(repr(row) for row in rows if row["event_unix_us"] <= cutoff)

    assert up_to_cutoff(lifetime_rows(orders)) == up_to_cutoff(lifetime_rows(orders + planted))
    assert up_to_cutoff(windowed_rows(orders, snapshots)) == up_to_cutoff(windowed_rows(orders + planted, snapshots))


@settings(slow_enough, max_examples=20)
@given(orders_and_snapshots(), st.randoms(use_true_random=False))
def test_the_order_of_input_rows_does_not_matter(drawn: tuple[list[Order], list[int]], random: Any) -> None:
    orders, snapshots = drawn
    shuffled = orders.copy()
    random.shuffle(shuffled)

    assert lifetime_rows(orders) == lifetime_rows(shuffled)
    rows, other_way = windowed_rows(orders, snapshots), windowed_rows(shuffled, snapshots[::-1])
    assert sorted(map(repr, rows)) == sorted(map(repr, other_way))


@settings(slow_enough, max_examples=20)
@given(order_lists, st.integers(1, 12), st.randoms(use_true_random=False))
def test_of_rows_with_one_customer_and_order_id_the_files_and_then_the_smallest_is_kept_whatever_their_order(
    orders: list[Order], ids: int, random: Any
) -> None:
    delivered = [replace(o, id=str(random.randrange(ids)), streamed=random.randrange(2)) for o in orders]
    smallest: dict[tuple[str, str], tuple[Any, ...]] = {}
    for o in delivered:
        row = (o.streamed, o.at, o.money / 10_000, o.items)
        smallest[o.customer, o.id] = min(row, smallest.get((o.customer, o.id), row))

    kept = CONNECTION.to_pyarrow(distinct_orders(orders_table(delivered))).to_pylist()

    assert len(kept) == len(smallest)
    assert {key: row[1:] for key, row in smallest.items()} == {
        (row["customer_id"], row["order_id"]): (row["event_unix_us"], row["amount"], row["items"]) for row in kept
    }


def test_an_order_at_the_cutoff_itself_is_not_in_the_row_at_the_cutoff() -> None:
    cutoff = BASE_DAY * DAY_US
    orders = [Order("1", cutoff - DAY_US, 10_000, 1), Order("1", cutoff, 70_000, 1), Order("2", cutoff, 10_000, 1)]

    windowed = windowed_rows(orders, [cutoff])

    assert [("1", cutoff, 1, 1.0), ("2", cutoff + 1, 0, 0.0)] == [
        (r["customer_id"], r["event_unix_us"], r["order_count_7d"], r["spend_7d"]) for r in windowed
    ]
    assert [("1", cutoff - DAY_US + 1), ("1", cutoff + 1), ("2", cutoff + 1)] == [
        (r["customer_id"], r["event_unix_us"]) for r in lifetime_rows(orders)
    ]


def test_an_order_exactly_as_old_as_a_window_is_inside_it() -> None:
    cutoff = BASE_DAY * DAY_US
    orders = [Order("1", cutoff - 7 * DAY_US, 10_000, 1), Order("1", cutoff - 7 * DAY_US - 1, 10_000, 1)]

    assert [1] == [row["order_count_7d"] for row in windowed_rows(orders, [cutoff])]


def test_a_customer_who_is_new_on_a_snapshots_day_has_no_orders_in_its_windows_from_the_first_order_on() -> None:
    midnight = BASE_DAY * DAY_US
    firsts = {"before": midnight - 1, "at": midnight, "within": midnight + 5, "last": midnight + DAY_US - 2}
    beyond = {"borders on the next day": midnight + DAY_US - 1, "next day": midnight + DAY_US}
    orders = [Order(customer, at, 10_000, 1) for customer, at in (firsts | beyond).items()]
    orders += [Order(customer, midnight + DAY_US // 2, 30_000, 1) for customer in ("before", "within")]

    rows = windowed_rows(orders, [midnight])

    assert {(c, midnight if c == "before" else at + 1) for c, at in firsts.items()} == {
        (row["customer_id"], row["event_unix_us"]) for row in rows
    }
    counted = {row["customer_id"]: sum(list(row.values())[2:]) for row in rows}
    assert counted["before"] > 0 == counted["at"] == counted["within"] == counted["last"]


def test_decimals_beyond_a_ten_thousandth_are_rounded_away() -> None:
    rows = ibis.memtable(
        {"customer_id": ["1"] * 3, "event_unix_us": [DAY_US] * 3, "amount": [1 / 3] * 3, "items": [1] * 3}
    )

    assert [0.9999] == CONNECTION.to_pyarrow(customer_lifetime(rows))["total_spend"].to_pylist()


@pytest.fixture(scope="module")
def recency() -> Iterator[Udf]:
    """The plain function; feast imports the files of its repository by bare name, and so must this."""
    folder = str(Path(__file__).resolve().parents[3] / "feature_repo")
    sys.path.insert(0, folder)
    try:
        udf: Udf = importlib.import_module("on_demand_feature_views").customer_recency.feature_transformation.udf
        yield udf
    finally:
        sys.path.remove(folder)


RECENCY_FEATURES = ("days_since_last_order", "tenure_days", "recency_over_mean_gap", "active_share_of_tenure")


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.lists(moments, min_size=1, max_size=6), st.integers(1, 400 * DAY_US)), max_size=5))
def test_recency_features_equal_brute_force(recency: Udf, customers: list[tuple[list[int], int]]) -> None:
    """Times divided once are equal to the last bit; ratios of them to a few roundings."""
    inputs: dict[str, list[Any]] = {
        "as_of": [max(times) + wait for times, wait in customers],
        "first_order_unix_us": [min(times) for times, _ in customers],
        "last_order_unix_us": [max(times) for times, _ in customers],
        "mean_gap_days": [(max(times) - min(times)) / DAY_US / max(len(set(times)) - 1, 1) for times, _ in customers],
    }

    actual = recency(inputs)

    assert set(RECENCY_FEATURES) == set(actual)
    for row, (times, wait) in enumerate(customers):
        first, last, as_of = min(times), max(times), max(times) + wait
        gaps = [b - a for a, b in pairwise(sorted(set(times)))]
        ratio = float(Fraction(wait * len(gaps), sum(gaps))) if gaps else 1.0
        assert float(Fraction(wait, DAY_US)) == actual["days_since_last_order"][row]
        assert float(Fraction(as_of - first, DAY_US)) == actual["tenure_days"][row]
        assert math.isclose(ratio, actual["recency_over_mean_gap"][row], rel_tol=1e-14)
        share = actual["active_share_of_tenure"][row]
        assert 0 <= share <= 1
        assert math.isclose(float(Fraction(last - first, as_of - first)), share, rel_tol=1e-14, abs_tol=1e-15)


@pytest.mark.parametrize("nothing", [None, math.nan])
def test_recency_of_a_customer_without_orders_is_null(recency: Udf, nothing: float | None) -> None:
    actual = recency(
        {
            "as_of": [DAY_US, 3 * DAY_US],
            "first_order_unix_us": [nothing, 0],
            "last_order_unix_us": [nothing, 2 * DAY_US],
            "mean_gap_days": [nothing, 2.0],
        }
    )

    assert dict(zip(RECENCY_FEATURES, ([None, 1.0], [None, 3.0], [None, 0.5], [None, 2 / 3]), strict=True)) == actual
