"""Recomputes feature rows of some customers from their orders, in plain Python, and compares them with a build.

It shares no code with the build: no Ibis, no engine, no comparison of days. So it finds errors that all of these would
miss, e.g. a corrected order that was taken for unchanged. A change in `feature_repo/transformations.py` needs the same
change here; columns that only one of the two has are not compared.
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
_MAX_ROWS = 5_000_000
"""Most feature rows that are searched; of larger views, random partitions."""
_ORDERS_PER_CUSTOMER = 20
"""Orders drawn per wanted customer, because one customer may have many."""
_ROUNDING = 1e-12

Row = dict[str, int | float]
"""Column → value of a feature row; the event time is `event_unix_us`."""


class Order(NamedTuple):
    """One order; sorts by the rule for repeated orders.

    at: microseconds since 1970.
    money: whole ten-thousandths.
    """

    at: int
    money: int
    items: int


@dataclass(frozen=True)
class CheckResult:
    """How many customers and rows were compared."""

    customers: int
    rows: int


def check_against_orders(
    built: Path, views: Mapping[str, Iterable[str]], orders: Sequence[Path], customers: int
) -> CheckResult:
    """Compare a build with its orders.

    Args:
        built: the build's folder.
        views: view → its partitions.
        customers: most customers to compare, drawn at random at each call.

    Raises:
        JobError: rows differ, are missing or too many; names view, partition and column, but no customer.
    """
    random = Random()  # noqa: S311  # another sample every time
    sample = _orders_of(orders, _some_customers(orders, customers, random))
    compared = 0
    for view, partitions in views.items():
        names = sorted(partitions)
        expected = {"customer_lifetime": _expected_lifetime, "customer_orders_windowed": _expected_windowed}[view](
            sample, names
        )
        if unexpected := expected.keys() - set(names):
            raise _difference(view, min(unexpected), "all rows", len(expected[min(unexpected)]), len(sample))
        for name in _sampled_partitions(built / view, names, random):
            wanted = expected.get(name, {})
            found = _built_rows(built / view / name, sample)
            compared += len(found)
            _compare(view, name, wanted, found, len(sample))
    return CheckResult(len(sample), compared)


_RowsByKey = dict[tuple[str, int], Row]
"""(customer, time) → row."""


def lifetime(orders: Iterable[Order]) -> Iterator[Row]:
    """`customer_lifetime` of one customer: one row per order time."""
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

    A first order on the snapshot's day gives a row of zeros, stamped right after that order.
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


def _expected_lifetime(sample: Mapping[str, Sequence[Order]], _: Sequence[str]) -> dict[str, _RowsByKey]:
    rows: dict[str, _RowsByKey] = {}
    for customer, orders in sample.items():
        for row in lifetime(orders):
            at = int(row["event_unix_us"])
            month = f"{datetime.fromtimestamp(at // 1_000_000, UTC):%Y-%m}"
            rows.setdefault(month, {})[customer, at] = row
    return rows


def _expected_windowed(sample: Mapping[str, Sequence[Order]], days: Sequence[str]) -> dict[str, _RowsByKey]:
    rows: dict[str, _RowsByKey] = {}
    for day in days:
        at = unix_us(datetime.fromisoformat(day).replace(tzinfo=UTC))
        for customer, orders in sample.items():
            if (row := windowed(orders, at)) is not None:
                rows.setdefault(day, {})[customer, int(row["event_unix_us"])] = row
    return rows


def _some_customers(files: Sequence[Path], wanted: int, random: Random) -> list[str]:
    """Draw customers at random: those of random orders in a few row groups."""
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
    """Customer → orders, one per order id: the first file's before the others'; of several, the smallest."""
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
    """An amount in ten-thousandths; halves round away from zero."""
    scaled = abs(amount * _MONEY_UNIT)
    whole = int(scaled)
    return int(math.copysign(whole + (scaled - whole >= 0.5), amount))


def _sampled_partitions(folder: Path, names: Sequence[str], random: Random) -> list[str]:
    """All partitions in random order, or as many as hold `_MAX_ROWS`; at least one."""
    shuffled = random.sample(list(names), len(names))
    chosen: list[str] = []
    rows = 0
    for name in shuffled:
        rows += sum(pq.read_metadata(file).num_rows for file in (folder / name).glob("*.parquet"))
        if chosen and rows > _MAX_ROWS:
            break
        chosen.append(name)
    return chosen


def _built_rows(partition: Path, sample: Mapping[str, object]) -> _RowsByKey:
    wanted = pa.array(list(sample), pa.string())
    rows: _RowsByKey = {}
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


def _compare(view: str, partition: str, expected: _RowsByKey, found: _RowsByKey, sampled: int) -> None:
    if expected.keys() != found.keys():
        customers = {customer for customer, _ in expected.keys() ^ found.keys()}
        raise _difference(view, partition, "event_timestamp", len(customers), sampled)
    wrong: dict[str, set[str]] = {}
    for (customer, at), row in expected.items():
        other = found[customer, at]
        for column in row.keys() & other.keys():
            if not _same(row[column], other[column]):
                wrong.setdefault(column, set()).add(customer)
    if wrong:
        column = min(wrong)
        raise _difference(view, partition, column, len(wrong[column]), sampled)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, int) and isinstance(other, int):
        return one == other
    return other is not None and math.isclose(one, other, rel_tol=_ROUNDING, abs_tol=_ROUNDING)


def _difference(view: str, partition: str, column: str, wrong: int, sampled: int) -> JobError:
    return JobError(
        f"{view}, partition {partition}: {column} of {wrong} of {sampled} customers differs from what their orders "
        "give; the build was not put in place. Run `make features FULL=1`; if that fails too, "
        "feature_repo/transformations.py and jobs/features/orders_check.py define the features differently"
    )
