"""Feature rows of some customers, made again from their orders in plain Python, and held against what a build has made.

It shares nothing with what builds features: no Ibis, no engine, no comparison of days. So it sees what they would all
miss, e.g. an order that was corrected and taken for unchanged. Whoever changes `feature_repo/transformations.py`
changes the definitions here, too; a column that only one of the two knows is not compared.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from jobs.errors import JobError
from jobs.times import unix_us

_DAY_US = 86_400_000_000
_MONEY_UNIT = 10_000
_WINDOW_DAYS = (7, 30, 90, 180)
_MOST_ROWS = 5_000_000
"""Feature rows among which the customers' own are looked for; beyond, in some partitions drawn at random."""
_ORDERS_PER_CUSTOMER = 20
"""So many orders are drawn for each customer wanted, as one customer may have many."""
_ROUNDING = 1e-12

Row = dict[str, int | float]
"""A feature row by column, its time as `event_unix_us`."""


class Order(NamedTuple):
    """Ordered as the rule for repeated orders wants it; money in whole ten-thousandths."""

    at: int
    money: int
    items: int


@dataclass(frozen=True)
class Checked:
    """What was compared."""

    customers: int
    rows: int


def check_against_orders(
    built: Path, views: Mapping[str, Iterable[str]], orders: Sequence[Path], customers: int
) -> Checked:
    """Hold a build against the orders that it was made of.

    Args:
        built: the build's folder.
        views: view → its partitions.
        customers: so many at most, drawn at random at each call.

    Raises:
        JobError: rows differ, are missing or too many; the view, partition and column are named, no customer is.
    """
    random = Random()  # noqa: S311  # another sample every time
    sample = _orders_of(orders, _some_customers(orders, customers, random))
    compared = 0
    for view, partitions in views.items():
        names = sorted(partitions)
        expected = {"customer_lifetime": _all_lifetime, "customer_orders_windowed": _all_windowed}[view](sample, names)
        if unexpected := expected.keys() - set(names):
            raise _differs(view, min(unexpected), "all rows", len(expected[min(unexpected)]), len(sample))
        for name in _affordable(built / view, names, random):
            wanted = expected.get(name, {})
            found = _found(built / view / name, sample)
            compared += len(found)
            _compare(view, name, wanted, found, len(sample))
    return Checked(len(sample), compared)


_Keyed = dict[tuple[str, int], Row]
"""(customer, time) → row."""


def lifetime(orders: Iterable[Order]) -> Iterator[Row]:
    """`customer_lifetime` of one customer: a row for each time of an order."""
    times: dict[int, list[Order]] = {}
    for order in orders:
        times.setdefault(order.at, []).append(order)
    count = days = items = money = largest = longest_gap = 0
    first = before = None
    for nth, at in enumerate(sorted(times)):
        here = times[at]
        first = at if first is None else first
        gap = 0 if before is None else at - before
        days += before is None or at // _DAY_US != before // _DAY_US
        count += len(here)
        items += sum(order.items for order in here)
        money += sum(order.money for order in here)
        largest = max([order.money for order in here] + ([largest] if nth else []))
        longest_gap, before = max(longest_gap, gap), at
        yield {
            "event_unix_us": at + 1,
            "order_count": count,
            "order_day_count": days,
            "item_count": items,
            "total_spend": money / _MONEY_UNIT,
            "mean_order_value": money / _MONEY_UNIT / count,
            "max_order_value": largest / _MONEY_UNIT,
            "last_order_value": sum(order.money for order in here) / _MONEY_UNIT,
            "mean_items_per_order": items / count,
            "mean_gap_days": (at - first) / _DAY_US / nth if nth else 0.0,
            "max_gap_days": longest_gap / _DAY_US,
            "last_gap_days": gap / _DAY_US,
            "first_order_unix_us": first,
            "last_order_unix_us": at,
        }


def windowed(orders: Sequence[Order], at: int) -> Row | None:
    """`customer_orders_windowed` of one customer at a snapshot; None before the day of the first order.

    Whose first order is of the snapshot's day has zeros, from right after that order on.
    """
    first = min(order.at for order in orders)
    if first + 1 >= at + _DAY_US:
        return None
    past = [order for order in orders if order.at < at]
    row: Row = {"event_unix_us": at if past else first + 1}
    for days in _WINDOW_DAYS:
        inside = [order for order in past if order.at >= at - days * _DAY_US]
        row[f"order_count_{days}d"] = len(inside)
        row[f"item_count_{days}d"] = sum(order.items for order in inside)
        row[f"spend_{days}d"] = sum(order.money for order in inside) / _MONEY_UNIT
    return row


def _all_lifetime(sample: Mapping[str, Sequence[Order]], _: Sequence[str]) -> dict[str, _Keyed]:
    rows: dict[str, _Keyed] = {}
    for customer, orders in sample.items():
        for row in lifetime(orders):
            at = int(row["event_unix_us"])
            month = f"{datetime.fromtimestamp(at // 1_000_000, UTC):%Y-%m}"
            rows.setdefault(month, {})[customer, at] = row
    return rows


def _all_windowed(sample: Mapping[str, Sequence[Order]], days: Sequence[str]) -> dict[str, _Keyed]:
    rows: dict[str, _Keyed] = {}
    for day in days:
        at = unix_us(datetime.fromisoformat(day).replace(tzinfo=UTC))
        for customer, orders in sample.items():
            if (row := windowed(orders, at)) is not None:
                rows.setdefault(day, {})[customer, int(row["event_unix_us"])] = row
    return rows


def _some_customers(files: Sequence[Path], wanted: int, random: Random) -> list[str]:
    """Those of orders drawn at random, from a few parts of the files."""
    parts = [
        (file, group, metadata.row_group(group).num_rows)
        for file in files
        for metadata in [pq.read_metadata(file)]
        for group in range(metadata.num_row_groups)
    ]
    random.shuffle(parts)
    drawn: dict[str, None] = {}
    for file, group, rows in parts:
        column = pq.ParquetFile(file).read_row_group(group, ["customer_id"])["customer_id"]
        positions = random.sample(range(rows), min(rows, wanted * _ORDERS_PER_CUSTOMER))
        drawn.update(dict.fromkeys(column.take(positions).to_pylist()))
        if len(drawn) >= 4 * wanted:
            break
    return random.sample(list(drawn), min(wanted, len(drawn)))


def _orders_of(files: Sequence[Path], customers: Sequence[str]) -> dict[str, list[Order]]:
    """Customer → orders, one for each id: that of the first file, which the others follow; of several the smallest."""
    columns = ["order_id", "customer_id", "event_timestamp", "amount", "items"]
    orders: dict[str, dict[str, tuple[bool, int, float, int]]] = {customer: {} for customer in customers}
    for streamed, some in ((False, files[:1]), (True, files[1:])):
        if not some:
            continue
        found = ds.dataset([str(file) for file in some], format="parquet").to_table(
            columns=columns, filter=pc.field("customer_id").isin(list(customers))
        )
        times = found["event_timestamp"].cast(pa.int64()).to_pylist()
        rest = [found[name].to_pylist() for name in ("customer_id", "order_id", "amount", "items")]
        for at, customer, order_id, amount, items in zip(times, *rest, strict=True):
            order = (streamed, at, amount, items)
            orders[customer][order_id] = min(order, orders[customer].get(order_id, order))
    return {
        customer: sorted(Order(at, _money(amount), items) for _, at, amount, items in by_id.values())
        for customer, by_id in orders.items()
    }


def _money(amount: float) -> int:
    """Ten-thousandths; halves away from zero."""
    scaled = abs(amount * _MONEY_UNIT)
    whole = int(scaled)
    return int(math.copysign(whole + (scaled - whole >= 0.5), amount))


def _affordable(folder: Path, names: Sequence[str], random: Random) -> list[str]:
    """All partitions, or as many as hold `_MOST_ROWS`; one at least."""
    shuffled = random.sample(list(names), len(names))
    chosen: list[str] = []
    rows = 0
    for name in shuffled:
        rows += sum(pq.read_metadata(file).num_rows for file in (folder / name).glob("*.parquet"))
        if chosen and rows > _MOST_ROWS:
            break
        chosen.append(name)
    return chosen


def _found(partition: Path, sample: Mapping[str, object]) -> _Keyed:
    wanted = pa.array(list(sample), pa.string())
    rows: _Keyed = {}
    for path in sorted(partition.glob("*.parquet")):
        file = pq.ParquetFile(path)
        for group in range(file.num_row_groups):
            mask = pc.is_in(file.read_row_group(group, ["customer_id"])["customer_id"].cast(pa.string()), wanted)
            if not pc.any(mask).as_py():
                continue
            table = file.read_row_group(group).filter(mask)
            times = table["event_timestamp"].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_pylist()
            for at, row in zip(times, table.to_pylist(), strict=True):
                rows[row["customer_id"], at] = {**row, "event_unix_us": at}
    return rows


def _compare(view: str, partition: str, expected: _Keyed, found: _Keyed, sampled: int) -> None:
    if expected.keys() != found.keys():
        customers = {customer for customer, _ in expected.keys() ^ found.keys()}
        raise _differs(view, partition, "event_timestamp", len(customers), sampled)
    wrong: dict[str, set[str]] = {}
    for (customer, at), row in expected.items():
        other = found[customer, at]
        for column in row.keys() & other.keys():
            if not _same(row[column], other[column]):
                wrong.setdefault(column, set()).add(customer)
    if wrong:
        column = min(wrong)
        raise _differs(view, partition, column, len(wrong[column]), sampled)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, int) and isinstance(other, int):
        return one == other
    return other is not None and math.isclose(one, other, rel_tol=_ROUNDING, abs_tol=_ROUNDING)


def _differs(view: str, partition: str, column: str, wrong: int, sampled: int) -> JobError:
    return JobError(
        f"{view}, partition {partition}: {column} of {wrong} of {sampled} customers is not what their orders give; the "
        "build was not put in place. Run `make features FULL=1`; if that ends likewise, "
        "feature_repo/transformations.py and jobs/features/orders_check.py define the features differently"
    )
